"""Liquid methanol by LAMMPS: OPLS-AA (Jorgensen, Maxwell, Tirado-Rives, JACS 118, 11225, 1996), written here."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import numpy as np
from ase.build import molecule

LMP = Path(sysconfig.get_path("scripts")) / "lmp"
SITES, EDGE = 3, 12.2  # molecules along an edge, A: 27 at 0.79 g/cm^3
# Atoms of ase's CH3OH: C, O, H of methyl, H of hydroxyl, two H of methyl; types 1 C, 2 O, 3 HC, 4 HO.
TYPES, CHARGES = (1, 2, 3, 4, 3, 3), {1: 0.145, 2: -0.683, 3: 0.04, 4: 0.418}
BONDS = ((1, 1, 2), (2, 1, 3), (2, 1, 5), (2, 1, 6), (3, 2, 4))  # type, atoms
ANGLES = ((1, 1, 2, 4), (2, 2, 1, 3), (2, 2, 1, 5), (2, 2, 1, 6), (3, 3, 1, 5), (3, 3, 1, 6), (3, 5, 1, 6))
DIHEDRALS = ((1, 3, 1, 2, 4), (1, 5, 1, 2, 4), (1, 6, 1, 2, 4))
FORCE_FIELD = """
pair_style lj/cut/coul/cut 6.0
pair_modify mix geometric tail yes
special_bonds lj/coul 0 0 0.5
bond_style harmonic
angle_style harmonic
dihedral_style opls
read_data methanol.data
pair_coeff 1 1 0.066 3.5
pair_coeff 2 2 0.17 3.12
pair_coeff 3 3 0.03 2.5
pair_coeff 4 4 0.0 0.0
bond_coeff 1 320 1.41
bond_coeff 2 340 1.09
bond_coeff 3 553 0.945
angle_coeff 1 55 108.5
angle_coeff 2 35 109.5
angle_coeff 3 33 107.8
dihedral_coeff 1 0 0 0.45 0
"""
DECK = """
log NAME.log
units real
atom_style full
FORCE
minimize 0 1e-4 500 2000
velocity all create 298.15 7 mom yes rot no
timestep 1.0
thermo 20
thermo_style custom step temp press vol density pe
fix 1 all nvt temp 298.15 298.15 100
run 4000
reset_timestep 0
RECORD
"""
DUMP = "dump 1 all custom 50 NAME.dump.gz id type element mass xu yu zu\ndump_modify 1 element C O H H sort id\n"


def write_data(path: Path) -> None:
    """27 molecules on a lattice, turned at random."""
    rng = np.random.default_rng(3)
    atoms, lists = [], {"Bonds": [], "Angles": [], "Dihedrals": []}
    for number, site in enumerate(np.ndindex((SITES,) * 3)):
        one = molecule("CH3OH")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate((np.array(site) + 0.5) * EDGE / SITES - one.positions.mean(axis=0))
        for kind, (x, y, z) in zip(TYPES, one.positions, strict=True):
            atoms.append(f"{len(atoms) + 1} {number + 1} {kind} {CHARGES[kind]} {x:.5f} {y:.5f} {z:.5f}")
        for name, entries in zip(lists, (BONDS, ANGLES, DIHEDRALS), strict=True):
            lists[name] += [[kind, *(6 * number + atom for atom in members)] for kind, *members in entries]
    counts = {"atoms": len(atoms)} | {name.lower(): len(rows) for name, rows in lists.items()}
    text = "methanol\n\n" + "".join(f"{count} {name}\n" for name, count in counts.items())
    text += "4 atom types\n3 bond types\n3 angle types\n1 dihedral types\n"
    text += "".join(f"0 {EDGE} {axis}lo {axis}hi\n" for axis in "xyz")
    text += "\nMasses\n\n1 12.011\n2 15.999\n3 1.008\n4 1.008\n\nAtoms\n\n" + "\n".join(atoms) + "\n"
    for name, rows in lists.items():
        text += f"\n{name}\n\n" + "".join(f"{k + 1} {' '.join(map(str, row))}\n" for k, row in enumerate(rows))
    path.write_text(text)


def run(folder: Path, name: str, record: str) -> None:
    """NAME.log of 4 ps NVT and what `record` says, in `folder`."""
    write_data(folder / "methanol.data")
    deck = DECK.replace("FORCE", FORCE_FIELD).replace("RECORD", record).replace("NAME", name)
    (folder / f"{name}.in").write_text(deck)
    command = [LMP, "-in", f"{name}.in", "-log", "none", "-screen", "none"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
