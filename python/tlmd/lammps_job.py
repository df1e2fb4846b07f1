"""A run of LAMMPS as a job of run/executor: its data file, what is too hot, its script, and why it ended."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from scipy.stats import chi2

from tlmd.frames.frame import Frame
from tlmd.frames.lammps_data import write_data
from tlmd.run.errors import InputError
from tlmd.run.executor import Job, JobsConfig, Outcome
from tlmd.run.files import write_text
from tlmd.run.installed import LMP, plugin_folder

DATA, DECK, SCRIPT = "system.data", "in.lmp", "run.sh"
VACUUM_A = 10.0  # around a free molecule, in the data file
HOT, RARE = 0.5, 1e-8  # too hot: by this part of the temperature, and what chance does once in 1e8 looks


def boxed(frame: Frame) -> Atoms:
    """The atoms with a box for LAMMPS: a free molecule gets one with vacuum."""
    atoms = frame.atoms()
    if not frame.pbc.any():
        atoms.center(vacuum=VACUUM_A)
    return atoms


def boundary(frame: Frame) -> str:
    """What follows LAMMPS' command `boundary`."""
    return " ".join("p" if periodic else "s" for periodic in frame.pbc)


def write_system(path: Path, frame: Frame, known: Sequence[str], what: str) -> list[str]:
    """Write the data file of a frame; the elements of its types 1, 2, ..., in the order of `known`, those of the model.
    InputError, which names `what`, for others."""
    atoms = boxed(frame)
    if unknown := set(atoms.symbols) - set(known):
        got = f"{what} with {', '.join(sorted(unknown))}"
        raise InputError(got, f"elements of the model: {' '.join(known)}", "correct it")
    elements = [symbol for symbol in known if symbol in set(atoms.symbols)]
    write_data(path, atoms, elements)
    return elements


def hottest(temperature_K: float, n_atoms: int) -> float:
    """K, above which a run at `temperature_K` has failed: temperatures of n_atoms are distributed as chi^2 of 3 n_atoms
    degrees of freedom."""
    return temperature_K * max(1 + HOT, float(chi2.isf(RARE, 3 * n_atoms)) / (3 * n_atoms))


def write_script(folder: Path, executor: JobsConfig, commands: Sequence[str], threads: int) -> Job:
    """run.sh of a run, which sets up the environment of LAMMPS and goes into the folder before the commands."""
    lines = [
        "#!/bin/sh",
        'cd "$(dirname "$0")" || exit 1',
        f"export OMP_NUM_THREADS={threads} LAMMPS_PLUGIN_PATH={shlex.quote(str(plugin_folder()))}",
        *executor.setup,
        *commands,
    ]
    write_text(folder / SCRIPT, "\n".join(lines) + "\n")
    return Job(folder.name, (folder / SCRIPT).absolute(), (folder / "job.log").absolute())


def program(ranks: int = 1) -> list[str]:
    """The words that start LAMMPS of this installation on so many MPI ranks."""
    launch = [] if ranks == 1 else [str(LMP.with_name("mpirun")), "-n", str(ranks)]
    return [*launch, str(LMP)]


def reason(log: str, outcome: Outcome) -> str:
    """Why a run ended before its last step, from its log; "" if it did not."""
    if found := re.search(r"pair_style \w+: ([^\n]*): the run ends", log):
        return found[1]
    if found := re.search(r"Fix halt condition for fix-id heat met on step (\d+) with value ([\d.]+)", log):
        return f"{float(found[2]):.0f} K at step {found[1]}"
    if errors := re.findall(r"^ERROR[^\n]*", log, re.M):
        return errors[-1]
    if outcome.code is None:
        return outcome.why
    return "" if outcome.code == 0 and "Total wall time" in log else f"exit code {outcome.code}"
