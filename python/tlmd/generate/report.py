"""What tl-generate says at its end: counts and ranges of each system, and why frames are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_masses
from rich.table import Table

from tlmd.frames.frame import Frame
from tlmd.generate.config import GenerateConfig
from tlmd.generate.items import Item, dropped, frames_of, reasons
from tlmd.run.folder import RunFolder
from tlmd.units import density_g_cm3

MOST_REASONS = 5  # of a system, in the report


def report(config: GenerateConfig, items: list[Item], title: str, worst: np.ndarray, run: RunFolder) -> None:
    """The table and its notes, on the terminal and in log.txt.

    worst: the largest errors of the checks, eV per atom and eV/A
    """
    table = Table(title=title)
    notes: list[str] = []
    for heading in (
        "system",
        "kind",
        "frames",
        "dropped",
        "energy (eV/atom)",
        "largest force (eV/A)",
        "density (g/cm3)",
    ):
        table.add_column(heading, justify="left" if heading in ("system", "kind") else "right")
    for name, system in config.systems.items():
        mine = [item for item in items if item.name == name]
        frames = [frame for item in mine for frame in frames_of(item, run.path)]
        lost = dropped(mine, run.path)
        table.add_row(name, system.kind, str(len(frames)), counts(lost), *_ranges(frames))
        told = (mine[0].system.note, *explained(reasons(mine, run.path)), *filtered(lost, config))
        notes += [f"{name}: {note}" for note in told if note]
    run.table(
        table,
        *notes,
        f"seed {config.seed}; {60 * run.minutes:.0f} s; {100 * config.recheck:g} % of the labels, evaluated again from "
        f"the file, agree within {worst[0]:.1e} eV per atom and {worst[1]:.1e} eV/A",
    )


def every_frame_dropped(items: list[Item], out: Path) -> str:
    """Why nothing is left, in one line."""
    found = [f"every frame was dropped ({counts(dropped(items, out))})", *explained(reasons(items, out))]
    return "; ".join(found)


def counts(of: Counter) -> str:
    """Counts by a word as text."""
    return ", ".join(f"{count} {word}" for word, count in sorted(of.items()) if count) or "0"


def explained(reasons: Counter) -> Iterator[str]:
    """Lines that say why frames were not made or not labelled, the commonest reasons first."""
    for (what, why), count in reasons.most_common(MOST_REASONS):
        yield f"{count} {what}: {why}"
    rest = reasons.total() - sum(count for _, count in reasons.most_common(MOST_REASONS))
    if rest:
        yield f"{rest} more for other reasons"


def filtered(lost: Counter, config: GenerateConfig) -> Iterator[str]:
    """Lines that say what dropped frames that had been made, by the words in the table."""
    if lost["force"]:
        yield f"{lost['force']} dropped: a force above max_force = {config.max_force:g} eV/A"
    if lost["contact"]:
        yield f"{lost['contact']} dropped: a contact below teacher.min_contact_A"


def _ranges(frames: list[Frame]) -> tuple[str, str, str]:
    """Energy, force and density ranges as text."""
    if not frames:
        return "-", "-", "-"
    energies = [frame.energy / len(frame) for frame in frames]
    forces = [np.abs(frame.forces).max() for frame in frames]
    periodic = [frame for frame in frames if frame.pbc.all()]
    densities = [density_g_cm3(atomic_masses[f.numbers].sum(), abs(np.linalg.det(f.cell))) for f in periodic]
    return (
        f"{min(energies):.3f} .. {max(energies):.3f}",
        f"{min(forces):.2f} .. {max(forces):.2f}",
        f"{min(densities):.2f} .. {max(densities):.2f}" if densities else "-",
    )
