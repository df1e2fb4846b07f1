"""Radial distribution functions, their first peaks and coordination numbers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple, Optional

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, EXPERIMENT, FAINT, legend_above, new_figure
from tlmd.analysis.peaks import first_maximum, minimum_after, top_of_peak
from tlmd.analysis.radial import BIN_A, Radial, even_frames, radial_distributions, species_pairs
from tlmd.analysis.registry import Analysis, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, mean_of_blocks
from tlmd.run.errors import InputError

DONORS = ("N", "O", "F")  # whose hydrogens make hydrogen bonds


@dataclass(frozen=True)
class Peak:
    """First peak of a g(r) and the number of neighbours in it."""

    position: Estimate  # A
    height: Estimate  # 1
    coordination: Estimate  # 1
    radius_A: float  # up to which the neighbours are counted


def first_peak(radial: Radial, beyond_A: float = 0.0, radius_A: float | None = None) -> Peak:
    """First peak beyond `beyond_A` (to pass over bonds), with errors over the blocks of the trajectory.

    Neighbours are counted from there to `radius_A`, by default the minimum after the peak. Raises InputError when g has
    no peak there, or the radius is not between the peak's foot and the end of g.
    """
    near = first_maximum(radial.r_A, radial.g, beyond_A)
    position, height = top_of_peak(radial.r_A, radial.g, near)
    tops = np.array([top_of_peak(radial.r_A, block, near) for block in radial.blocks])
    radius = minimum_after(radial.r_A, radial.g, position) if radius_A is None else radius_A
    edges = radial.r_A + 0.5 * (radial.r_A[1] - radial.r_A[0])
    if not beyond_A < radius <= edges[-1] + 1e-9:
        raise InputError(f"radius {radius:g} A", f"{beyond_A:g} to {edges[-1]:.2f} A", "correct it or run a larger box")
    inner, outer = ([np.interp(r, edges, block) for block in radial.neighbours] for r in (beyond_A, radius))
    return Peak(
        replace(mean_of_blocks(tops[:, 0], "A"), value=position),
        replace(mean_of_blocks(tops[:, 1], "1"), value=height),
        mean_of_blocks(np.subtract(outer, inner), "1"),
        radius,
    )


class Pair(NamedTuple):
    """What a run gives for one pair of species."""

    radial: Radial
    peak: Peak | None  # where g has one
    origin: str  # of the radius up to which neighbours are counted
    within: Peak | None  # of the pairs within molecules, where it was asked for


def pairs_of(text: str) -> list[tuple[str, str]]:
    """The pairs in a text such as "O-O,O-HO"; raises InputError."""
    pairs = [tuple(pair.split("-")) for pair in text.replace(",", " ").split()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise InputError(f"--pairs {text}", "pairs such as O-O,O-H", "write two species joined by -")
    return pairs


@register("structure")
@dataclass(frozen=True)
class StructureOfRun(Analysis[list[Pair]]):
    """Radial distribution functions from DUMP: first peak and coordination number of each pair, between molecules."""

    caption = "Radial distribution"
    needs = ("dump",)
    may_use = ("log",)

    pairs: Annotated[
        Optional[str],
        typer.Option(
            help="such as O-O,O-H; HO, HC, ...: hydrogens by what they are bonded to (default: all pairs of elements, "
            "and those of hydrogen bonds)"
        ),
    ] = None
    radius_A: Annotated[
        Optional[float],
        typer.Option(
            "--radius",
            help="A, up to which neighbours are counted (default: first minimum of experiment, else of the run)",
        ),
    ] = None
    molecules: Annotated[
        bool, typer.Option("--molecules/--no-molecules", help="leave out pairs within molecules, by their bonds")
    ] = True
    within: Annotated[
        bool, typer.Option("--within", help="add the first peaks within molecules, such as bond lengths")
    ] = False

    def compute(self, run: Simulation) -> list[Pair]:
        trajectory = run.trajectory
        if not trajectory.periodic.all():
            raise InputError(
                f"{run.dump_path}: a box that is not periodic", "periodic in x, y, z", "use boundary p p p"
            )
        run.temperature()  # refused here when there is none, before the work
        frames = even_frames(len(trajectory.steps))
        found = run.molecules if self.molecules else None
        hydrogens = trajectory.species if run.molecules is None else run.molecules.hydrogens
        radials = []
        for species, pairs in self._pairs(trajectory.species, hydrogens):
            radials += radial_distributions(
                trajectory.positions[frames],
                trajectory.cells[frames],
                species,
                pairs,
                molecule=None if found is None else found.number,
            )
        return [self._pair(radial, run) for radial in radials]

    def _pairs(self, species: np.ndarray, hydrogens: np.ndarray) -> list[tuple[np.ndarray, list[tuple[str, str]]]]:
        """The pairs of elements, and those that name hydrogens by their bonds, each with the names of all atoms."""
        if self.pairs:
            pairs = pairs_of(self.pairs)
            special = [pair for pair in pairs if not set(pair) <= set(species.tolist())]
        else:
            single = {name for name in set(species.tolist()) if np.sum(species == name) == 1}
            pairs = [pair for pair in species_pairs(species) if not (pair[0] == pair[1] and pair[0] in single)]
            several = len(set(hydrogens[species == "H"].tolist())) > 1
            special = [(donor, f"H{donor}") for donor in DONORS if several and f"H{donor}" in hydrogens]
        plain = [pair for pair in pairs if pair not in special]
        return [(names, chosen) for names, chosen in ((species, plain), (hydrogens, special)) if chosen]

    def _pair(self, radial: Radial, run: Simulation) -> Pair:
        """Water's pairs are looked at beyond the bonds; neighbours are counted to a radius that no noise moves."""
        apart = self.molecules and run.molecules is not None
        beyond = run.liquid.beyond_bonds(radial.pair) if run.liquid and not apart else 0.0
        known = run.liquid.first_minimum(radial.pair) if run.liquid else None
        if self.radius_A is not None:
            radius, origin = self.radius_A, "given"
        elif known is not None and known <= radial.r_A[-1]:
            radius, origin = known, "experiment's first minimum"
        else:
            radius, origin = None, "the run's own first minimum"
        inner = first_peak(radial.within) if self.within and radial.within is not None else None
        try:
            peak = first_peak(radial, beyond, radius)
        except InputError as error:
            if self.pairs or self.radius_A is not None:
                raise
            warnings.warn(f"{'-'.join(radial.pair)} left out: {error}", stacklevel=2)
            peak = None
        return Pair(radial, peak, origin, inner)

    def records(self, result: list[Pair], run: Simulation) -> list[dict]:
        temperature, n_frames = run.temperature(), len(even_frames(len(run.trajectory.steps)))
        apart = f"pairs of different molecules ({run.molecules.text()})" if self.molecules and run.molecules else ""
        parts = [f"{Path(run.dump_path).name}, {n_frames} frames, bins of {BIN_A} A", apart, run.temperature_note()]
        source = ", ".join(part for part in parts if part)
        found = []
        for radial, peak, origin, inner in result:
            name = "-".join(radial.pair)
            if peak is not None:
                found += self._records(name, peak, origin, source, run, radial.pair)
            if inner is not None:
                place = f"{source.replace(apart, 'pairs within molecules')}, neighbours up to {inner.radius_A:.2f} A"
                found += [
                    run.record(f"{name} first peak position within molecules", inner.position, temperature, place),
                    run.record(
                        f"{name} coordination number within molecules",
                        inner.coordination,
                        temperature,
                        place,
                        radius_A=inner.radius_A,
                    ),
                ]
        if not found:
            raise InputError("no pair with a peak in its g(r)", "one at least", "check the run, or name --pairs")
        return found

    def _records(self, name: str, peak: Peak, origin: str, source: str, run: Simulation, pair) -> list[dict]:
        temperature = run.temperature()
        counted = f"{source}, neighbours up to {peak.radius_A:.2f} A ({origin})"
        known = None
        if run.experiment and run.liquid:
            known = run.liquid.coordination(pair, peak.radius_A, temperature)
        return [
            run.record(f"{name} first peak position", peak.position, temperature, source),
            run.record(f"{name} first peak height", peak.height, temperature, source),
            run.record(f"{name} coordination number", peak.coordination, temperature, counted, known, peak.radius_A),
        ]

    def curves(self, result: list[Pair], run: Simulation) -> dict[str, np.ndarray]:
        columns = {"r_A": result[0].radial.r_A}
        for radial, *_ in result:
            name = "-".join(radial.pair)
            columns |= {f"g_{name}": radial.g, f"error_{name}": radial.error}
            columns |= {f"neighbours_{name}": radial.neighbours.mean(axis=0)}
        return columns

    def plot(self, result: list[Pair], run: Simulation) -> Figure:
        figure, axes = new_figure(len(result))
        for axis, (radial, *_) in zip(axes, result, strict=True):
            r, g, error = radial.r_A, radial.g, radial.error
            axis.fill_between(r, g - 2 * error, g + 2 * error, color=COMPUTED, alpha=0.3, linewidth=0)
            axis.plot(r, g, color=COMPUTED, linewidth=1.2, label="run")
            curve = run.curve(radial.pair, run.temperature())
            if curve is not None:
                shown = curve.r_A <= r[-1]
                axis.plot(curve.r_A[shown], curve.g[shown], color=EXPERIMENT, linestyle="--", label=curve.source)
            outer = r > 1.4  # a bond's peak would set the scale
            top = 1.2 * max(1.0, float(np.max(g[outer], initial=0.0)))
            axis.set_ylim(0, top)
            if radial.within is not None:
                inner = radial.within.g
                axis.plot(
                    r, 0.9 * top * inner / inner.max(), color=FAINT, linewidth=1.0, label="within molecules, scaled"
                )
            axis.set(xlabel="r (Å)", ylabel=f"g({'-'.join(radial.pair)})")
            legend_above(axis)
        return figure
