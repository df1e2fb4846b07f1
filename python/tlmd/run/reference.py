"""docs/reference, written from the code: every key of every TOML, every option, every JSON key, every keyword.

    python -m tlmd.run.reference docs/reference          # in the root of the repository

Nothing is named here. The modules of the package are scanned for the commands (tlmd.cli), for configurations (a Section
whose docstring begins with the command's name), for JSON_KEYS (command -> key -> meaning), and the keywords are the
tables in lammps_plugin/style/keywords.cpp. tests/run/test_reference.py fails when a committed page is not the same.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import tlmd
from tlmd.run.config import Section
from tlmd.run.files import write_atomic

KEYWORDS = Path("lammps_plugin") / "style" / "keywords.cpp"
UNIT_OF_SUFFIX = {
    "_A": "A", "_K": "K", "_ps": "ps", "_fs": "fs", "_deg": "degrees", "_g_cm3": "g/cm3", "_minutes": "minutes",
    "_bar": "bar", "_hours": "hours",
}  # fmt: skip
UNITS = ("A", "K", "ps", "fs", "degrees", "g/cm3", "eV", "eV/A", "eV/A^3", "eV/atom", "e", "V", "bar", "GPa", "minutes",
         "seconds", "hours", "mPa s", "GB", "g/mol")  # fmt: skip
GROUPS = {"tl-analyze": "tlmd.analysis.commands", "tl-init": "tlmd.start.commands"}  # commands with sub-commands
HEAD = "<!-- Written by `python -m tlmd.run.reference docs/reference`; change the code, not this file. -->\n"


def modules() -> list[types.ModuleType]:
    """Every module of the package."""
    names = [info.name for info in pkgutil.walk_packages(tlmd.__path__, "tlmd.") if "__main__" not in info.name]
    return [importlib.import_module(name) for name in names if not name.startswith("tlmd.plugin")]


def subclasses(base: type) -> Iterator[type]:
    """Every class derived from `base`."""
    for child in base.__subclasses__():
        yield child
        yield from subclasses(child)


def commands() -> dict[str, Any]:
    """The commands by name: the functions that tlmd.cli wraps, and those with sub-commands."""
    cli = importlib.import_module("tlmd.cli")
    found: dict[str, Any] = {}
    for name, value in vars(cli).items():
        if inspect.isfunction(value) and hasattr(value, "__wrapped__") and value.__module__ == cli.__name__:
            app = typer.Typer(add_completion=False)
            app.command()(value.__wrapped__)
            found[f"tl-{name.replace('_', '-')}"] = typer.main.get_command(app)
    for name, module in GROUPS.items():
        found[name] = typer.main.get_command(importlib.import_module(module).app)
    return dict(sorted(found.items()))


def configurations() -> dict[str, type[BaseModel]]:
    """The configuration of each command that has one."""
    return {
        command: model
        for model in subclasses(Section)
        if model.__module__.startswith("tlmd.")
        for command in re.findall(r"^(tl-[\w-]+):", model.__doc__ or "")
    }


def json_keys() -> dict[str, dict[str, str]]:
    """What --json of each command writes: key -> meaning."""
    found: dict[str, dict[str, str]] = {}
    for module in modules():
        for command, keys in getattr(module, "JSON_KEYS", {}).items():
            found.setdefault(command, {}).update(keys)
    return found


def pages(root: Path) -> dict[str, str]:
    """The text of every page by file name; `root` is the folder of the repository."""
    modules()
    configured, written = configurations(), json_keys()
    texts, index = {}, []
    for name, command in commands().items():
        parts = [f"# {name}\n\n{_summary(command)}", *_options(name, command)]
        if name in configured:
            parts += [
                "## Keys of the TOML\n\nAny of them can be given as `--set KEY=VALUE`.",
                *_keys(configured[name]),
                *_fits(configured[name]),
            ]
        if name in written:
            rows = [(f"`{key}`", meaning) for key, meaning in written[name].items()]
            parts.append("## JSON\n\n" + _table(("key", "meaning"), rows))
        texts[f"{name}.md"] = _page(parts)
        index.append((f"[{name}]({name}.md)", _summary(command)))
    if (root / KEYWORDS).exists():
        texts["pair_style.md"] = _page(_keywords((root / KEYWORDS).read_text(encoding="utf-8")))
        index.append(("[pair_style tpainn, mekrr, d3](pair_style.md)", "The keywords in LAMMPS."))
    index.append(("`tl`", _sentence(importlib.import_module("tlmd.cli").tl.__doc__)))
    texts["README.md"] = _page(["# Reference", _table(("page", "what"), index)])
    return texts


def _page(parts: list[str]) -> str:
    return HEAD + "\n" + "\n\n".join(parts) + "\n"


def _summary(command: Any) -> str:
    return _sentence(command.help or "")


def _sentence(text: str) -> str:
    """The first paragraph of a docstring without the command's name."""
    text = re.sub(r"^tl[\w-]*: ", "", inspect.cleandoc(text).partition("\n\n")[0].replace("\n", " "))
    return text[:1].upper() + text[1:]


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# Commands


