"""What is wrong with a TOML, in its own words: one line from the errors of pydantic."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel

from tlmd.run.errors import InputError, nearest

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text in quotes",
    Path: "a path in quotes",
}
BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
UNIONS = (typing.Union, types.UnionType)


class Place(NamedTuple):
    """Where an error is: the keys that lead there, the table that should know the last of them, its type and value."""

    keys: list[str]
    table: type[BaseModel] | None
    annotation: Any
    metadata: Sequence[Any]
    value: Any

    @property
    def key(self) -> str:
        return ".".join(self.keys) or "the whole file"


def explained(model: type[BaseModel], path: Path, data: Any, errors: Sequence[Any]) -> InputError:
    """The error to raise for what pydantic found in `data`, read from the TOML at `path`.

    An unknown key is told first: it may be a slip of one that is missing.
    """
    error = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place, kind = locate(model, data, error["loc"]), error["type"]
    if kind == "extra_forbidden":
        return _unknown(model, path, place, data)
    if kind == "missing" and place.value is None:
        return InputError(f"no key '{place.key}' in {path}", wanted(place.annotation, place.metadata), "add it")
    if kind == "union_tag_not_found":
        tag = error["ctx"]["discriminator"].strip("'")
        return InputError(f"no key '{place.key}.{tag}' in {path}", _tags(place.annotation, tag), "add it")
    if kind == "union_tag_invalid":
        tag = error["ctx"]["discriminator"].strip("'")
        got = f"{place.key}.{tag} = {shown(error['input'].get(tag))} in {path}"
        return InputError(got, _tags(place.annotation, tag), "correct it")
    text = wanted(place.annotation, place.metadata)
    if kind == "value_error":
        text = str(error["ctx"]["error"])
    where = "a table" if place.keys and isinstance(place.value, dict) else shown(place.value)
    return InputError(f"{place.key} = {where} in {path}" if place.keys else str(path), text, "correct it")


def locate(model: type[BaseModel], data: Any, location: Sequence[Any]) -> Place:
    """The place of a pydantic error, down to the last key of a table: positions in lists and names of types are left
    out."""
    place = Place([], None, model, (), data)
    for step in location:
        annotation, value = _bare(place.annotation), place.value
        if typing.get_origin(annotation) in UNIONS:
            tables = [table for table in typing.get_args(annotation) if _is_table(table)]
            # pydantic adds the tag of the table, or else its name, to the location
            named = [t for t in tables if step in _literals(t) or (isinstance(value, dict) and step == t.__name__)]
            chosen = named or _chosen(tables, value)
            if not chosen:
                break
            place = place._replace(annotation=chosen[0])
            if named:
                continue
            annotation = chosen[0]
        if _is_table(annotation):
            field = annotation.model_fields.get(step)
            found = value.get(step) if isinstance(value, dict) else None
            if field is None and annotation.model_config.get("extra") == "allow":  # keys named by the user
                place = Place([*place.keys, str(step)], None, _of_extra_keys(annotation), (), found)
            elif field is None:
                return Place([*place.keys, str(step)], annotation, Any, (), found)
            else:
                place = Place([*place.keys, step], annotation, field.annotation, field.metadata, found)
        elif typing.get_origin(annotation) is dict and isinstance(value, dict) and step in value:
            place = Place([*place.keys, str(step)], None, typing.get_args(annotation)[1], (), value[step])
        else:
            break
    return place


def _of_extra_keys(table: type[BaseModel]) -> Any:
    """The type of the values of a table whose keys the user names."""
    return typing.get_args(typing.get_type_hints(table)["__pydantic_extra__"])[1]


def refuse_booleans(model: type[BaseModel], path: Path, data: Any) -> None:
    """InputError for true or false where a number is wanted, which pydantic would take for 1 or 0."""
    for location in _booleans(data):
        place = locate(model, data, location)
        if not takes(place.annotation, bool):
            got = f"{place.key} = {shown(place.value)} in {path}"
            raise InputError(got, wanted(place.annotation, place.metadata), "correct it")


def _booleans(data: Any, location: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where true and false are."""
    if isinstance(data, bool):
        yield location
    for key, item in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _booleans(item, (*location, key))


def _unknown(model: type[BaseModel], path: Path, place: Place, data: Any) -> InputError:
    name, before = place.keys[-1], place.keys[:-1]
    own = list(place.table.model_fields)
    elsewhere = [key for key in dotted(model, data) if key.split(".")[:-1] != before]
    exact = [key for key in elsewhere if key.split(".")[-1] == name]
    near = difflib.get_close_matches(name, own, n=1, cutoff=0.5)
    far = [key for key in elsewhere if difflib.SequenceMatcher(None, name, key.split(".")[-1]).ratio() > 0.75]
    got, allowed = f"unknown key '{place.key}' in {path}", f"one of {', '.join(own)}"
    if exact or (far and not near):
        right = nearest(place.key, exact) or f" (did you mean '{(exact or far)[0]}'?)"
        return InputError(got + right, allowed, "put it into its table")
    if near:
        return InputError(f"{got} (did you mean '{'.'.join([*before, near[0]])}'?)", allowed, "rename it")
    return InputError(got, allowed, "rename it or leave it out")


