"""`tl check`: whether a TOML is valid for its stage, without running it; `tl schema`: what a stage's TOML may hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlmd.run import reference
from tlmd.run.config import Section, StageConfig, load_config, read_toml
from tlmd.run.errors import InputError, nearest


def stages() -> dict[str, type[Section]]:
    """The configuration of each stage by its name, "finetune" and so on."""
    reference.modules()
    found = {name.removeprefix("tl-"): model for name, model in reference.configurations().items()}
    return dict(sorted(found.items()))


def stage_named(name: str) -> type[Section]:
    """The configuration of one stage. Raises InputError for a name that is none."""
    known = stages()
    if (model := known.get(name.removeprefix("tl-"))) is None:
        raise InputError(f"stage '{name}'{nearest(name, known)}", f"one of {', '.join(known)}", "correct it")
    return model


def stage_of(path: Path, data: dict[str, Any]) -> str:
    """The stage whose tables and keys of the first level `data` has: fewest unknown ones, then fewest missing ones.

    Raises InputError where two stages fit equally well, or none at all.
    """
    scores: dict[tuple[int, int], list[str]] = {}
    for name, model in stages().items():
        fields = model.model_fields
        known = data.keys() & (fields.keys() - StageConfig.model_fields.keys())
        missing = [key for key, field in fields.items() if field.is_required() and key not in data]
        if known:
            scores.setdefault((len(data.keys() - fields.keys()), len(missing)), []).append(name)
    best = scores[min(scores)] if scores else []
    if len(best) != 1:
        got = f"{path}, which is of {' or '.join(best) if best else 'no stage'} by its keys"
        raise InputError(got, "the TOML of a stage", f"give --stage {'|'.join(best or stages())}")
    return best[0]


def check(paths: Sequence[Path], stage: str | None = None) -> list[str]:
    """One line for each TOML that is valid. Raises InputError for the first that is not, or that names a file which is
    neither there nor in the run folder of another one of `paths`."""
    found = [(path, *checked(path, stage)) for path in paths]
    made = [config.out for _, _, config in found]
    lines = []
    for path, name, config in found:
        later = []
        for key, file in config.files().items():
            if key == "out" or file.exists():
                continue
            if not any(folder in file.parents for folder in made if folder != config.out):
                raise InputError(f"no file {file}", f"{key} of {path}", f"check it, or run the stage before tl-{name}")
            later.append(key)
        waits = f"; {', '.join(later)}: of a run to come" if later else ""
        lines.append(f"{path}: valid for tl-{name}{waits}")
    return lines


def checked(path: Path, stage: str | None) -> tuple[str, Section]:
    """The stage of a TOML and its configuration. Raises InputError, which names the stage, if it is not valid."""
    data = read_toml(path, "a TOML")
    name = stage_of(path, data) if stage is None else stage.removeprefix("tl-")
    model = stage_named(name)
    try:
        return name, load_config(model, path)
    except InputError as error:
        raise error.at(f"for tl-{name}") from None
