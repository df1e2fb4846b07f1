"""What tl-label says and writes at its end: labelled.extxyz, failed.extxyz, a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from tlmd.frames.extxyz import write_frames
from tlmd.label.folders import ASIDE, LABELLED, FrameFolder
from tlmd.label.interfaces import Code
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder

LABELS, FAILED = "labelled.extxyz", "failed.extxyz"
MOST_REASONS = 5


def conclude(run: RunFolder, folders: Sequence[FrameFolder], code: Code) -> Path:
    """Write the frames and the table; the path of the labelled ones. InputError if not all frames have a label."""
    done = [folder for folder in folders if folder.is_(LABELLED)]
    aside = [folder for folder in folders if folder.is_(ASIDE)]
    path = write_labelled(run, done)
    (run.path / FAILED).unlink(missing_ok=True)
    if aside:
        reasons = ((folder.frame, {"reason": folder.state["reason"], "folder": folder.name}) for folder in aside)
        write_frames(run.path / FAILED, (frame.replace(info=frame.info | more) for frame, more in reasons))
    waiting = len(folders) - len(done) - len(aside)
    run.table(_table(run, done, aside, waiting, code), *_reasons(aside))
    if done:
        run.finish(labelled=len(done), set_aside=len(aside), waiting=waiting)
    if aside or waiting:
        got = f"{len(aside) + waiting} of {len(folders)} frames without a label"
        got += f" ({len(aside)} set aside, {waiting} not run)" if aside and waiting else ""
        where = f"see {run.path / FAILED}; `--set retry=true` runs them again" if aside else "the same command goes on"
        raise InputError(got, "all of them", where)
    return path


def write_labelled(run: RunFolder, done: Sequence[FrameFolder]) -> Path:
    """Write the labels of these frames; the path of the file."""
    if done:
        write_frames(run.path / LABELS, (folder.label() for folder in done))
    return run.path / LABELS


def _table(run: RunFolder, done: list[FrameFolder], aside: list[FrameFolder], waiting: int, code: Code) -> Table:
    level = " ".join(str(value) for value in code.level().values() if value != "none")
    table = Table(title=f"{run.path / LABELS}: {code.config.name} {level}")
    for heading in ("labelled", "set aside", "not run", "seconds per frame", "SCF steps", "energy (eV/atom)"):
        table.add_column(heading, justify="right")
    table.add_column("largest force (eV/A)", justify="right")
    seconds = [folder.state["seconds"] for folder in done if folder.state.get("seconds") is not None]
    steps = [folder.state["scf_steps"] for folder in done if folder.state.get("scf_steps") is not None]
    labels = [folder.label() for folder in done]
    energies = [frame.energy / len(frame) for frame in labels]
    forces = [float(np.abs(frame.forces).max()) for frame in labels]
    table.add_row(
        *(str(count) for count in (len(done), len(aside), waiting)),
        f"{np.mean(seconds):.1f}" if seconds else "-",
        f"{np.mean(steps):.0f}" if steps else "-",
        f"{min(energies):.3f} .. {max(energies):.3f}" if energies else "-",
        f"{min(forces):.2f} .. {max(forces):.2f}" if forces else "-",
    )
    return table


def _reasons(aside: list[FrameFolder]) -> list[str]:
    """Lines that say why frames were set aside, the commonest reasons first."""
    counts = Counter(folder.state["reason"] for folder in aside)
    first = {folder.state["reason"]: folder.name for folder in reversed(aside)}
    lines = [f"{count} set aside: {why} (frames/{first[why]})" for why, count in counts.most_common(MOST_REASONS)]
    rest = len(aside) - sum(count for _, count in counts.most_common(MOST_REASONS))
    return lines + ([f"{rest} more for other reasons"] if rest else [])
