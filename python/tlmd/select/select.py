"""tl-select: the frames of a pool that are worth labelling.

Frames are read one after the other and kept as numbers, so that memory does not grow with the pool; a killed run goes
on with the pieces that it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_masses

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import each_frame
from tlmd.run.errors import InputError, nearest
from tlmd.run.folder import PARTS, RunFolder
from tlmd.select.choose import Choice, Distances, choose, strata_of
from tlmd.select.config import SelectConfig
from tlmd.select.features import Describer, Pool, describe_files
from tlmd.select.report import Coverage, coverage, plot, table, write_json
from tlmd.units import density_g_cm3

RESULTS = ("selected.extxyz", "selection.json", "coverage.png")
MAX_FORCE = 1e6  # eV/A: labels of the pool are not used


class Selection(NamedTuple):
    """What tl-select ends with."""

    frames: list[Frame]
    choice: Choice
    coverage: Coverage


def select(config: SelectConfig, out: Path) -> Selection | None:
    """Choose by `config` in the run folder `out`: selected.extxyz (without labels, with file and index of each frame),
    selection.json, coverage.png. None if it was done before. InputError for files, model or keys that do not fit.
    """
    torch.set_num_threads(config.threads)
    with RunFolder(out, "select", config, RESULTS) as run:
        if run.finished:
            run.say(f"{out} is finished: {run.result['chosen']} frames in {out / RESULTS[0]}")
            return None
        pool, excluded = describe(config, run)
        distances = Distances(pool)
        keys = {key: pool.keys[key] for key in config.balance}
        strata, names = strata_of(keys, config.bins, len(pool))
        choice = choose(distances, excluded, config.n_frames, config.method, strata, config.nearest, config.seed)
        if len(choice.chosen) < config.n_frames:
            run.say(
                f"{len(choice.chosen)} frames instead of {config.n_frames}: all others are nearer than nearest = "
                f"{config.nearest:g} to one chosen or excluded"
            )
        frames = chosen_frames(config.pool, pool, choice)
        write_frames(out / RESULTS[0], frames)
        found = coverage(distances, excluded, choice, strata, names, config.seed)
        write_json(out / RESULTS[1], config, pool, choice, found)
        plot(out / RESULTS[2], distances, excluded, choice)
        run.table(*table(found, config))
        run.say(f"{out / RESULTS[0]}: {len(frames)} frames to label")
        run.finish(chosen=len(frames))
        return Selection(frames, choice, found)


def describe(config: SelectConfig, run: RunFolder) -> tuple[Pool, Pool | None]:
    """The pool and the excluded frames as numbers."""
    directions = config.directions if config.method == "d-optimal" else 0
    refuse_unknown(config)
    describer = Describer(config.model, config.layers, directions, config.seed)
    pools = []
    for name, files in (("pool", config.pool), ("exclude", config.exclude)):
        with run.progress(0) as bar:
            advance = lambda n, bar=bar: bar.advance(bar.task_ids[0], n)  # noqa: E731
            keys = config.balance if name == "pool" else []
            folder = run.path / PARTS / name
            pools.append(describe_files(files, frames_of, describer, folder, keys, advance) if files else None)
        if pools[-1] is not None:
            run.say(f"{name}: {len(pools[-1])} frames in {len(files)} files")
    return pools[0], pools[1]


def refuse_unknown(config: SelectConfig) -> None:
    """InputError for a key of `balance` that the first frame of no file of the pool has."""
    firsts = [next(iter(frames_of(file)), None) for file in config.pool] if config.balance else []
    known = list(dict.fromkeys(key for frame in firsts if frame is not None for key in frame.info))
    for key in config.balance:
        if key not in known:
            got = f'balance = ["{key}"], which no frame has{nearest(key, known)}'
            raise InputError(got, f"info keys of the pool: {', '.join(known) or 'none'}", "correct it")


def frames_of(path: Path) -> Iterable[Frame]:
    """The frames of a file, with their density among the info keys where it is not."""
    for frame in each_frame(path, MAX_FORCE):
        yield with_density(frame)


def with_density(frame: Frame) -> Frame:
    """The frame with info key density_g_cm3 if it is periodic in all directions and states none."""
    if "density_g_cm3" in frame.info or not frame.pbc.all():
        return frame
    density = float(density_g_cm3(atomic_masses[frame.numbers].sum(), abs(np.linalg.det(frame.cell))))
    return frame.replace(info={**frame.info, "density_g_cm3": density})


def chosen_frames(files: Sequence[Path], pool: Pool, choice: Choice) -> list[Frame]:
    """The chosen frames in the order of the choice, without labels: those of a teacher must not pass for DFT's."""
    found: dict[int, Frame] = {}
    for number, file in enumerate(files):
        wanted = {int(pool.index[i]): i for i in choice.chosen if pool.files[i] == number}
        for index, frame in enumerate(islice(each_frame(file, MAX_FORCE), max(wanted, default=-1) + 1)):
            if index in wanted:
                found[wanted[index]] = frame
    frames = []
    for i, distance in zip(choice.chosen, choice.distances, strict=True):
        origin = {"pool_file": files[pool.files[i]].name, "pool_index": int(pool.index[i])}
        origin |= {"distance": round(distance, 6)} if np.isfinite(distance) else {}
        plain = found[i].replace(energy=None, forces=None, stress=None)
        frames.append(plain.replace(info={**plain.info, **origin}))
    return frames