def _options(name: str, command: Any) -> list[str]:
    """Usage and options of a command, or of each of its sub-commands."""
    if hasattr(command, "commands"):
        parts = []
        for word, child in command.commands.items():
            parts += [f"## {name} {word}\n\n{_summary(child)}", *_options(f"{name} {word}", child)]
        return parts
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    words = [_argument(p) for p in shown if p.param_type_name == "argument"]
    usage = " ".join([name, *words, *(["[OPTIONS]"] if len(words) < len(shown) else [])])
    signature = inspect.signature(inspect.unwrap(command.callback), eval_str=True)
    hints = {word: parameter.annotation for word, parameter in signature.parameters.items()}
    rows = [(f"`{_option(p)}`", _type(p, hints), _usual(p), getattr(p, "help", None) or "") for p in shown]
    return [f"    {usage}", *([_table(("option", "type", "default", "meaning"), rows)] if rows else [])]


def _argument(parameter: Any) -> str:
    if parameter.metavar:
        return parameter.metavar
    name = (parameter.name or "").upper().rstrip("_") + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _argument(parameter)
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _type(parameter: Any, hints: dict[str, Any]) -> str:
    return "flag" if getattr(parameter, "is_flag", False) else _kind(hints.get(parameter.name, str))


def _usual(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if getattr(parameter, "is_flag", False):
        return (parameter.opts if value else parameter.secondary_opts or ["off"])[0]
    return "" if value is None or callable(value) else str(value)


# Keys of a TOML


def _keys(model: type[BaseModel], prefix: str = "", title: str = "") -> list[str]:
    """A table of the plain keys of `model`, then one part for each table inside it."""
    rows, inner = [], []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        tables = _tables(annotation)
        unit, meaning = _unit(name, field.description or "")
        path = f"{prefix}{name}" + (".NAME" if typing.get_origin(annotation) is dict and tables else "")
        if not tables and not _is_tag(name, annotation):
            rows.append((f"`{name}`", _kind(annotation, field.metadata), unit, _default(field), meaning))
        elif len(tables) > 1:
            inner.append(_choices(path, tables, meaning))
            inner += [part for table in tables for part in _keys(table, f"{path}.", _tagged(path, table))]
        elif tables:
            note = "" if field.is_required() or field.get_default(call_default_factory=True) else " (optional)"
            inner += _keys(tables[0], f"{path}.", f"### [{path}]{note}")
    about = inspect.cleandoc(model.__doc__ or "") if model.__doc__ and title else ""
    head = "\n\n".join(text for text in (title, about) if text)
    table = _table(("key", "type", "unit", "default", "meaning"), rows) if rows else ""
    return [part for part in (head, table) if part] + inner


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value of this annotation may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _tables(argument)]


def _is_tag(name: str, annotation: Any) -> bool:
    """Whether this key tells one kind of table from the others: Literal["bulk"]."""
    return (
        name in ("kind", "name") and typing.get_origin(annotation) is typing.Literal and len(annotation.__args__) == 1
    )


def _tag(model: type[BaseModel]) -> tuple[str, str]:
    """The key, and its value, by which a table of several kinds is known: ("kind", "bulk")."""
    tags = [(name, f.annotation) for name, f in model.model_fields.items() if _is_tag(name, f.annotation)]
    return (tags[0][0], str(typing.get_args(tags[0][1])[0])) if tags else ("kind", model.__name__)


def _tagged(path: str, model: type[BaseModel]) -> str:
    key, value = _tag(model)
    return f'### [{path}] {key} = "{value}"'


def _choices(path: str, tables: list[type[BaseModel]], meaning: str) -> str:
    """One line for each kind of table."""
    rows = [(f"`{_tag(table)[1]}`", _about(table)) for table in tables]
    return f"### [{path}]\n\n{meaning[:1].upper()}{meaning[1:]}.\n\n" + _table((_tag(tables[0])[0], "what"), rows)


