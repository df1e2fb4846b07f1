"""Liquids known at one temperature (liquids.toml), and the values that a user's own file gives."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from pydantic import ConfigDict, Field

from tlmd.analysis.reference.liquid import Known, Liquid
from tlmd.run.config import Section, load_config
from tlmd.run.errors import InputError, nearest


@dataclass(frozen=True)
class Tabulated(Liquid):
    """A liquid with values at one temperature."""

    temperature_K: float = 298.15
    within_K: float = 2.0
    values: dict[str, Known] = field(default_factory=dict, hash=False)

    def known(self, quantity: str, temperature_K: float) -> Known | None:
        near = abs(temperature_K - self.temperature_K) <= self.within_K
        return self.values.get(quantity) if near else None


@functools.cache
def shipped() -> tuple[Tabulated, ...]:
    """The liquids of liquids.toml."""
    content = tomllib.loads((files("tlmd.analysis.reference") / "liquids.toml").read_text(encoding="utf-8"))
    return tuple(_tabulated(name, table) for name, table in content.items())


def _tabulated(name: str, table: dict) -> Tabulated:
    values = {quantity: Known(**value) for quantity, value in table["values"].items()}
    return Tabulated(name, table["formula"], table["bonds"], table["temperature_K"], table["within_K"], values)


class Value(Section):
    """One value of a user's file, in the unit of tl-analyze's records (g/cm3, m2/s, A; viscosity: mPa s)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    value: float = Field(strict=True)
    error: float | None = Field(None, ge=0)


class Column(Section):
    """A column of the table: values by quantity, such as density = 0.7866 or density = {value = 0.79, error = 0.01}."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Value | float] = Field(init=False)
    source: str = ""

    def known(self, quantity: str, unit: str, source: str) -> Known | None:
        """The value of a quantity (its spaces may be written as _), None when the file has none."""
        for name, value in self.__pydantic_extra__.items():
            if name.replace("_", " ") == quantity:
                value = value if isinstance(value, Value) else Value(value=value)
                return Known(value.value, value.error, unit, self.source or source)
        return None


class References(Section):
    """What `--reference FILE.toml` holds: tables experiment and level_of_theory, at the run's temperature."""

    experiment: Column = Column()
    level_of_theory: Column = Column()

    def unknown_to(self, quantities: set[str]) -> InputError | None:
        """What is wrong when none of the file's values belongs to one of the quantities."""
        names = [*self.experiment.__pydantic_extra__, *self.level_of_theory.__pydantic_extra__]
        used = quantities | {"viscosity"}
        if not names or any(name.replace("_", " ") in used for name in names):
            return None
        hint = nearest(names[0].replace("_", " "), used)
        return InputError(f"a reference for {names[0]}{hint}", f"one of {', '.join(sorted(used))}", "rename it")


def read_references(path: str | Path) -> References:
    """The values of a user's file. Raises InputError for a file that is not of this form."""
    return load_config(References, path)
