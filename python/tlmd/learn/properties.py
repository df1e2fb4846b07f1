"""The property that tells when to stop: its value in each round, and whether it still moves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlmd.analysis.properties.structure import Radial
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate
from tlmd.calculator import TLCalculator
from tlmd.frames.read import read_frames
from tlmd.learn.config import StopConfig
from tlmd.oracle.properties import difference, diffusion, noise, radial
from tlmd.run.errors import InputError

UNCHANGED = 2  # rounds without a move, after which the property is settled


class Value(NamedTuple):
    """A property of one round: an estimate, or g(r), or why there is none."""

    estimate: Estimate | None = None
    radial: Radial | None = None
    why: str = ""

    def text(self) -> str:
        """For tables."""
        if self.estimate is not None:
            return f"{self.estimate.value:.5g} ± {self.estimate.standard_error:.2g} {self.estimate.unit}"
        return "g(r)" if self.radial is not None else self.why or "-"


def measured(config: StopConfig, run: Path, models: Sequence[Path]) -> Value:
    """The property by the run of MD in a folder, or by the models of the committee."""
    try:
        if config.property == "density":
            found = measure("density", Simulation(log=run / "md.log", experiment=False)).records[0]
            return Value(Estimate(found["value"], found["standard_error"], found["unit"], 0.0))
        if config.property == "diffusion":
            return Value(diffusion(run, config.species, config.window_ps))
        if config.property == "rdf":
            return Value(radial=radial(run, config.pair))
        return Value(energy_difference(config, models)) if config.property else Value()
    except InputError as error:
        return Value(why=str(error))


def energy_difference(config: StopConfig, models: Sequence[Path]) -> Estimate:
    """Mean over the members, eV, with the standard deviation of one."""
    ends = [read_frames(path, check=False)[0].atoms() for path in config.between]
    found = []
    for model in models:
        calculator = TLCalculator(model)
        first, second = (float(calculator.get_potential_energy(atoms)) for atoms in ends)
        found.append(second - first)
    return Estimate(float(np.mean(found)), float(np.std(found, ddof=1)), "eV", len(found))


def moved(before: Value, now: Value) -> bool:
    """Whether a property has moved by more than its error; True where one of them was not measured."""
    if before.estimate is not None and now.estimate is not None:
        error = np.hypot(before.estimate.standard_error, now.estimate.standard_error)
        return bool(abs(now.estimate.value - before.estimate.value) > error)
    if before.radial is not None and now.radial is not None:
        return difference(now.radial, before.radial) > np.hypot(noise(now.radial), noise(before.radial))
    return True


def settled(values: Sequence[Value]) -> bool:
    """Whether the last UNCHANGED rounds did not move the property."""
    last = values[-UNCHANGED - 1 :]
    return len(last) > UNCHANGED and not any(moved(a, b) for a, b in itertools.pairwise(last))
