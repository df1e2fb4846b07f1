"""LAMMPS runs of an oracle or of a model at one state, and the labels of their frames; each has its run folder."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase.io import iread
from pydantic import Field

from tlmd.analysis.thermo import read_log
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate.teachers.ase import ASECalculator, ASEConfig
from tlmd.modelfile import read_card
from tlmd.run import collective
from tlmd.run.config import StageConfig
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic
from tlmd.run.folder import RunFolder
from tlmd.run.installed import LMP, plugin_folder
from tlmd.units import BAR_PER_EV_A3, LAMMPS_UNITS

HERE = Path(__file__).parent
MODEL = """units metal
atom_style atomic
read_data ${{data}}
pair_style {style}
pair_coeff * * model.pt {elements}
"""
EXTERNAL = """units metal
atom_style atomic
atom_modify map array
read_data ${data}
pair_style zero 5.0
pair_coeff * *
fix external all external pf/callback 1 1
fix_modify external energy yes virial yes
"""
THERMO = 20  # steps between rows of the log


class System(StageConfig):
    """What LAMMPS runs: an include with its data file, an exported model with a data file of atoms, or both."""

    include: Path | None = None  # absent: the model or the calculator alone
    data: Path
    model: Path | None = None  # model.pt for the include
    units: Literal["real", "metal"] = "metal"
    elements: list[str]
    calculator: str | None = None  # ASE's, as in PotentialConfig
    arguments: dict[str, Any] | None = None
    threads: int = 1

    def files(self) -> dict[str, Path]:
        """Also the file of a calculator's function."""
        return super().files() | (self.ase().files() if self.calculator is not None else {})

    def ase(self) -> ASEConfig:
        """The calculator as the teacher `ase` has it."""
        return ASEConfig(name="ase", calculator=self.calculator, arguments=self.arguments or {})

    def write(self, folder: Path) -> None:
        """The files of the system, by names that LAMMPS can read, in `folder`."""
        shutil.copyfile(self.data, folder / "system.data")
        if self.model is not None:
            shutil.copyfile(self.model, folder / "model.pt")
            style = "mekrr" if read_card(self.model).kernel else "tpainn"
            (folder / "system.in").write_text(MODEL.format(style=style, elements=" ".join(self.elements)))
        if self.calculator is not None:
            external = {"elements": self.elements, "teacher": self.ase().model_dump(mode="json")}
            (folder / "external.json").write_text(json.dumps(external))
            (folder / "system.in").write_text(EXTERNAL)
        if self.include is not None:
            shutil.copyfile(self.include, folder / "system.in")


class Run(System):
    """One run; volume_A3 for nvt, the pressure for npt."""

    ensemble: Literal["npt", "nvt", "gas"]
    temperature_K: float
    pressure_bar: float | None = None
    volume_A3: float | None = None
    timestep_fs: float
    thermostat_fs: float
    barostat_fs: float
    equilibrate_ps: float
    ps: float
    every_fs: float  # between frames

    def variables(self) -> dict[str, object]:
        """Those of md.in, in the system's units."""
        scale = LAMMPS_UNITS[self.units]
        return {
            "ensemble": self.ensemble,
            "temperature": self.temperature_K,
            "pressure": (self.pressure_bar or 0.0) / scale["pressure_bar"],
            "volume": self.volume_A3 or 0.0,
            "timestep": self.timestep_fs / scale["time_fs"],
            "thermostat": self.thermostat_fs / scale["time_fs"],
            "barostat": self.barostat_fs / scale["time_fs"],
            "equilibrate": round(1000 * self.equilibrate_ps / self.timestep_fs),
            "steps": round(1000 * self.ps / self.timestep_fs),
            "every": max(1, round(self.every_fs / self.timestep_fs)),
            "thermo": THERMO,
            "skin": 1.0,
            "seed": self.seed,
            "elements": " ".join(self.elements),
        }


class Given(StageConfig):
    """Frames of a file for an oracle to label, with the elements of the atoms in its data file in order."""

    file: Path
    numbers: list[int]
    elements: list[str]


class Labels(System):
    """Labels by the system for the frames of the dump of a run."""

    dump: Path  # of a run or of given frames, md.dump.gz
    variables: dict[str, str] = Field(default_factory=dict)  # of the include


def simulate(run: Run, folder: Path) -> None:
    """Do a run unless it has been done: md.log and md.dump.gz in `folder`. InputError with LAMMPS' own if it stops."""
    results = ("md.log", "md.dump.gz")
    with RunFolder(folder, "oracle run", run, results) as target:
        if not target.finished:
            lammps(run, "md.in", run.variables(), folder, results)
            target.finish()


