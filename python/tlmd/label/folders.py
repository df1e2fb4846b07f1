"""The folder of one frame: input, run.sh, output, state.json. A frame is known by the hash of itself and its level."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlmd.frames.checks import check_frame
from tlmd.frames.extxyz import read_extxyz, write_frames
from tlmd.frames.frame import Frame
from tlmd.label.config import LabelConfig
from tlmd.label.interfaces import GEOMETRY, Code, NoLabel, Result
from tlmd.run.errors import InputError
from tlmd.run.executor import Job, Outcome
from tlmd.run.files import sha256, write_text
from tlmd.run.folder import damaged

STATE, SCRIPT, LOG, LABEL = "state.json", "run.sh", "job.log", "label.extxyz"
WAITING, LABELLED, ASIDE = "waiting", "labelled", "set aside"
NO_SSH = "command -v ssh >/dev/null || export OMPI_MCA_plm_rsh_agent=true"  # Open MPI asks for it on one node, too
LAST_WORDS = 200  # characters of a job's log in the reason


class FrameFolder:
    """One frame and its folder. state.json: hash, state (waiting, labelled, set aside), reason, seconds, scf_steps."""

    def __init__(self, path: Path, frame: Frame, key: str):
        self.path, self.frame, self.key = path, frame, key
        self.state: dict[str, Any] = {"hash": key, "state": WAITING}

    @property
    def name(self) -> str:
        """E.g. 00001."""
        return self.path.name

    def is_(self, state: str) -> bool:
        """Whether the frame is in this state."""
        return self.state["state"] == state

    def prepare(self, code: Code, config: LabelConfig) -> None:
        """Write input and run.sh, unless the frame has its label."""
        if self.is_(LABELLED):
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_frames(self.path / GEOMETRY, [self.frame])
        files = code.write(self.path, self.frame, self.wants_stress(config))
        self.state["input_sha256"] = _joint_hash(self.path / name for name in files)
        line = code.command(config.executor.cores)
        threads = 1 if "{cores}" in getattr(code.config, "command", "") else config.executor.cores
        lines = [
            "#!/bin/sh",
            'cd "$(dirname "$0")" || exit 1',
            f"export OMP_NUM_THREADS={threads}",
            NO_SSH,
            *config.executor.setup,
            f"rm -f {shlex.quote(code.output)}",
            line,
        ]
        write_text(self.path / SCRIPT, "\n".join(lines) + "\n")
        self.save()

    def take(self, labelled: Frame) -> None:
        """The label of a frame that was labelled from the same input, elsewhere."""
        self.state["seconds"] = None
        self._keep(labelled, None)
        self.save()

    def _keep(self, labelled: Frame, scf_steps: int | None) -> None:
        write_frames(self.path / LABEL, [labelled])
        self.state |= {"state": LABELLED, "scf_steps": scf_steps}
        self.state.pop("reason", None)

    def wants_stress(self, config: LabelConfig) -> bool:
        """Whether the label is to have a stress."""
        return bool(self.frame.pbc.all()) if config.stress is None else config.stress

    def job(self) -> Job:
        """The job that runs the code."""
        folder = self.path.absolute()
        return Job(self.name, folder / SCRIPT, folder / LOG)

    def collect(self, code: Code, config: LabelConfig, outcome: Outcome | None = None) -> None:
        """Read the output; the frame is labelled, or set aside with the reason. outcome: of the job, if it just ran."""
        began = self.state.get("seconds")
        self.state |= {"state": ASIDE, "seconds": outcome.seconds if outcome else began}
        try:
            if outcome is not None and outcome.code is None:
                raise NoLabel(outcome.why)
            result = self._result(code, config, outcome)
            self._keep(self.labelled(code, config, result), result.scf_steps)
        except NoLabel as reason:
            self.state["reason"] = str(reason)
        self.state["ended"] = time.strftime("%Y-%m-%d %H:%M:%S")
        self.save()

    def _result(self, code: Code, config: LabelConfig, outcome: Outcome | None) -> Result:
        """What the output holds; NoLabel with the job's last words if it holds nothing."""
        failed = ""
        if outcome is not None and outcome.code:
            failed = ": ".join(filter(None, [f"exit code {outcome.code}", _last_line(self.path / LOG)]))
        if not (self.path / code.output).is_file():
            raise NoLabel(failed or "no output")
        try:
            result = code.read(self.path, self.frame, self.wants_stress(config))
        except NoLabel as reason:
            raise NoLabel(f"{reason} ({failed})" if failed else str(reason)) from None
        except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            raise NoLabel(f"an output that cannot be read ({type(error).__name__}: {error})") from None
        if failed:
            raise NoLabel(failed)
        return result

    def labelled(self, code: Code, config: LabelConfig, result: Result) -> Frame:
        """The frame with its labels and where they are from; NoLabel if they cannot be right."""
        if self.wants_stress(config) and result.stress is None:
            raise NoLabel("no stress in the output")
        level = {key: value for key, value in code.level().items() if value != "none"}
        info = self.frame.info | {"code": result.code, "code_version": result.version} | level
        if code.charge(self.frame):
            info["charge"] = code.charge(self.frame)
        info["input_sha256"] = self.state["input_sha256"]
        stress = result.stress if self.wants_stress(config) else None
        frame = self.frame.replace(energy=result.energy, forces=result.forces, stress=stress, info=info)
        try:
            check_frame(frame, "label", config.max_force)
        except InputError as error:
            raise NoLabel(str(error)) from None
        net = float(np.linalg.norm(result.forces.mean(axis=0)))
        if net > config.max_net_force:
            raise NoLabel(f"a net force of {net:.2g} eV/A for each atom, more than max_net_force")
        return frame

    def label(self) -> Frame:
        """The labelled frame as it was written."""
        (frame,) = read_extxyz(self.path / LABEL)
        return frame

    def save(self) -> None:
        write_text(self.path / STATE, json.dumps(self.state, indent=1) + "\n")


