"""tl-generate: labels by a teacher. Work items over MPI ranks, resumable; labels are checked from the written file."""

from __future__ import annotations

import json
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate.config import GenerateConfig
from tlmd.generate.interfaces import NotMade, System, Teacher, Unsuited
from tlmd.generate.registry import SYSTEMS, TEACHERS
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.files import sha256, write_text
from tlmd.run.folder import PARTS, RunFolder

FRAMES = "frames.extxyz.xz"
_UNCHECKED = "unchecked.extxyz.xz"
BLOCK = 16  # frames in a row that one rank checks


class Item(NamedTuple):
    """Part `index` of the system `name`; its frames go to one file."""

    name: str
    index: int
    system: System

    def path(self, out: Path) -> Path:
        return out / PARTS / f"{self.name}-{self.index:05d}.extxyz.gz"


def generate(config: GenerateConfig, out: Path | None = None) -> Path:
    """Write frames.extxyz.xz into the run folder (default config.out), return its path. Collective over all processes.

    Work items finished by an earlier, killed run with the same configuration are kept. An item's random numbers
    depend on the seed, its system's name and its index only: the set does not depend on ranks or interruptions.
    Every label, or the part config.recheck of them, is evaluated again from the written file by a fresh teacher;
    raises InputError on a mismatch.
    """
    config = config.model_copy(update={"out": Path(out or config.out)})
    out = config.out
    with RunFolder(out, "generate", config, (FRAMES,)) as run:
        if run.finished:
            run.say(f"{out / FRAMES} is complete; nothing to do")
            return out / FRAMES
        items = list(_items(config))
        _make_items(config, items, run)
        collective.on_main(lambda: _join(items, out))
        worst = collective.gather(_reevaluate(config, run))
        collective.on_main(lambda: _conclude(config, items, np.max(worst, axis=0), run))
    return out / FRAMES


def _conclude(config: GenerateConfig, items: list[Item], worst: np.ndarray, run: RunFolder) -> None:
    """The frames get their name: they are complete and checked."""
    _report(config, items, worst, run)
    (config.out / _UNCHECKED).replace(config.out / FRAMES)
    run.finish()
    shutil.rmtree(config.out / PARTS)


def _teacher(config: GenerateConfig) -> Teacher:
    return TEACHERS[config.teacher.name](config.teacher)


def _items(config: GenerateConfig) -> Iterator[Item]:
    for name, settings in config.systems.items():
        system = SYSTEMS[settings.kind](settings, config.scale)
        for index in range(system.items):
            yield Item(name, index, system)


def _make_items(config: GenerateConfig, items: list[Item], run: RunFolder) -> None:
    """Make the missing items, dealt out to the ranks; rank 0 shows the frames finished by all."""
    collective.on_main(lambda: (config.out / PARTS).mkdir(exist_ok=True))
    missing = [item for item in items if _finished(item, config.out) is None]
    collective.barrier()  # every rank has looked before any rank writes
    total = sum(item.system.count(item.index) for item in items)
    with _bar(run) as progress:
        task = progress.add_task("labels", total=total)

        def show() -> None:
            if run.main:
                done = (item for item in items if item.path(config.out).with_suffix(".json").is_file())
                progress.update(task, completed=sum(item.system.count(item.index) for item in done))

        teacher = _teacher(config)
        show()
        for item in missing[collective.rank() :: collective.world()]:
            _make_item(config, item, teacher)
            show()
            run.note_time()
        teacher.close()
        for _ in collective.waiting():
            show()
        show()