def label(labels: Labels, folder: Path) -> None:
    """Label the frames of a dump unless it has been done: frames.extxyz.xz in `folder`, energies eV, forces eV/A,
    stress eV/A^3 (virial part, tension positive)."""
    with RunFolder(folder, "oracle labels", labels, ("frames.extxyz.xz",)) as target:
        if target.finished:
            return
        if labels.calculator is not None:
            write_frames(folder / "frames.extxyz.xz", labelled_by_ase(labels))
            target.finish()
            return
        results = ("label.log", "labels.dump")
        variables = {"frames": "frames.dump.gz", "elements": " ".join(labels.elements), **labels.variables}
        lammps(labels, "label.in", variables, folder, results, {"frames.dump.gz": labels.dump})
        write_frames(folder / "frames.extxyz.xz", labelled(folder, labels))
        for name in results:
            (folder / name).unlink()
        target.finish()


def take(given: Given, folder: Path) -> None:
    """Write the frames of a file as md.dump.gz in `folder` unless it has been done. InputError for a frame with other
    atoms, or without a box along x, y, z."""
    with RunFolder(folder, "oracle frames", given, ("md.dump.gz",)) as target:
        if target.finished:
            return
        text = "".join(dumped(frame, step, given) for step, frame in enumerate(read_frames(given.file)))
        write_atomic(folder / "md.dump.gz", lambda temporary: temporary.write_bytes(gzip.compress(text.encode())))
        target.finish()


def dumped(frame: Frame, step: int, given: Given) -> str:
    """A frame in the format of a LAMMPS dump."""
    edges = np.diag(frame.cell)
    if frame.numbers.tolist() != given.numbers or not frame.pbc.all() or np.abs(frame.cell - np.diag(edges)).max() > 0:
        got = f"frame {step} of {given.file}: {frame.atoms().get_chemical_formula()}, cell {frame.cell.tolist()}"
        raise InputError(
            got, "the atoms of potential.data in its order, in a periodic box along x, y, z", "leave it out"
        )
    lines = [f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp"]
    lines += [f"0 {edge:.12g}" for edge in edges] + ["ITEM: ATOMS id type element x y z"]
    types = [given.elements.index(symbol) + 1 for symbol in frame.atoms().symbols]
    for i, (kind, x) in enumerate(zip(types, frame.positions, strict=True)):
        lines.append(f"{i + 1} {kind} {given.elements[kind - 1]} {x[0]:.10f} {x[1]:.10f} {x[2]:.10f}")
    return "\n".join(lines) + "\n"


def lammps(
    system: System,
    deck: str,
    variables: dict[str, object],
    folder: Path,
    results: Sequence[str],
    copies: dict[str, Path] | None = None,
) -> None:
    """Run a deck in a temporary folder and move its results into `folder`; InputError with LAMMPS' message."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as name:
        place = Path(name)
        system.write(place)
        shutil.copyfile(HERE / deck, place / deck)
        for copy, source in (copies or {}).items():
            shutil.copyfile(source, place / copy)
        program = [str(LMP)] if system.calculator is None else [sys.executable, "-P", "-m", "tlmd.oracle.external"]
        command = [*program, "-in", deck, "-var", "system", "system.in", "-var", "data", "system.data"]
        command += ["-log", "none", "-screen", "output.txt", "-nocite"]
        for key, value in variables.items():
            command += ["-var", key, str(value)]
        environment = {"LAMMPS_PLUGIN_PATH": str(plugin_folder()), "OMP_NUM_THREADS": str(system.threads)}
        ended = subprocess.run(
            command, cwd=place, env={**collective.alone(), **environment}, capture_output=True, stdin=subprocess.DEVNULL
        )
        if ended.returncode:
            output = (place / "output.txt").read_text(errors="replace") if (place / "output.txt").exists() else ""
            lines = [line for line in (output + ended.stderr.decode(errors="replace")).splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no output"]
            got = f"{folder.name}: LAMMPS stopped: {' '.join(errors[-1].split())}"
            raise InputError(got, "a run to its end", "see the potential, or its training frames")
        for result in results:
            os.replace(place / result, folder / result)


def labelled(folder: Path, labels: Labels) -> list[Frame]:
    """The frames of label.log and labels.dump."""
    columns = read_log(folder / "label.log", labels.units).runs[-1].columns
    scale = LAMMPS_UNITS[labels.units]["pressure_bar"] / BAR_PER_EV_A3
    stress = -scale * np.stack([columns[f"c_virial[{k}]"] for k in range(1, 7)], axis=1)  # (T, 6) xx yy zz xy xz yz
    stress = stress[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]]
    frames = []
    read = iread(folder / "labels.dump", index=":", format="lammps-dump-text", units=labels.units)
    for atoms, energy, each in zip(read, columns["PotEng"], stress, strict=True):
        numbers, forces = atoms.numbers, atoms.get_forces()
        frames.append(Frame(numbers, atoms.positions, atoms.cell.array, atoms.pbc, float(energy), forces, each))
    return frames


def labelled_by_ase(labels: Labels) -> list[Frame]:
    """The frames of a dump with the labels of an ASE calculator. InputError for a frame without result."""
    teacher = ASECalculator(labels.ase())
    read = iread(labels.dump, index=":", format="lammps-dump-text")
    frames = [teacher.label(Frame(each.numbers, each.positions, each.cell.array, each.pbc)) for each in read]
    teacher.close()
    return frames
