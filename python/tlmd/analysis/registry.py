"""An analysis is one class in one file of `properties`, registered by a decorator; its command is made from it."""

from __future__ import annotations

import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure

from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError, nearest

Result = TypeVar("Result")


class Lacking(InputError):
    """Files that do not hold what an analysis needs: refused by its command, and left out of a report."""


class Analysis(ABC, Generic[Result]):
    """One property of a run. A subclass is a dataclass whose fields are the options of its command.

    Fields are `Annotated[type, typer.Option(help=...)]`, each with a default; the docstring is the command's help.
    """

    name: ClassVar[str]  # of the command
    caption: ClassVar[str]  # of the figure
    needs: ClassVar[tuple[str, ...]]  # files, of "dump" and "log"; the first one is the command's argument
    may_use: ClassVar[tuple[str, ...]] = ()  # files that are not needed
    expected: ClassVar[bool] = True  # a report of a run that refuses it ends with an error
    of_dump: ClassVar[bool] = False  # of a log alone: a report takes the log of the dump's run, else that of NPT

    @abstractmethod
    def compute(self, run: Simulation) -> Result:
        """Arrays of the run in, the result with its error out. Raises InputError for a run that does not give it."""

    @abstractmethod
    def records(self, result: Result, run: Simulation) -> list[dict]:
        """The records of a result, made by `run.record`."""

    @abstractmethod
    def plot(self, result: Result, run: Simulation) -> Figure:
        """One figure."""

    def curves(self, result: Result, run: Simulation) -> dict[str, np.ndarray]:
        """Columns of the CSV file, of equal length, by names with units; without this method there is no --csv."""
        return {}


class Measurement(NamedTuple):
    """Records with the keys of records.RECORD_KEYS, and the figures that belong to them by caption."""

    records: list[dict]
    figures: dict[str, Figure]
    curves: dict[str, np.ndarray] = {}  # noqa: RUF012, never changed


_ANALYSES: dict[str, type[Analysis]] = {}


def register(name: str) -> Callable[[type[Analysis]], type[Analysis]]:
    """Decorator of a subclass of Analysis: it becomes the command `tl-analyze NAME` and a part of the report."""

    def add(analysis: type[Analysis]) -> type[Analysis]:
        analysis.name = name
        _ANALYSES[name] = analysis
        return analysis

    return add


def analyses() -> dict[str, type[Analysis]]:
    """Every analysis by its name, in alphabetical order: the files in `properties`, and those registered elsewhere."""
    from tlmd.analysis import properties

    for module in pkgutil.iter_modules(properties.__path__):
        importlib.import_module(f"{properties.__name__}.{module.name}")
    return dict(sorted(_ANALYSES.items()))


def measure(name: str, run: Simulation, **options: Any) -> Measurement:
    """Compute, record and plot one property of a run; `options` are the fields of the analysis.

    Raises InputError for an unknown name, and whatever the analysis refuses.
    """
    known = analyses()
    if name not in known:
        raise InputError(f"analysis {name}{nearest(name, known)}", ", ".join(known), "choose one")
    _finite(options)
    analysis = known[name](**options)
    missing = [file for file in analysis.needs if getattr(run, f"{file}_path") is None]
    if missing:
        raise InputError(f"{name} without a {missing[0]}", " and ".join(analysis.needs), f"give the {missing[0]}")
    result = analysis.compute(run)
    figures = {analysis.caption: analysis.plot(result, run)}
    return Measurement(analysis.records(result, run), figures, analysis.curves(result, run))


def _finite(options: dict[str, Any]) -> None:
    """Refuse nan and inf in any option: every comparison with them is false."""
    for name, value in options.items():
        numbers = value if isinstance(value, (tuple, list)) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            shown = " ".join(map(str, numbers))
            raise InputError(f"--{name.partition('_')[0]} {shown}", "finite numbers", "correct it")