def folders_of(config: LabelConfig, frames: Sequence[Frame], code: Code, out: Path) -> list[FrameFolder]:
    """One folder for each frame, in the order of the frames: the one it has, or a new one with the next number."""
    level = json.dumps(config.of_the_run().model_dump(mode="json", exclude={"out", "seed"}, exclude_none=True))
    for path in config.calculator.files().values():
        level = level.replace(str(path), path.name) + sha256(path)  # it may lie elsewhere another time
    known: dict[str, tuple[Path, dict[str, Any]]] = {}
    highest = 0
    for path in sorted((out / "frames").glob("[0-9]*")):
        highest = max(highest, int(path.name))
        if (path / STATE).exists():
            try:
                state = json.loads((path / STATE).read_text(encoding="utf-8"))
                known[state["hash"]] = path, state
            except (ValueError, KeyError, TypeError):
                raise damaged(path / STATE, "the state of a frame") from None
    found = []
    for frame in frames:
        key = frame_hash(frame, level)
        path, state = known.get(key, (None, None))
        if path is None:
            highest += 1
            path = out / "frames" / f"{highest:05d}"
        folder = FrameFolder(path, frame, key)
        folder.state |= state or {}
        if folder.is_(LABELLED) and not (path / LABEL).is_file():
            folder.state["state"] = WAITING
        found.append(folder)
    return found


def frame_hash(frame: Frame, level: str) -> str:
    """Hash of atoms, cell (to 1e-6 A), charge, multiplicity and level of theory; other info plays no part."""
    digest = hashlib.sha256(level.encode())
    digest.update(frame.numbers.astype(np.int64).tobytes() + frame.pbc.tobytes())
    for values in (frame.positions, frame.cell):
        digest.update(np.round(values * 1e6).astype(np.int64).tobytes())
    digest.update(repr([frame.info.get(key) for key in ("charge", "multiplicity")]).encode())
    return digest.hexdigest()


def _joint_hash(paths) -> str:
    """Hash of the contents of some files."""
    return hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()


def _last_line(path: Path) -> str:
    """The last words of a job's log."""
    if not path.is_file():
        return ""
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line[:LAST_WORDS] for line in reversed(lines) if line), "")
