"""Broken formate on copper, built by ASE: what tests of a molecule on a surface start from."""

import numpy as np
from ase import Atoms
from ase.build import fcc110

from tlmd.frames.frame import Frame


def formate_on_copper(seed: int = 2) -> Frame:
    """C, H, O, O and 24 Cu, periodic: CO2 flat above a row of Cu(110) and its hydrogen on a bridge of the next row,
    rattled by 0.03 A. COMB3's forces on O are off its energy's gradient: 0.05 eV/A here, 0.2 where O is bound to Cu.
    """
    slab = fcc110("Cu", (2, 3, 4), a=3.61, vacuum=7.0)
    top = [place for place in slab.positions if place[2] > slab.positions[:, 2].max() - 0.1]
    first, second, *_, last, end = sorted(top, key=lambda place: tuple(np.round(place, 3)))
    along, up = (second - first) / np.linalg.norm(second - first), np.array([0.0, 0.0, 1.0])
    carbon = (first + second) / 2 + 3.2 * up
    places = [carbon, (last + end) / 2 + 1.1 * up, carbon + 1.17 * along, carbon - 1.17 * along]
    atoms = Atoms("CHOO", places) + slab
    atoms.rattle(0.03, seed=seed)
    return Frame(atoms.numbers, atoms.positions, slab.cell.array, np.ones(3, bool))
