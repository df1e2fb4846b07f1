"""One run of LAMMPS in its folder: its input, its parts, how far it came, why it ended."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlmd.campaign.config import CampaignConfig, Point
from tlmd.campaign.parts import joined_table, newest_restart, number_of, parts_of, read_table, write_dump, write_log
from tlmd.campaign.start import fingerprint
from tlmd.frames.frame import Frame
from tlmd.lammps_job import DATA, DECK, boundary, hottest, program, reason, write_script, write_system
from tlmd.run.errors import InputError
from tlmd.run.executor import SECONDS, Job, Outcome
from tlmd.run.files import write_text
from tlmd.run.folder import damaged

MODEL, STATE, SCALE = "model.in", "state.json", "scale"
OPEN = ("steps", SCALE)  # variables of an input that may change: a run is made longer; NPT that went on
PACKED_STEPS = 200  # of minimisation, of a box that was packed
# In what follows a run may be waiting, running, stopped; or it is over:
FINISHED, EXPLODED, FAILED = "finished", "exploded", "failed"
HEAD = """# A run of tl-campaign: {point}
# By hand, in this folder:
#   export LAMMPS_PLUGIN_PATH=$(tl-plugin)
#   mpirun -n 2 lmp -in {deck}                                         # from the start
#   mpirun -n 2 lmp -in {deck} -var part 2 -var restart restart_a   # from a restart file: md.2.log, md.2.dump
# Model: {model}; data file: sha256 {data}
"""


class State(NamedTuple):
    """What is noted of a run. why: of an end before its last step; failed: before MD began, or without any progress;
    parts: those that have ended; steps: how far it came; seconds: wall time."""

    why: str = ""
    failed: bool = False
    parts: int = 0
    steps: int = 0
    seconds: float = 0.0


class Run:
    """One point of the campaign."""

    def __init__(self, config: CampaignConfig, point: Point, out: Path):
        self.config, self.point = config, point
        self.folder, self.name = out / "runs" / point.name, point.name
        self.part = 0  # that `job` has begun

    @property
    def state(self) -> State:
        """What is noted of it."""
        path = self.folder / STATE
        try:
            return State(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else State()
        except (ValueError, TypeError):
            raise damaged(path, "the state of a run") from None

    def steps_of(self, ps: float) -> int:
        """Steps of so many ps, whole intervals of frames."""
        every = self.config.frame_steps
        return max(every, every * round(1000 * ps / self.config.timestep_fs / every)) if ps else 0

    @property
    def equilibration(self) -> int:
        """Steps that are not recorded."""
        return self.steps_of(self.config.equilibrate_ps)

    @property
    def steps(self) -> int:
        """All of its steps."""
        return self.equilibration + self.steps_of(self.config.ps)

    def ps(self, steps: int) -> float:
        """Steps in ps."""
        return steps * self.config.timestep_fs / 1000

    @property
    def over(self) -> str:
        """How it ended; "" where it has not."""
        state = self.state
        if state.why:
            return FAILED if state.failed else EXPLODED
        return FINISHED if state.steps >= self.steps else ""

    def prepare(self, frame: Frame, model: Path, lines: list[str], elements: list[str], scale: float) -> None:
        """Write its data file and its input, or see that they are those of this run. InputError if they are not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = write_system(self.folder / DATA, frame, elements, "start")
        write_text(self.folder / MODEL, "\n".join(lines) + "\n")
        text = self._input(frame, model, own, scale)
        path = self.folder / DECK
        before = path.read_text(encoding="utf-8") if path.exists() else text
        if _fixed(before) != _fixed(text):
            a, b = next((a, b) for a, b in zip(_fixed(text), _fixed(before), strict=False) if a != b)
            got = f"{path}: {b.split('#  ')[0].strip()}"
            raise InputError(got, a.split("#  ")[0].strip(), "choose another --out, or delete the run's folder")
        text = re.sub(rf"^variable {SCALE} .*$", _line(before, SCALE), text, flags=re.M)
        write_text(path, text)

    def _input(self, frame: Frame, model: Path, elements: list[str], scale: float) -> str:
        config, point = self.config, self.point
        if point.ensemble == "npt" and not frame.pbc.all():
            raise InputError("npt of a frame that is not periodic", "nvt or nve", "correct ensembles or start")
        values = {
            "ensemble": (point.ensemble, "npt, nvt or nve"),
            "temperature": (f"{point.temperature_K:g}", "K"),
            "pressure": (f"{point.pressure_bar or 0:g}", "bar, of npt"),
            "timestep": (f"{config.timestep_fs:g}", "fs"),
            "equilibrate": (self.equilibration, "steps that are not recorded"),
            "steps": (self.steps - self.equilibration, "steps that are recorded"),
            "seed": (point.seed, "of velocities and thermostat"),
            SCALE: (f"{scale:.8g}", "of the box at the start"),
            "minimise": (max(config.minimise, PACKED_STEPS * bool(config.start.smiles)), "steps before MD, at most"),
            "thermo": (config.thermo_steps, "steps between rows of the log"),
            "every": (config.frame_steps, "steps between frames"),
            "keep": (config.restart_steps, "steps between restart files"),
            "hot": (f"{hottest(point.temperature_K, len(frame)):.1f}", "K, at which the run ends"),
            "elements": (f'"{" ".join(elements)}"', "of the types 1, 2, ..."),
            "columns": ('"x y z"' if point.ensemble == "npt" else '"xu yu zu"', "of the dump"),
            "boundary": (f'"{boundary(frame)}"', ""),
            "rotation": ("no" if frame.pbc.any() else "yes", "taken off the first velocities"),
            "restart": ("none", "file to go on from"),
            "part": (1, "number of this start"),
            "limit": ("off", "seconds, after which it stops and writes restart_end"),
        }
        data = fingerprint(self.folder / DATA)
        head = HEAD.format(point=point.name, deck=DECK, model=model.stem, data=data)
        rows = [f"variable {name} index {value}".ljust(40) + f" # {text}" * bool(text)
                for name, (value, text) in values.items()]  # fmt: skip
        body = (files("tlmd.campaign") / "md.in").read_text(encoding="utf-8")
        return head + "\n".join(row.rstrip() for row in rows) + "\n" + body

    def job(self) -> Job:
        """The script of its next part."""
        config, restart = self.config, newest_restart(self.folder)
        logs = parts_of(self.folder, "log")
        self.part = part = number_of(logs[-1]) + 1 if logs else 1
        launch = config.lammps or shlex.join(program(config.ranks))
        commands = [
            f"s=${{{SECONDS}:-0}}  # wall time of this job; the end of it is left for the last restart file",
            'limit=off; [ "$s" -gt 0 ] && limit=$((s - (s < 600 ? s / 5 : 120)))',
            f"{launch} -in {DECK} -log none -nocite -var part {part} -var restart "
            f'{restart.name if restart else "none"} -var limit "$limit"',
        ]
        threads = max(1, config.executor.cores // config.ranks)
        return write_script(self.folder, config.executor, commands, threads)

    def conclude(self, outcome: Outcome) -> None:
        """Note how the part that `job` has begun ended.

        An end by an error, by heat or a contact is a result: the run has exploded. A part that wall time, a signal or a
        lost node has ended goes on, if it has made a step. What ends before its first row has failed: nothing is known
        of the model.
        """
        own, old, table = self.folder / f"md.{self.part}.log", self.state, joined_table(self.folder)
        begun = own.exists() and len(read_table(own).steps) > 0
        steps = int(table.steps[-1]) if len(table.steps) else 0
        texts = [path.read_text(errors="replace") for path in (own, self.folder / "job.log") if path.exists()]
        why, moved = reason("\n".join(texts), outcome), begun and steps > old.steps
        wrong = np.flatnonzero(~np.isfinite(table.column("Temp") + table.column("PotEng")))
        if len(wrong):
            steps, why = int(table.steps[wrong[0]]), "temperature or energy that is no number"
        elif moved and (outcome.code is None or why.startswith("exit code")):
            why = ""
        elif not why and not moved and steps < self.steps:
            why, begun = f"no step in {outcome.seconds / 60:.2g} minutes", False
        failed = bool(why) and (not begun or (outcome.code is None and not len(wrong)))
        state = State(why, failed, old.parts + 1, steps, old.seconds + outcome.seconds)
        write_text(self.folder / STATE, json.dumps(state._asdict()) + "\n")

    def join(self, n_atoms: int) -> tuple[Path, Path]:
        """md.log and md.dump.gz of the recorded steps."""
        config, point = self.config, self.point
        style = {"npt": "npt", "nvt": "nvt"}.get(point.ensemble)  # a word for the target, whatever the thermostat
        target = f"\nfix move all {style} temp {point.temperature_K:g} {point.temperature_K:g} 0.1" if style else ""
        header = f"units metal\ntimestep {config.timestep_fs / 1000:g}{target}"
        log = write_log(self.folder, header, n_atoms, self.equilibration, config.thermo_steps)
        return log, write_dump(self.folder, config.frame_steps)


def _line(text: str, name: str) -> str:
    """The line of an input that sets a variable."""
    return re.search(rf"^variable {name} .*$", text, re.M)[0]


def _fixed(text: str) -> list[str]:
    """The lines of an input that say which run it is."""
    return [line for line in text.splitlines() if line.split()[1:2] not in ([name] for name in OPEN)]
