"""Radial distribution functions, their first peaks and coordination numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple, Optional

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, EXPERIMENT, legend_above, new_figure
from tlmd.analysis.peaks import first_maximum, minimum_after, top_of_peak
from tlmd.analysis.registry import Analysis, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, mean_of_blocks
from tlmd.run.errors import InputError

BIN_A = 0.02
BLOCKS = 5
MOST_FRAMES = 500  # evenly spaced ones are used of a longer run


@dataclass(frozen=True)
class Radial:
    """g(r) of one pair of species, in blocks of the trajectory."""

    pair: tuple[str, str]
    r_A: np.ndarray  # (M,) bin centres
    g: np.ndarray  # (M,) mean over all frames
    blocks: np.ndarray  # (B, M)
    neighbours: np.ndarray  # (B, M) of the second species around one of the first, up to a bin's outer edge

    @property
    def error(self) -> np.ndarray:
        """(M,) standard error of g over the blocks."""
        return self.blocks.std(axis=0, ddof=1) / np.sqrt(len(self.blocks))


@dataclass(frozen=True)
class Peak:
    """First peak of a g(r) and the number of neighbours in it."""

    position: Estimate  # A
    height: Estimate  # 1
    coordination: Estimate  # 1
    radius_A: float  # up to which the neighbours are counted


def species_pairs(species: np.ndarray) -> list[tuple[str, str]]:
    """All unordered pairs of the species (N,), in order of first appearance: O-O, O-H, H-H for water."""
    names = list(dict.fromkeys(species.tolist()))
    return [(a, b) for i, a in enumerate(names) for b in names[i:]]


def largest_cutoff(cells: np.ndarray) -> float:
    """Half the smallest distance in A between opposite faces of the cells (T, 3, 3)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cells), axis=1)  # columns of the inverse are the face normals
    return float(heights.min() / 2)


def radial_distributions(
    positions: np.ndarray,
    cells: np.ndarray,
    species: np.ndarray,
    pairs: list[tuple[str, str]] | None = None,
    cutoff_A: float | None = None,
    bin_A: float = BIN_A,
) -> list[Radial]:
    """g(r) of pairs of species from positions (T, N, 3) and cells (T, 3, 3) in A, species (N,); fully periodic box.

    g is normalised so that an ideal gas of the same number of atoms gives 1. cutoff_A is at most half the box (default:
    that, or 10 A). Raises InputError for an unknown species, a cutoff beyond half the box, or fewer than 5 frames.
    """
    half = largest_cutoff(cells)
    cutoff = min(half, 10.0) if cutoff_A is None else cutoff_A
    if cutoff > half * (1 + 1e-9):
        raise InputError(f"cutoff {cutoff:g} A", f"at most half the box, {half:.3f} A", "lower it or run a larger box")
    if len(positions) < BLOCKS:
        raise InputError(f"{len(positions)} frames", f"at least {BLOCKS}", "dump more often")
    pairs = pairs or species_pairs(species)
    known = set(species.tolist())
    for name in {name for pair in pairs for name in pair} - known:
        raise InputError(f"species {name}", " or ".join(sorted(known)), "correct the pair, or name types by --elements")
    n_bins = int(np.floor(cutoff / bin_A + 1e-9))
    edges = bin_A * np.arange(n_bins + 1)
    frames = np.array_split(np.arange(len(positions)), BLOCKS)
    counts = np.array([_count(positions[part], cells[part], species, pairs, edges) for part in frames])  # (B, pairs, M)
    inverse_volumes = np.array([np.mean(1 / np.abs(np.linalg.det(cells[part]))) for part in frames])
    return [_normalise(pair, counts[:, i], species, edges, inverse_volumes) for i, pair in enumerate(pairs)]


def _count(positions, cells, species, pairs, edges) -> np.ndarray:
    """(pairs, M) unordered pairs of atoms in each distance bin, mean over the frames of positions (T, N, 3)."""
    from vesin import NeighborList  # here, for it imports torch: seconds that the other commands need not wait

    neighbours = NeighborList(cutoff=float(edges[-1]), full_list=False)
    names, code = np.unique(species, return_inverse=True)
    counts = np.zeros((len(names), len(names), len(edges) - 1))
    for frame, cell in zip(positions, cells, strict=True):
        scaled = frame @ np.linalg.inv(cell)
        i, j, distance = neighbours.compute((scaled - np.floor(scaled)) @ cell, cell, True, "ijd")
        kind = code[i] * len(names) + code[j]
        bins = np.minimum((distance / (edges[1] - edges[0])).astype(int), len(edges) - 2)
        flat = np.bincount(kind * (len(edges) - 1) + bins, minlength=counts.size)
        counts += flat.reshape(counts.shape)
    counts = (counts + counts.transpose(1, 0, 2)) / len(positions)
    index = {name: k for k, name in enumerate(names.tolist())}
    return np.array([counts[index[a], index[b]] / (2 if a == b else 1) for a, b in pairs])


