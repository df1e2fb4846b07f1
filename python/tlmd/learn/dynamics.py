"""MD of a committee by LAMMPS: one job a run, which writes the frames where its members disagree."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.io import iread

from tlmd.frames.checks import check_frame
from tlmd.frames.extxyz import read_extxyz
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.lammps_job import DATA, DECK, boundary, hottest, program, reason, write_script, write_system
from tlmd.learn.config import StateConfig, WatchConfig
from tlmd.modelfile import read_card
from tlmd.run.errors import InputError
from tlmd.run.executor import Job, JobsConfig, Outcome
from tlmd.run.files import write_text
from tlmd.run.folder import damaged

LOG, DUMP, UNSURE, RESULT = "md.log", "md.dump.gz", "unsure.extxyz", "result.json"
RECORDED = 1000  # frames of a run, and rows of its log
FEW = 20  # frames of a trajectory, where too few of them are unsure
MOST = 200  # unsure frames of a run that are kept
INPUT = """# A run of tl-learn. Frames of a large deviation go to {unsure}; a far larger one, a contact or heat ends it.
units metal
atom_style atomic
atom_modify map array
boundary {boundary}
read_data {data}
pair_style tpainn every {every} dump {dump} {unsure} halt {halt} closest halt
pair_coeff * * {models} {elements}
compute deviation all pair tpainn
velocity all create {temperature} {seed} mom yes rot {rotation} dist gaussian
timestep {timestep}
thermo {record}
thermo_style custom step time temp press vol density pe etotal c_deviation[1] c_deviation[2]
thermo_modify flush yes norm no
{move}
variable hot equal temp
fix heat all halt {every} v_hot > {limit} error soft message yes
dump frames all custom {record} {dump_file} id type element mass {positions} # the last ones show a failure
dump_modify frames element {elements} units yes time yes sort id
run {steps}
"""
MOVES = {
    "nvt": "fix move all nve\nfix bath all temp/csvr {t} {t} 0.1 {seed}",
    "npt": "fix move all npt temp {t} {t} 0.1 iso {p} {p} 1.0",
}


class Ended(NamedTuple):
    """How a run ended. why: "" at its end; ps: how far it came; deviation: the largest seen, eV/A."""

    why: str
    ps: float
    deviation: float


class Run:
    """One run of MD in its folder."""

    def __init__(self, folder: Path, name: str, index: int, seed: int, state: StateConfig):
        self.folder, self.name, self.index, self.seed, self.state = folder, name, index, seed, state

    @property
    def ended(self) -> Ended | None:
        """How it ended; None where it has not."""
        path = self.folder / RESULT
        if not path.exists():
            return None
        try:
            return Ended(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise damaged(path, "the result of a run") from None

    def job(self, models: Sequence[Path], watch: WatchConfig, executor: JobsConfig) -> Job:
        """Input and script of the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        frame = self._frame()
        known = read_card(models[0]).elements
        elements = write_system(self.folder / DATA, frame, known, f"states.{self.name}.frames")
        write_text(self.folder / DECK, self._input(frame, [path.resolve() for path in models], elements, watch))
        commands = [
            f"rm -f {LOG} {DUMP} {UNSURE}",
            f"{shlex.join(program())} -in {DECK} -log {LOG} -screen none -nocite",
        ]
        return write_script(self.folder, executor, commands, executor.cores)

    def _frame(self) -> Frame:
        frames = read_frames(self.state.frames, check=False)
        return frames[(self.index - 1) % len(frames)]

    def _input(self, frame: Frame, models: Sequence[Path], elements: list[str], watch: WatchConfig) -> str:
        state = self.state
        steps = max(1, round(1000 * state.ps / state.timestep_fs))
        if state.ensemble == "npt" and not frame.pbc.all():
            raise InputError(f"states.{self.name}: npt of frames that are not periodic", "nvt", "correct it")
        folder = self.folder.resolve()
        return INPUT.format(
            boundary=boundary(frame),
            data=DATA, dump_file=DUMP, unsure=UNSURE, every=watch.every, dump=watch.dump, halt=watch.halt,
            models=" ".join(os.path.relpath(path, folder) for path in models),  # LAMMPS splits names at spaces
            elements=" ".join(elements), temperature=state.temperature_K, seed=self.seed,
            rotation="no" if frame.pbc.any() else "yes", timestep=state.timestep_fs / 1000,
            record=max(watch.every, steps // RECORDED), steps=steps,
            limit=f"{hottest(state.temperature_K, len(frame)):.1f}",
            positions="x y z" if state.ensemble == "npt" else "xu yu zu",
            move=MOVES[state.ensemble].format(t=state.temperature_K, p=state.pressure_bar, seed=self.seed),
        )  # fmt: skip

    def conclude(self, outcome: Outcome) -> Ended:
        """Note how the job ended."""
        log = self.folder / LOG
        text = log.read_text(errors="replace") if log.exists() else ""
        rows = re.findall(r"^ *(\d+)(?: +[\d.eE+-]+){7} +([\d.eE+-]+) +[\d.eE+-]+ *$", text, re.M)
        steps = max((int(step) for step, _ in rows), default=0)
        found = [frame.info.get("largest_deviation", 0.0) for frame in self._dumped()]
        deviation = max([*found, *(float(value) for _, value in rows), 0.0])
        ended = Ended(reason(text, outcome), steps * self.state.timestep_fs / 1000, deviation)
        write_text(self.folder / RESULT, json.dumps(ended._asdict()) + "\n")
        return ended

    def _dumped(self) -> list[Frame]:
        path = self.folder / UNSURE
        return read_extxyz(path) if path.exists() and path.stat().st_size else []

    def unsure(self, skip_ps: float) -> list[Frame]:
        """The frames above the threshold, at most MOST of them, spread over the run; impossible ones are left out, and
        those of its first `skip_ps`, unless it failed in them."""
        frames, first = self._dumped(), 1000 * skip_ps / self.state.timestep_fs
        if not self.ended.why or self.ended.ps > skip_ps:
            frames = [frame for frame in frames if frame.info["step"] >= first]
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(MOST, len(frames))).astype(int))
        return [self._told(frames[int(i)]) for i in chosen if possible(frames[int(i)])]

    def others(self, skip_ps: float) -> list[Frame]:
        """FEW frames of its trajectory after `skip_ps`, spread over it; of a run that failed, the last ones."""
        path = self.folder / DUMP
        if not path.exists():
            return []
        read = list(iread(path, index=":", format="lammps-dump-text"))
        first = min(len(read) - 1, round(len(read) * skip_ps / self.state.ps))
        spread = np.unique(np.linspace(first, len(read) - 1, FEW).astype(int))
        chosen = [read[int(i)] for i in spread] if not self.ended.why else read[-FEW:]
        frames = [Frame(each.numbers, each.positions, each.cell.array, each.pbc) for each in chosen]
        return [self._told(frame) for frame in frames if possible(frame)]

    def _told(self, frame: Frame) -> Frame:
        """With where it comes from, and without the box of a free molecule."""
        info: dict[str, Any] = {**frame.info, "source": f"{self.folder.parent.parent.name}-{self.folder.name}"}
        info |= {"state": self.name, "temperature_K": self.state.temperature_K}
        cell = frame.cell if frame.pbc.any() else np.zeros((3, 3))
        return frame.replace(info=info, cell=cell, energy=None, forces=None, stress=None, unused=())


def possible(frame: Frame) -> bool:
    """Whether a frame passes the checks of any frame: no two atoms at one place, a sound cell."""
    try:
        check_frame(frame, "unsure")
    except InputError:
        return False
    return True
