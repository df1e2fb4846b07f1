"""The tables of teachers and systems, filled by the decorators `@teacher` and `@system`.

The annotation `config` of a class names its configuration, whose `name` (`kind`) is the word in a TOML.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any, TypeVar, get_args, get_type_hints

from tlmd.generate.interfaces import System, SystemConfig, Teacher, TeacherConfig

TEACHERS: dict[str, type[Teacher]] = {}  # by teacher.name
SYSTEMS: dict[str, type[System]] = {}  # by systems.NAME.kind

AnyTeacher, AnySystem = TypeVar("AnyTeacher", bound=type[Teacher]), TypeVar("AnySystem", bound=type[System])


def teacher(cls: AnyTeacher) -> AnyTeacher:
    """Class decorator: tl-generate knows this teacher."""
    return _register(TEACHERS, cls, TeacherConfig, "name")


def system(cls: AnySystem) -> AnySystem:
    """Class decorator: tl-generate knows this kind of system."""
    return _register(SYSTEMS, cls, SystemConfig, "kind")


def config_of(cls: type[Teacher] | type[System]) -> type[Any]:
    """The configuration that the annotation `config` of a class names."""
    return get_type_hints(cls)["config"]


def configs_of(table: dict[str, Any]) -> tuple[type[Any], ...]:
    """The configurations of a table, in alphabetical order of their words."""
    return tuple(config_of(table[word]) for word in sorted(table))


def scan(package: ModuleType) -> None:
    """Import every module of a package, so that the classes in it register."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def _register(table: dict[str, Any], cls: Any, base: type[Any], key: str) -> Any:
    config = config_of(cls)
    if not issubclass(config, base) or key not in config.model_fields:
        raise TypeError(f"{cls.__name__}.config: a subclass of {base.__name__} with {key}: Literal[...] is wanted")
    (word,) = get_args(config.model_fields[key].annotation)
    if word in table:
        raise TypeError(f"{cls.__name__}: {key} '{word}' is that of {table[word].__name__} already")
    table[word] = cls
    return cls