def _normalise(pair, counts, species, edges, inverse_volumes) -> Radial:
    n_first, n_second = (int(np.sum(species == name)) for name in pair)
    same = pair[0] == pair[1]
    ideal_pairs = n_first * (n_first - 1) / 2 if same else n_first * n_second
    if ideal_pairs == 0:
        raise InputError(f"one atom of {pair[0]}", "two for this pair", "choose other pairs")
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    blocks = counts / (ideal_pairs * shells * inverse_volumes[:, None])
    neighbours = np.cumsum(counts, axis=1) * (2 if same else 1) / n_first
    return Radial(pair, 0.5 * (edges[1:] + edges[:-1]), blocks.mean(axis=0), blocks, neighbours)


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
    peak: Peak
    origin: str  # of the radius up to which neighbours are counted


def pairs_of(text: str | None, species: np.ndarray) -> list[tuple[str, str]]:
    """The pairs in a text such as "O-O,O-H", by default all of the species (N,); raises InputError."""
    if not text:
        return species_pairs(species)
    pairs = [tuple(pair.split("-")) for pair in text.replace(",", " ").split()]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"--pairs {text}", "pairs such as O-O,O-H", "write two species joined by -")
    return pairs


@register("structure")
@dataclass(frozen=True)
class StructureOfRun(Analysis[list[Pair]]):
    """Radial distribution functions from DUMP: first peak and coordination number of each pair."""

    caption = "Radial distribution"
    needs = ("dump",)
    may_use = ("log",)

    pairs: Annotated[Optional[str], typer.Option(help="such as O-O,O-H (default: all)")] = None
    radius_A: Annotated[
        Optional[float],
        typer.Option(
            "--radius",
            help="A, up to which neighbours are counted (default: first minimum of experiment, else of the run)",
        ),
    ] = None

    def compute(self, run: Simulation) -> list[Pair]:
        trajectory = run.trajectory
        if not trajectory.periodic.all():
            raise InputError(
                f"{run.dump_path}: a box that is not periodic", "periodic in x, y, z", "use boundary p p p"
            )
        run.temperature()  # refused here when there is none, before the work
        pairs = pairs_of(self.pairs, trajectory.species)
        frames = _even_frames(len(trajectory.steps))
        radials = radial_distributions(
            trajectory.positions[frames], trajectory.cells[frames], trajectory.species, pairs
        )
        return [self._pair(radial, run) for radial in radials]

    def _pair(self, radial: Radial, run: Simulation) -> Pair:
        """Water's pairs are looked at beyond the bonds; neighbours are counted to a radius that no noise moves."""
        liquid = run.liquid
        beyond = liquid.beyond_bonds(radial.pair) if liquid else 0.0
        known = liquid.first_minimum(radial.pair) if liquid else None
        if self.radius_A is not None:
            radius, origin = self.radius_A, "given"
        elif known is not None and known <= radial.r_A[-1]:
            radius, origin = known, "experiment's first minimum"
        else:
            radius, origin = None, "the run's own first minimum"
        return Pair(radial, first_peak(radial, beyond, radius), origin)

    def records(self, result: list[Pair], run: Simulation) -> list[dict]:
        temperature, n_frames = run.temperature(), len(_even_frames(len(run.trajectory.steps)))
        parts = [f"{Path(run.dump_path).name}, {n_frames} frames, bins of {BIN_A} A", run.temperature_note()]
        source = ", ".join(part for part in parts if part)
        found = []
        for radial, peak, origin in result:
            name = "-".join(radial.pair)
            counted = f"{source}, neighbours up to {peak.radius_A:.2f} A ({origin})"
            known = None
            if run.experiment and run.liquid:
                known = run.liquid.coordination(radial.pair, peak.radius_A, temperature)
            found += [
                run.record(f"{name} first peak position", peak.position, temperature, source),
                run.record(f"{name} first peak height", peak.height, temperature, source),
                run.record(
                    f"{name} coordination number", peak.coordination, temperature, counted, known, peak.radius_A
                ),
            ]
        return found

    def plot(self, result: list[Pair], run: Simulation) -> Figure:
        figure, axes = new_figure(len(result))
        for axis, (radial, _, _) in zip(axes, result, strict=True):
            r, g, error = radial.r_A, radial.g, radial.error
            axis.fill_between(r, g - 2 * error, g + 2 * error, color=COMPUTED, alpha=0.3, linewidth=0)
            axis.plot(r, g, color=COMPUTED, linewidth=1.2, label="run")
            curve = run.curve(radial.pair, run.temperature())
            if curve is not None:
                shown = curve.r_A <= r[-1]
                axis.plot(curve.r_A[shown], curve.g[shown], color=EXPERIMENT, linestyle="--", label=curve.source)
            outer = r > 1.4  # a bond's peak would set the scale
            axis.set_ylim(0, 1.2 * max(1.0, float(np.max(g[outer], initial=0.0))))
            axis.set(xlabel="r (Å)", ylabel=f"g({'-'.join(radial.pair)})")
            legend_above(axis)
        return figure


def _even_frames(n_frames: int) -> np.ndarray:
    """At most MOST_FRAMES indices of frames, evenly spaced."""
    return np.unique(np.linspace(0, n_frames - 1, MOST_FRAMES).astype(int))
