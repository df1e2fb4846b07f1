"""Hydrogen bonds by the geometry of donor, hydrogen and acceptor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, FAINT, legend_above, new_figure
from tlmd.analysis.molecules import Molecules
from tlmd.analysis.radial import even_frames, largest_cutoff
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import MIN_SAMPLES, Estimate, block_average
from tlmd.run.errors import InputError

ELEMENTS = ("N", "O", "F")  # that donate and accept
DISTANCE_A, ANGLE_DEG = 3.5, 30.0  # Luzar and Chandler, Nature 379, 55 (1996)


@dataclass(frozen=True)
class HydrogenBonds:
    """Hydrogen bonds between molecules in each frame."""

    donated: dict[str, np.ndarray]  # (T,) donated by a molecule of each formula, mean over its molecules
    all: np.ndarray  # (T,) of a molecule, donated and accepted, mean over all
    distances_A: np.ndarray  # of donor and acceptor, of all bonds
    angles_deg: np.ndarray  # between donor-hydrogen and donor-acceptor


def hydrogen_bonds(
    positions: np.ndarray,
    cells: np.ndarray,
    found: Molecules,
    distance_A: float = DISTANCE_A,
    angle_deg: float = ANGLE_DEG,
) -> HydrogenBonds:
    """Bonds of positions (T, N, 3) in periodic cells (T, 3, 3): donor D and acceptor A nearer than `distance_A`, the
    angle H-D...A below `angle_deg`, D bonded to H, A in another molecule (Luzar and Chandler 1996).

    Raises Lacking where no hydrogen is bonded to N, O or F; InputError for a box too small for the distance.
    """
    hydrogen, donor = _donors(found)
    half = largest_cutoff(cells)
    if distance_A > half:
        raise InputError(f"distance {distance_A:g} A", f"at most half the box, {half:.3f} A", "run a larger box")
    formulas = found.formulas
    counts = {kind: np.sum(formulas == kind) for kind in found.kinds}
    series = {kind: [] for kind in found.kinds if kind in formulas[found.number[donor]]}
    total, lengths, angles = [], [], []
    for frame, cell in zip(positions, cells, strict=True):
        giver, length, angle = _bonds(frame, cell, found, hydrogen, donor, distance_A, angle_deg)
        for kind, values in series.items():
            values.append(np.sum(formulas[giver] == kind) / counts[kind])
        total.append(2 * len(giver) / len(formulas))
        lengths.append(length)
        angles.append(angle)
    donated = {kind: np.array(values) for kind, values in series.items()}
    return HydrogenBonds(donated, np.array(total), np.concatenate(lengths), np.concatenate(angles))


def _donors(found: Molecules) -> tuple[np.ndarray, np.ndarray]:
    """(H,) hydrogens that are bonded to a donor, and their donors."""
    both = np.concatenate([found.bonds, found.bonds[:, ::-1]])
    chosen = (found.species[both[:, 0]] == "H") & np.isin(found.species[both[:, 1]], ELEMENTS)
    if not chosen.any():
        raise Lacking("no hydrogen bonded to N, O or F", "donors of hydrogen bonds", "check --elements")
    return both[chosen, 0], both[chosen, 1]


def _bonds(frame, cell, found, hydrogen, donor, distance_A, angle_deg) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Molecules that donate (B,), distances in A and angles in degrees of the bonds of one frame."""
    from vesin import NeighborList  # here, for it imports torch: seconds that the other commands need not wait

    scaled = frame @ np.linalg.inv(cell)
    frame = (scaled - np.floor(scaled)) @ cell
    polar = np.flatnonzero(np.isin(found.species, ELEMENTS))
    i, j, vectors = NeighborList(cutoff=distance_A, full_list=True).compute(frame[polar], cell, True, "ijD")
    i, j = polar[i], polar[j]
    apart = found.number[i] != found.number[j]
    i, vectors = i[apart], vectors[apart]
    order = np.argsort(donor, kind="stable")  # hydrogens of one donor side by side
    first, last = (np.searchsorted(donor[order], i, side) for side in ("left", "right"))
    each = np.repeat(np.arange(len(i)), last - first)  # one row for each hydrogen of the donor of a pair
    place = np.arange(len(each)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    h = hydrogen[order[first[each] + place]]
    arm = frame[h] - frame[i[each]]
    fractional = arm @ np.linalg.inv(cell)
    arm = (fractional - np.rint(fractional)) @ cell
    lengths = np.linalg.norm(vectors[each], axis=1)
    cosine = np.sum(arm * vectors[each], axis=1) / (np.linalg.norm(arm, axis=1) * lengths)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    bonded = angle < angle_deg
    return found.number[i[each[bonded]]], lengths[bonded], angle[bonded]


@register("hydrogen-bonds")
@dataclass(frozen=True)
class HydrogenBondsOfRun(Analysis[HydrogenBonds]):
    """Number of hydrogen bonds of a molecule from DUMP, by distance and angle of donor, hydrogen and acceptor."""

    caption = "Hydrogen bonds"
    needs = ("dump",)
    expected = False
    may_use = ("log",)

    distance_A: Annotated[
        float, typer.Option("--distance", help="A, between donor and acceptor (N, O, F) of two molecules, at most")
    ] = DISTANCE_A
    angle_deg: Annotated[
        float, typer.Option("--angle", help="degrees between donor-hydrogen and donor-acceptor, at most")
    ] = ANGLE_DEG

    def compute(self, run: Simulation) -> HydrogenBonds:
        trajectory = run.trajectory
        for option, value, largest in (("--distance", self.distance_A, 6.0), ("--angle", self.angle_deg, 180.0)):
            if not 0 < value <= largest:
                raise InputError(f"{option} {value:g}", f"a number up to {largest:g}", "correct it")
        if run.molecules is None:
            raise Lacking(f"{run.dump_path}: no molecules", "those of known elements", 'give --elements, such as "O H"')
        if not trajectory.periodic.all():
            raise Lacking(f"{run.dump_path}: a box that is not periodic", "periodic in x, y, z", "use boundary p p p")
        run.temperature()  # refused here when there is none, before the work
        frames = even_frames(len(trajectory.steps))
        if len(frames) < MIN_SAMPLES:
            raise InputError(f"{len(frames)} frames", f"at least {MIN_SAMPLES}", "dump more often")
        positions, cells = trajectory.positions[frames], trajectory.cells[frames]
        return hydrogen_bonds(positions, cells, run.molecules, self.distance_A, self.angle_deg)

    def records(self, result: HydrogenBonds, run: Simulation) -> list[dict]:
        parts = [
            f"{Path(run.dump_path).name}, {len(result.all)} frames, {run.molecules.text()}",
            f"donor and acceptor within {self.distance_A:g} A, angle H-D...A below {self.angle_deg:g} degrees",
            run.temperature_note(),
        ]
        source, temperature = ", ".join(part for part in parts if part), run.temperature()
        several = len(run.molecules.kinds) > 1
        found = []
        for kind, series in result.donated.items():
            name = f"hydrogen bonds donated by {kind}" if several else "hydrogen bonds donated by a molecule"
            found.append(run.record(name, _mean(series), temperature, source))
        found.append(run.record("hydrogen bonds of a molecule", _mean(result.all), temperature, source))
        return found

    def plot(self, result: HydrogenBonds, run: Simulation) -> Figure:
        figure, (left, right) = new_figure(2)
        left.plot(np.arange(len(result.all)), result.all, color=FAINT, label="run")
        left.axhline(result.all.mean(), color=COMPUTED, label=f"mean {result.all.mean():.3f}")
        left.set(xlabel="frame", ylabel="hydrogen bonds of a molecule")
        legend_above(left)
        right.hist(result.distances_A, bins=60, density=True, color=COMPUTED, label="bonds")
        right.set(xlabel="donor-acceptor distance (Å)", ylabel="probability density (1/Å)")
        legend_above(right)
        return figure


def _mean(series: np.ndarray) -> Estimate:
    return block_average(series, "1")
