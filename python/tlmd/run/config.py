"""One validated model for each stage's TOML: `StageConfig` and `load_config`.

Unknown keys are errors that name the nearest known key; paths are relative to the TOML; any key can be overridden.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from tlmd.run.errors import InputError
from tlmd.run.explain import explained, refuse_booleans
from tlmd.run.quantities import Seed

Model = TypeVar("Model", bound="Section")


def absolute(path: Path, info: ValidationInfo) -> Path:
    """The path relative to the folder of the TOML, as an absolute one; without a TOML it stays as it is."""
    base = (info.context or {}).get("base")
    if base is None:
        return path
    try:
        return (Path(base) / path.expanduser()).absolute()
    except RuntimeError:
        raise ValueError("a path whose ~ is the home of a user of this machine") from None


ConfigPath = Annotated[Path, AfterValidator(absolute)]  # relative to the folder of the TOML


class Section(BaseModel):
    """A table of a TOML: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def files(self) -> dict[str, Path]:
        """Every file that the stage reads on account of this table, by key: all its paths, and those of tables in it.
        A table whose paths are folders, or whose files name others, says so here.
        """
        return dict(_files("", {name: getattr(self, name) for name in type(self).model_fields}))


def _files(key: str, value: Any) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, Section):
        for name, path in value.files().items():
            yield f"{key}.{name}", path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _files(f"{key}.{name}".removeprefix("."), item)


class StageConfig(Section):
    """Base of every stage's configuration: the run folder and the seed."""

    out: ConfigPath = Field(Path("run"), description="run folder to write")
    seed: Seed = Field(1, description="of all random choices")

    def input_files(self) -> dict[str, Path]:
        """The files whose hashes a run records, by dotted key: all that `files` of its tables name."""
        return {key: path for key, path in self.files().items() if key != "out"}


def read_toml(path: Path, wanted: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError if there is none (`wanted` says what it is for) or it is no TOML."""
    if not path.is_file():
        raise InputError(f"no file {path}", wanted, "check the path")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "a TOML file", "correct that line") from None


def load_config(model: type[Model], path: str | Path, overrides: Iterable[str] | None = None) -> Model:
    """The validated configuration in the TOML file `path`, after `overrides` such as "training.max_steps=200".

    Values of overrides are TOML; a word that is not TOML is text. Paths are relative to the folder of `path`.
    Raises InputError, in one line, for an unreadable file, an unknown key (with the nearest known one) or a bad value.
    """
    path = Path(path)
    data = read_toml(path, "the TOML file of this stage")
    for override in overrides or ():
        _override(data, override)
    refuse_booleans(model, path, data)
    try:
        return model.model_validate(data, context={"base": path.parent})
    except ValidationError as error:
        raise explained(model, path, data, error.errors()) from None


def _override(data: dict[str, Any], override: str) -> None:
    """Set one dotted key of the nested tables `data` in place; override is "a.b=value"."""
    key, equals, value = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise InputError(f"--set {override}", "--set table.key=value", "write the key, an equals sign and the value")
    for part in parts[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {override}", f"a table at '{part}'", "remove the part after it from the key")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        table = {"value": value}
    if len(table) > 1:
        raise InputError(f"--set {' '.join(override.split())}", "one key", "give each key a --set of its own")
    data[parts[-1]] = table["value"]


def to_toml(config: dict[str, Any]) -> str:
    """TOML text of nested dicts of plain values: the tables of the first level as sections, deeper ones inline."""

    def text(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{text(k)} = {text(v)}" for k, v in item.items() if v is not None) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(text, item)) + "]"
        return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")  # written alike in JSON and TOML

    def lines(table: dict[str, Any]) -> list[str]:
        return [
            f"{key if key.isidentifier() else text(key)} = {text(item)}"
            for key, item in table.items()
            if item is not None
        ]

    plain = {key: item for key, item in config.items() if not isinstance(item, dict)}
    sections = [f"\n[{key}]\n" + "\n".join(lines(item)) for key, item in config.items() if isinstance(item, dict)]
    return "\n".join([*lines(plain), *sections]) + "\n"