def dotted(annotation: Any, data: Any, before: str = "") -> Iterator[str]:
    """The dotted names of all keys of a table and of those in it; where a tag chooses the keys, those of its choice in
    `data`, and NAME for tables that are named by the user.
    """
    annotation, data = _bare(annotation), data if isinstance(data, dict) else {}
    if typing.get_origin(annotation) in UNIONS:
        tables = [table for table in typing.get_args(annotation) if _is_table(table)]
        for table in _chosen(tables, data) or tables:
            yield from dotted(table, data, before)
    elif typing.get_origin(annotation) is dict:
        for name, item in (data or {"NAME": {}}).items():
            yield from dotted(typing.get_args(annotation)[1], item, f"{before}{name}.")
    elif _is_table(annotation):
        for name, field in annotation.model_fields.items():
            yield before + name
            yield from dotted(field.annotation, data.get(name), f"{before}{name}.")


def wanted(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The type of a key in words, with its bounds."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return wanted(arguments[0], [*arguments[1:], *metadata])
    if origin in UNIONS:
        parts = [part for part in arguments if part is not types.NoneType]
        return " or ".join(dict.fromkeys(wanted(part, metadata if len(parts) == 1 else ()) for part in parts))
    if origin is typing.Literal:
        return " or ".join(shown(choice) for choice in arguments)
    if origin is tuple:
        each = [wanted(part) for part in arguments]
        if len(set(each)) == 1:
            return f"a list of {len(each)}, each {each[0]}" + _ordered(metadata)
        return f"a list of {len(each)}: {', '.join(each)}"
    if origin is list:
        least = next((m.min_length for m in _flat(metadata) if getattr(m, "min_length", None)), 0)
        return f"a list{' of one or more' if least else ''}, each {wanted(arguments[0])}"
    if origin is dict or _is_table(annotation) or annotation is dict:
        return "a table"
    return KINDS.get(annotation, "another value") + _bounds(metadata)


def shown(value: Any) -> str:
    """A value as a TOML has it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, dict) else "a table"
    return text if len(text) <= 80 else text[:77] + "..."


def takes(annotation: Any, kind: type) -> bool:
    """Whether a value of this kind fits a type somewhere."""
    return annotation in (Any, kind) or any(takes(part, kind) for part in typing.get_args(annotation))


def _bounds(metadata: Sequence[Any]) -> str:
    found = [
        f"{words} {'2^63' if bound == 2**63 else f'{bound:.10g}'}"
        for entry in _flat(metadata)
        for name, words in BOUNDS.items()
        if isinstance(bound := getattr(entry, name, None), int | float)
    ]
    even = " that is even" if any(getattr(entry, "multiple_of", None) == 2 for entry in _flat(metadata)) else ""
    return even + (" " + " and ".join(found) if found else "")


def _ordered(metadata: Sequence[Any]) -> str:
    names = [getattr(getattr(entry, "func", None), "__name__", "") for entry in metadata]
    return ", the low end first" if "_ordered" in names else ""


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    """Metadata with those of Field(...) unpacked."""
    for entry in metadata:
        yield from getattr(entry, "metadata", None) or [entry]


def _bare(annotation: Any) -> Any:
    """A type without Annotated and None."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
    return _bare(parts[0]) if typing.get_origin(annotation) in UNIONS and len(parts) == 1 else annotation


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _literals(table: type[BaseModel]) -> set[str]:
    """The tags of a table: the only values of keys that can have but one."""
    kinds = [field.annotation for field in table.model_fields.values()]
    choices = [typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is typing.Literal]
    return {values[0] for values in choices if len(values) == 1}


def _chosen(tables: Sequence[type[BaseModel]], data: Any) -> list[type[BaseModel]]:
    """Those of the tables whose tag is in the data."""
    words = {value for value in data.values() if isinstance(value, str)} if isinstance(data, dict) else set()
    return [table for table in tables if words & _literals(table)]


def _tags(annotation: Any, tag: str) -> str:
    """The values of a tag that chooses among tables."""
    tables = [table for table in typing.get_args(_bare(annotation)) if _is_table(table)]
    names = [shown(typing.get_args(table.model_fields[tag].annotation)[0]) for table in tables]
    return f"one of {', '.join(names)}"
