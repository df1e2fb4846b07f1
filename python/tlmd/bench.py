"""How fast a model runs in LAMMPS on this machine: boxes of several sizes, by threads and by ranks."""

from __future__ import annotations

import itertools
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.progress import track
from rich.table import Table

import tlmd
from tlmd.export import export_model
from tlmd.frames.lammps_data import SUFFIXES, read_data
from tlmd.frames.read import read_frames
from tlmd.lammps_job import DATA, DECK, program, write_system
from tlmd.modelfile import is_exported, read_card
from tlmd.run import collective
from tlmd.run.console import console
from tlmd.run.errors import InputError
from tlmd.run.installed import named_or_path, plugin_folder

SIZES = (192, 1536, 20_000)  # atoms
MODEL = "model-lammps.pt"
LOOP = re.compile(r"^Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", re.MULTILINE)
INPUT = """units metal
atom_style atomic
read_data {data}
replicate {replicas}
pair_style {style}
pair_coeff * * {model} {elements}
neighbor 1.0 bin
velocity all create 300 1 mom yes rot no dist gaussian
fix move all nve
timestep {timestep}
thermo_modify lost error norm no
run 2                              # the first step also checks the model
timer timeout {seconds} every 1
run 1000000
"""


@dataclass(frozen=True)
class Speed:
    """One run: atoms, ranks and threads of each; seconds of a step; ns of a day at the time step."""

    atoms: int
    ranks: int
    threads: int
    step_s: float
    ns_per_day: float


def bench(
    model: Path | str, box: Path, seconds: float = 8.0, timestep_fs: float = 0.5, sizes: Sequence[int] = SIZES
) -> dict[str, Any]:
    """Run the model in LAMMPS for `seconds` in each way, print a table, and return machine, versions and speeds.

    box: a frame of the model's elements that is repeated until it has about as many atoms as each of `sizes`. All cores
    that this process may use are used, once by threads and once by ranks. Raises InputError where LAMMPS fails.
    """
    cores = len(os.sched_getaffinity(0))
    ways = sorted({(1, 1), (1, cores), (cores, 1)})
    shown = console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        style, elements, atoms = prepare(model, box, folder)
        common = {"style": style, "elements": " ".join(elements), "seconds": seconds, "timestep": timestep_fs / 1000}
        runs = [(size, way) for size in sizes for way in ways]
        speeds = [
            run(folder, common | {"replicas": " ".join(map(str, repeats(atoms, size)))}, *way)
            for size, way in track(runs, "LAMMPS", console=shown, transient=True)
        ]
    table = Table("atoms", "ranks", "threads", "ms a step", "us an atom", f"ns a day, {timestep_fs:g} fs")
    for speed in speeds:
        numbers = (1e3 * speed.step_s, 1e6 * speed.step_s / speed.atoms, speed.ns_per_day)
        table.add_row(str(speed.atoms), str(speed.ranks), str(speed.threads), *(f"{x:.3g}" for x in numbers))
    shown.print(table)
    machine = {"processor": processor(), "cores": cores, "model": str(model)}
    versions = {"tlmd": tlmd.__version__} | {package: version(package) for package in ("lammps", "torch")}
    return machine | versions | {"timestep_fs": timestep_fs, "speeds": [asdict(speed) for speed in speeds]}


def prepare(model: Path | str, box: Path, folder: Path) -> tuple[str, list[str], int]:
    """Put the exported model and the box into the folder; the pair style, the elements of the types, and the atoms.

    box: a LAMMPS data file (with masses) or frames, of which the last is taken.
    """
    path, target = named_or_path(model), folder / MODEL
    card = read_card(path)
    if is_exported(path):
        target.symlink_to(path.absolute())
    else:
        export_model(path, target)
    frame = read_data(box) if box.suffix in SUFFIXES else read_frames(box, check=False)[-1]
    if not frame.pbc.all():
        raise InputError(f"{box}, which is not periodic", "a periodic box", "give another --box")
    elements = write_system(folder / DATA, frame, card.elements, str(box))
    return card.kind, elements, len(frame)


def repeats(atoms: int, size: int) -> tuple[int, int, int]:
    """How often a box of `atoms` is repeated along each direction to have about `size` atoms, evenly."""
    most = max(1, math.ceil((2 * size / atoms) ** (1 / 3)))
    shapes = itertools.combinations_with_replacement(range(1, most + 1), 3)
    return min(shapes, key=lambda shape: (abs(math.log(atoms * math.prod(shape) / size)), shape[2] - shape[0]))


def run(folder: Path, settings: dict[str, Any], ranks: int, threads: int) -> Speed:
    """One run by so many ranks and threads of each. settings: what the input names."""
    (folder / DECK).write_text(INPUT.format(data=DATA, model=MODEL, **settings), encoding="utf-8")
    environment = collective.alone() | {"OMP_NUM_THREADS": str(threads), "LAMMPS_PLUGIN_PATH": str(plugin_folder())}
    command = [*program(ranks), "-in", DECK, "-log", "none", "-nocite"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    loops = LOOP.findall(done.stdout)
    if done.returncode or len(loops) != 2:
        error = re.search(r"^ERROR[^\n]*", done.stdout + done.stderr, re.MULTILINE)
        said = error[0] if error else f"exit code {done.returncode}"
        raise InputError(f"{said}, with {ranks} ranks of {threads} threads", "a run of LAMMPS", "correct it")
    loop_s, steps, atoms = float(loops[-1][0]), int(loops[-1][1]), int(loops[-1][2])
    if not steps:
        raise InputError(f"no step of {atoms} atoms in {settings['seconds']:g} s", "some", "give more --seconds")
    step_s = loop_s / steps
    return Speed(atoms, ranks, threads, step_s, 1e-3 * settings["timestep"] * 86400 / step_s)


def processor() -> str:
    """Its name, as Linux has it."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()
