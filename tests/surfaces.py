"""Formate on copper, built by ASE: configurations of a molecule on a surface, without labels."""

import numpy as np
from ase import Atoms
from ase.build import fcc110

from tlmd.frames.frame import Frame


def formate_on_copper(seed: int = 1) -> Frame:
    """C, H, O, O and 24 Cu: HCOO upright on Cu(110), an oxygen above each of two neighbours of a row; rattled by
    0.03 A, periodic. COMB3's forces on an oxygen nearer to copper than these 2.5 A are further off its energy's gradient."""
    slab = fcc110("Cu", (2, 3, 4), a=3.61, vacuum=7.0)
    top = slab.positions[slab.positions[:, 2] > slab.positions[:, 2].max() - 0.1]
    first, second = sorted(top, key=lambda place: tuple(np.round(place, 3)))[:2]
    along = (second - first) / np.linalg.norm(second - first)
    middle, up = (first + second) / 2, np.array([0.0, 0.0, 1.0])
    oxygens = [middle + sign * 1.13 * along + 2.45 * up for sign in (1, -1)]
    atoms = Atoms("CHOO", [middle + 3.1 * up, middle + 4.2 * up, *oxygens]) + slab
    atoms.rattle(0.03, seed=seed)
    return Frame(atoms.numbers, atoms.positions, slab.cell.array, np.ones(3, bool))