def _bar(run: RunFolder) -> Progress:
    """A progress bar that counts frames."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=run.console,
    )


def _make_item(config: GenerateConfig, item: Item, teacher: Teacher) -> None:
    """Sample, label, filter and write one item: first the frames, then the record that says they are complete."""
    rng = np.random.default_rng([config.seed, zlib.crc32(item.name.encode()), item.index])
    sample, not_made = _sample(item, rng, teacher)
    kept, dropped = [], Counter({"not made": item.system.count(item.index) - len(sample)})
    not_labelled = Counter()
    for sampled in sample:
        if (reason := teacher.unfit(sampled)) is not None:
            dropped[reason] += 1
            continue
        try:
            frame = teacher.label(sampled)
        except Unsuited as error:
            dropped["without a label"] += 1
            not_labelled[error.why] += 1
            continue
        if not np.abs(frame.forces).max() <= config.max_force:
            dropped["force"] += 1
            continue
        info = {"kind": item.system.config.kind, "source": f"{config.teacher.name} {item.name} {item.index}"}
        kept.append(frame.replace(info=info | frame.info))
    path = item.path(config.out)
    write_frames(path, kept)
    record = {"kept": len(kept), "dropped": dropped, "why": not_made + not_labelled, "sha256": sha256(path)}
    write_text(path.with_suffix(".json"), json.dumps(record))


def _sample(item: Item, rng: np.random.Generator, teacher: Teacher) -> tuple[list[Frame], Counter]:
    """The frames of an item without labels, and why others were not made."""
    frames, not_made = [], Counter()
    try:
        for made in item.system.sample(item.index, rng, teacher):
            if isinstance(made, NotMade):
                not_made[made.why] += made.count
            else:
                frames.append(made)
    except Unsuited as error:
        not_made[error.why] += item.system.count(item.index) - len(frames) - not_made.total()
    return frames, not_made


def _finished(item: Item, out: Path) -> dict | None:
    """The record of an item whose file is complete, otherwise None (and no record is left)."""
    path = item.path(out)
    record = path.with_suffix(".json")
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        if found["sha256"] == sha256(path):
            return found
    except (OSError, ValueError, KeyError):
        pass
    record.unlink(missing_ok=True)
    return None


def _read_part(item: Item, out: Path) -> list[Frame]:
    record = _finished(item, out)
    if record is None:
        raise InputError(f"{item.path(out)}, changed by someone else", "the file as written", "run again")
    return read_frames(item.path(out), check=False) if record["kept"] else []


def _join(items: list[Item], out: Path) -> None:
    """All parts in one file, not yet checked."""
    if not any(_finished(item, out)["kept"] for item in items):
        lost = f"every frame was dropped ({_dropped(items, out)})"
        raise InputError(lost, "frames below the limits", "raise max_force, lower min_contact_A, or change the systems")
    write_frames(out / _UNCHECKED, (frame for item in items for frame in _read_part(item, out)))


def _dropped(items: list[Item], out: Path) -> str:
    """How many frames were dropped and why, as text."""
    dropped = sum((Counter(_finished(item, out)["dropped"]) for item in items), Counter())
    return ", ".join(f"{count} {why}" for why, count in sorted(dropped.items()) if count) or "0"


def _reevaluate(config: GenerateConfig, run: RunFolder) -> tuple[float, float]:
    """Largest errors (eV per atom, eV/A) of the written labels against a fresh teacher, for this rank's frames.

    Frames of one molecule follow each other, since teachers set up each molecule once.
    """
    path = config.out / _UNCHECKED
    frames = read_frames(path, max_force=config.max_force)
    worst = (0.0, 0.0)
    teacher = _teacher(config)
    checked = np.linspace(0, len(frames) - 1, max(1, round(config.recheck * len(frames)))).round().astype(int)
    order = sorted(checked, key=lambda index: str(frames[index].info.get("smiles")))
    mine = [index for place, index in enumerate(order) if place // BLOCK % collective.world() == collective.rank()]
    with _bar(run) as progress:
        for index in progress.track(mine, description="checks"):
            frame = frames[index]
            again = teacher.label(frame)
            energy = abs(again.energy - frame.energy) / len(frame)
            force = float(np.abs(again.forces - frame.forces).max())
            if not (energy <= config.energy_tolerance and force <= config.force_tolerance):
                raise InputError(
                    f"{path}, frame {index}: labels that differ by {energy:.1e} eV per atom, {force:.1e} eV/A",
                    f"at most {config.energy_tolerance:g} and {config.force_tolerance:g}",
                    "delete that file and run again",
                )
            worst = (max(worst[0], energy), max(worst[1], force))
    teacher.close()
    return worst


def _report(config: GenerateConfig, items: list[Item], worst: np.ndarray, run: RunFolder) -> None:
    """Counts and ranges of each system, on the terminal and in log.txt."""
    table = Table(title=str(config.out / FRAMES))
    notes: list[str] = []
    for heading in ("system", "kind", "frames", "dropped", "energy (eV/atom)", "largest force (eV/A)", "density"):
        table.add_column(heading, justify="left" if heading in ("system", "kind") else "right")
    for name in config.systems:
        mine = [item for item in items if item.name == name]
        frames = [frame for item in mine for frame in _read_part(item, config.out)]
        lost = _dropped(mine, config.out)
        table.add_row(name, config.systems[name].kind, str(len(frames)), lost, *_ranges(frames))
        if mine[0].system.note:
            notes.append(f"{name}: {mine[0].system.note}")
    run.table(
        table,
        *notes,
        f"seed {config.seed}; {60 * run.minutes:.0f} s; {100 * config.recheck:g} % of the labels, evaluated again from "
        f"the file, agree within {worst[0]:.1e} eV per atom and {worst[1]:.1e} eV/A",
    )


def _ranges(frames: list[Frame]) -> tuple[str, str, str]:
    """Energy, force and density ranges as text."""
    if not frames:
        return "-", "-", "-"
    energies = [frame.energy / len(frame) for frame in frames]
    forces = [np.abs(frame.forces).max() for frame in frames]
    densities = [frame.info["density_g_cm3"] for frame in frames if "density_g_cm3" in frame.info]
    return (
        f"{min(energies):.3f} .. {max(energies):.3f}",
        f"{min(forces):.2f} .. {max(forces):.2f}",
        f"{min(densities):.2f} .. {max(densities):.2f}" if densities else "-",
    )
