"""Boxes of molecules: packed by packmol, relaxed with their force field by LAMMPS."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from ase.io import write

from tlmd.frames.frame import Frame
from tlmd.lammps_serial import SerialLammps, Stopped
from tlmd.run.errors import InputError
from tlmd.start.datafile import data_file
from tlmd.start.forcefield import ForceField
from tlmd.start.smiles import conformers, molecule
from tlmd.units import GCM3_PER_GMOL_A3

CONFORMERS = 8  # of each molecule, at most: its copies take them in turn
TOLERANCES_A = (2.0, 1.8, 1.6)  # between atoms of different molecules; the first at which packmol finds room
LOOPS, SECONDS = 20, 60  # of packmol, at most, at each of them
NO_ROOM = 173  # its exit code
RELAXATION_CUTOFF_A = 9.0
RELAXATION = """
neighbor 2.0 bin
thermo_modify norm no
min_modify dmax 0.1
minimize 0.0 1.0 300 1000
"""  # kcal/mol/A: contacts are gone, the liquid is made by dynamics


@dataclass(frozen=True)
class Box:
    """A cubic box with counts[m] copies of each molecule m of `field`, molecules whole.

    positions (N, 3), edge: A
    """

    field: ForceField
    counts: tuple[int, ...]
    positions: np.ndarray
    edge: float

    def data(self) -> str:
        """The LAMMPS data file."""
        return data_file(self.field, self.counts, self.positions, np.zeros(3), np.full(3, self.edge))

    def frame(self) -> Frame:
        """Without labels."""
        return Frame(numbers(self.field, self.counts), self.positions, np.eye(3) * self.edge, np.ones(3, dtype=bool))


def numbers(field: ForceField, counts: Sequence[int]) -> np.ndarray:
    """(N,) atomic numbers of a box."""
    return np.concatenate([
        np.tile(field.molecules.numbers[slice(*field.span(m))], count) for m, count in enumerate(counts)
    ])  # fmt: skip


def edge_A(field: ForceField, counts: Sequence[int], density_g_cm3: float) -> float:
    """The edge (A) of a cubic box of this density."""
    mass = atomic_masses[numbers(field, counts)].sum()
    return float((mass * GCM3_PER_GMOL_A3 / density_g_cm3) ** (1 / 3))


def pack(field: ForceField, counts: Sequence[int], density_g_cm3: float, seed: int = 1) -> Box:
    """A box packed at random. Raises InputError for a charged box and for a density at which there is no room."""
    charge = sum(count * q for count, q in zip(counts, field.net_charges, strict=True))
    if abs(charge) > 1e-4:
        raise InputError(f"a box of charge {charge:+g} e", "a neutral one", "change the numbers of ions")
    edge = edge_A(field, counts, density_g_cm3)
    for tolerance in TOLERANCES_A:
        positions = packed(field, counts, edge, tolerance, seed)
        if positions is not None:
            return Box(field, tuple(counts), positions, edge)
    got = f"no room for the molecules at {density_g_cm3:g} g/cm3, {TOLERANCES_A[-1]} A apart"
    raise InputError(got, "a density of a liquid", "lower --density")


def packed(field: ForceField, counts: Sequence[int], edge: float, tolerance: float, seed: int) -> np.ndarray | None:
    """Positions (N, 3) A by packmol (Martinez 2009), all molecules `tolerance` (A) apart; None if there is no room."""
    blocks: list[str] = []
    order: list[tuple[int, int]] = []  # of each molecule in packmol's output: which one, which copy of it
    with tempfile.TemporaryDirectory() as folder:
        for m, (smiles, count) in enumerate(zip(field.molecules.smiles, counts, strict=True)):
            shapes = conformers(molecule(smiles), min(count, CONFORMERS), seed) if count else []
            for k, shape in enumerate(shapes):
                write(Path(folder) / f"{m}-{k}.xyz", Atoms(numbers(field, one_of(field, m)), shape), format="xyz")
                copies = range(k, count, len(shapes))
                blocks.append(f"structure {m}-{k}.xyz\n  number {len(copies)}\nend structure\n")
                order += [(m, copy) for copy in copies]
        head = f"tolerance {tolerance}\nfiletype xyz\noutput box.xyz\nseed {seed % 2**31}\nnloop {LOOPS}\n"
        if not run_packmol(f"{head}pbc {edge:.8f} {edge:.8f} {edge:.8f}\n{''.join(blocks)}", Path(folder)):
            return None
        found = np.loadtxt(Path(folder) / "box.xyz", skiprows=2, usecols=(1, 2, 3), ndmin=2)
    ends = np.cumsum([field.molecules.sizes[m] for m, _ in order])
    parts = dict(zip(order, np.split(found, ends[:-1]), strict=True))
    return np.concatenate([parts[key] for key in sorted(parts)])


def one_of(field: ForceField, molecule: int) -> list[int]:
    """Counts of a single molecule."""
    return [int(m == molecule) for m in range(len(field.molecules.smiles))]


def run_packmol(text: str, folder: Path) -> bool:
    """Run packmol on its input `text` in `folder`; whether it found room. Raises InputError where it is missing."""
    own = Path(sysconfig.get_path("scripts")) / "packmol"
    program = str(own) if own.exists() else shutil.which("packmol")
    if program is None:
        raise InputError("no packmol", "the program that packs boxes", "pip install packmol")
    (folder / "box.inp").write_text(text, encoding="utf-8")
    with open(folder / "box.inp", encoding="utf-8") as file:  # packmol goes back and forth in it: no pipe
        try:
            done = subprocess.run([program], stdin=file, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return False
    if done.returncode not in (0, NO_ROOM):
        said = " ".join((done.stderr or done.stdout).split())[-200:]
        raise InputError(f"packmol ended with {done.returncode}: {said}", "a packed box", "try `packmol` by hand")
    return done.returncode == 0


def relax(box: Box) -> Box:
    """`box` near a minimum of its force field, without the contacts of packing. InputError if LAMMPS stops."""
    lammps = SerialLammps("real")
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "system.data").write_text(box.data(), encoding="utf-8")
            (Path(folder) / "forcefield.in").write_text(box.field.include(), encoding="utf-8")
            cutoff = min(RELAXATION_CUTOFF_A, box.edge)
            lammps.commands(f"variable cutoff index {cutoff}\ninclude forcefield.in\n{RELAXATION}", folder)
        moved = lammps.gather("x") - box.positions
    except Stopped as error:
        raise InputError(f"a box that cannot be relaxed, {error.parts[0]}", "a liquid", "lower --density") from None
    finally:
        lammps.close()
    moved -= np.round(moved / box.edge) * box.edge  # atoms move by less than half of the box
    return replace(box, positions=box.positions + moved)