def _fits(model: type[BaseModel]) -> list[str]:
    """Which kinds of one table go with which of another, where both say what `matter` they are for."""
    several = [tables for field in model.model_fields.values() if len(tables := _tables(field.annotation)) > 1]
    if len(several) != 2 or not all(hasattr(table, "matter") for tables in several for table in tables):
        return []
    columns, lines = several
    rows = [
        (f"`{_tag(line)[1]}`", *("yes" if line.matter in ("any", *column.matter) else "-" for column in columns))
        for line in lines
    ]
    heads = tuple(f"`{_tag(column)[1]}`" for column in columns)
    return ["### Which kinds of systems go with which teacher", _table(("kind", *heads), rows)]


def _about(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _unit(name: str, description: str) -> tuple[str, str]:
    """The unit in front of a description ("eV/A, largest ..."), else that of the key's ending; and the rest."""
    first = re.match(r"([^\s,:]+(?: s)?)(?:[,:] |$)", description)
    if first and first.group(1) in UNITS:
        return first.group(1), description[first.end() :]
    for suffix, unit in UNIT_OF_SUFFIX.items():
        if name.endswith(suffix):
            return unit, description
    return "", description


def _kind(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """The type of a key in words, with its bounds."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(part, metadata) for part in arguments if part is not types.NoneType))
    if origin is typing.Literal:
        return " \\| ".join(f"`{choice}`" for choice in arguments).replace("\\|", "|")
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(_kind(part) for part in arguments)}]"
    if origin is dict:
        return "table"
    names = {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path", dict: "table"}
    return names.get(annotation, "any") + _bounds(metadata)


def _bounds(metadata: list[Any] | tuple[Any, ...]) -> str:
    metadata = [part for entry in metadata for part in getattr(entry, "metadata", None) or [entry]]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [
        f"{sign} {_number(getattr(entry, name))}"
        for entry in metadata
        for name, sign in signs.items()
        if isinstance(getattr(entry, name, None), (int, float))
    ]
    even = ["even" for entry in metadata if getattr(entry, "multiple_of", None) == 2]
    return "".join(f", {text}" for text in even) + (f" {' and '.join(found)}" if found else "")


def _number(value: float) -> str:
    power = int(value).bit_length() - 1
    return f"2^{power}" if power > 30 and value == 2**power else f"{value:g}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, (bool, int, float)):
        return f"`{json.dumps(value)}`"
    if isinstance(value, (list, tuple, dict)):
        return f"`{json.dumps(value) if value != {} else '{}'}`"
    return f'`"{value}"`'


# Keywords of the pair styles


def _keywords(source: str) -> list[str]:
    """The tables of keywords.cpp: rows {"name", "values", "usual", "help", ...}."""
    literal = r'"((?:[^"\\]|\\.)*)"'
    row = re.compile(r"\{\s*" + r",\s*".join([literal] * 4))
    parts = ["# pair_style tpainn, pair_style mekrr, pair_style d3"]
    tables = re.findall(r"(\w+)_KEYWORDS\s*=\s*\{(.*?)\n\};", source, flags=re.DOTALL)
    found = {name.lower(): row.findall(body) for name, body in tables}
    for style, rows in found.items():
        other = "tpainn" if style == "mekrr" else ""
        words = [f"[keywords of {other}]"] * (other in found) + [f"[{name} {values}]" for name, values, *_ in rows]
        whole = textwrap.wrap(" ".join(word.replace(" ", "\0") for word in words), 90)  # each word in one line
        usage = f"    pair_style {style} " + " &\n        ".join(whole).replace("\0", " ")
        files = "MODEL-lammps.pt" if other else "MODEL-lammps.pt [more models of a committee]"
        usage += f"\n    pair_coeff * * {'MODEL-d3.json' if style == 'd3' else files} ELEMENT ..."
        cells = [(f"`{name}`", f"`{values}`", usual, meaning) for name, values, usual, meaning in rows]
        more = " The keywords of `pair_style tpainn`, of which these have a meaning of their own:" if other else ""
        parts.append(f"## pair_style {style}\n\n{usage}\n\n{more.strip()}".rstrip())
        parts.append(_table(("keyword", "values", "default", "meaning"), cells))
    return parts


def main(folder: Path) -> None:
    """Write all pages to `folder`, and take away those that the code no longer has."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = pages(Path.cwd())
    for stale in set(folder.glob("*.md")) - {folder / name for name in texts}:
        stale.unlink()
    for name, text in texts.items():
        write_atomic(folder / name, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
    print(f"wrote {len(texts)} pages to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
