"""Molecules put into a box or a sphere by Packmol (Martinez et al., J. Comput. Chem. 30, 2157, 2009)."""

from __future__ import annotations

import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from tlmd.generate.composition import Composition
from tlmd.generate.interfaces import Unsuited, draw_seed
from tlmd.run.errors import InputError

PACKMOL = Path(sysconfig.get_path("scripts")) / "packmol"
NEAREST_A = 2.0  # of atoms of two molecules, where there is room for it
SHAPES = 6  # conformers of each species in a box
LOOPS = 20
UNSOLVED = 173  # Packmol's exit code for the best that it found
SEEDS = 2**31 - 1


def packed(
    composition: Composition, rng: np.random.Generator, regions: list[str], edges: np.ndarray | None = None
) -> np.ndarray:
    """(N, 3) A: molecules at random places, their atoms at least 2 A apart or as far as there is room.

    composition: its kinds in ascending order; regions: where the molecules of each species lie, in Packmol's words;
    edges (3,) A of the periodic box. Raises Unsuited where Packmol finds nothing.
    """
    if not PACKMOL.is_file():
        raise InputError(f"no {PACKMOL}", "Packmol, of which liquids are made", "pip install packmol")
    lines = [f"tolerance {NEAREST_A}", "filetype xyz", "output packed.xyz", f"seed {draw_seed(rng, SEEDS)}"]
    lines += [f"nloop {LOOPS}"] + ([] if edges is None else ["pbc {:.9f} {:.9f} {:.9f}".format(*edges)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, (species, region) in enumerate(zip(composition.species, regions, strict=True)):
            shares = np.array_split(np.arange(composition.kinds.count(kind)), SHAPES if species.turnable else 1)
            for share, each in enumerate(map(len, shares)):
                if each:
                    file = f"{kind}-{share}.xyz"
                    (folder / file).write_text(xyz(species.numbers, species.shape(rng)), encoding="utf-8")
                    lines += [f"structure {file}", f"number {each}", region, "end structure"]
        (folder / "packed.inp").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with open(folder / "packed.inp", encoding="utf-8") as file:  # it seeks in its input: no pipe
            done = subprocess.run([PACKMOL], stdin=file, cwd=folder, text=True, capture_output=True)
        if done.returncode not in (0, UNSOLVED) or not (folder / "packed.xyz").is_file():
            told = " ".join([*done.stdout.split("ERROR")[1:2], "no output"][0].split())[:120]
            raise Unsuited(f"Packmol, {composition.name}: {told}", "room for the molecules", "change the density")
        forced = folder / "packed.xyz_FORCED"
        file = forced if forced.is_file() else folder / "packed.xyz"
        return np.loadtxt(file, skiprows=2, usecols=(1, 2, 3), ndmin=2)


def xyz(numbers: np.ndarray, positions: np.ndarray) -> str:
    """The text of an xyz file. ASE's writer would write on the first MPI rank alone."""
    lines = [f"{chemical_symbols[z]} {x:.8f} {y:.8f} {w:.8f}" for z, (x, y, w) in zip(numbers, positions, strict=True)]
    return "\n".join([str(len(numbers)), "", *lines]) + "\n"
