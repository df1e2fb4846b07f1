"""tl-generate: labels by a teacher. Work items over MPI ranks, resumable; labels are checked from the written file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.generate.config import GenerateConfig
from tlmd.generate.items import Item, finished, frames_of, items_of, make, new_teacher, record_of
from tlmd.generate.report import every_frame_dropped, report
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.folder import PARTS, RunFolder

FRAMES = "frames.extxyz.xz"
UNCHECKED = "unchecked.extxyz.xz"
BLOCK = 16  # frames in a row that one rank checks


def generate(config: GenerateConfig, out: Path | None = None) -> Path:
    """Write frames.extxyz.xz into the run folder (default config.out), return its path. Collective over all processes.

    Work items finished by an earlier, killed run with the same configuration are kept. An item's random numbers
    depend on the seed, its system's name and its index only: the set does not depend on ranks or interruptions.
    Every label, or the part config.recheck of them, is evaluated again from the written file by a fresh teacher;
    raises InputError on a mismatch.
    """
    out = Path(out or config.out)
    with RunFolder(out, "generate", config, (FRAMES,)) as run:
        if run.finished:
            run.say(f"{out / FRAMES} is complete; nothing to do")
            return out / FRAMES
        items = list(items_of(config))
        make_items(config, items, run)
        collective.on_main(lambda: join(items, out))
        worst = collective.gather(check(config, run))
        collective.on_main(lambda: conclude(config, items, np.max(worst, axis=0), run))
    return out / FRAMES


def make_items(config: GenerateConfig, items: list[Item], run: RunFolder) -> None:
    """Make the missing items, dealt out to the ranks; rank 0 shows the frames finished by all."""
    collective.on_main(lambda: (run.path / PARTS).mkdir(exist_ok=True))
    missing = [item for item in items if finished(item, run.path) is None]
    collective.barrier()  # every rank has looked before any rank writes
    total = sum(item.system.count(item.index) for item in items)
    with _bar(run) as progress:
        task = progress.add_task("labels", total=total)

        def show() -> None:
            if run.main:
                done = (item for item in items if item.path(run.path).with_suffix(".json").is_file())
                progress.update(task, completed=sum(item.system.count(item.index) for item in done))

        teacher = new_teacher(config)
        show()
        for item in missing[collective.rank() :: collective.world()]:
            make(config, item, teacher, run.path)
            show()
            run.note_time()
        teacher.close()
        for _ in collective.waiting():
            show()
        show()


def join(items: list[Item], out: Path) -> None:
    """All parts in one file, not yet checked."""
    if not any(record_of(item, out)["kept"] for item in items):
        raise InputError(
            every_frame_dropped(items, out),
            "frames below the limits",
            "raise max_force, lower min_contact_A, or change the systems",
        )
    write_frames(out / UNCHECKED, (frame for item in items for frame in frames_of(item, out)))


def check(config: GenerateConfig, run: RunFolder) -> tuple[float, float]:
    """Largest errors (eV per atom, eV/A) of the written labels against a fresh teacher, for this rank's frames.

    Frames of one molecule follow each other, since teachers set up each molecule once.
    """
    path = run.path / UNCHECKED
    frames = read_frames(path, max_force=config.max_force)
    worst = (0.0, 0.0)
    teacher = new_teacher(config)
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


def conclude(config: GenerateConfig, items: list[Item], worst: np.ndarray, run: RunFolder) -> None:
    """The frames get their name: they are complete and checked."""
    report(config, items, str(run.path / FRAMES), worst, run)
    (run.path / UNCHECKED).replace(run.path / FRAMES)
    run.finish()
    shutil.rmtree(run.path / PARTS)


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
