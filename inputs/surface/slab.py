"""Formate on Cu(110), and a path by which it gives its hydrogen to copper and becomes CO2: geometry, no energies.

python slab.py -> slab.extxyz, path.extxyz. Images by IDPP: Smidstrup et al., J. Chem. Phys. 140, 214106 (2014).
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import fcc110
from ase.io import write
from ase.mep import NEB

CU_A = 3.615  # lattice constant (experiment); PBE-D3 gives 3.57, PBE 3.64
HEIGHT_A = 26.0  # of the cell: atoms and the density around them take less than half of it
C_O_A, C_H_A, HALF_O_O_A = 1.27, 1.11, 1.13
LIFT_A = 1.95  # of the oxygen atoms above the first layer
IMAGES = 6  # of each half of the path


def copper() -> tuple[Atoms, np.ndarray]:
    """Cu(110), 2 x 2, four layers, rows along y, and the middle of two neighbours of a row."""
    slab = fcc110("Cu", (2, 2, 4), a=CU_A)
    slab.info.clear()
    slab.set_cell([*slab.cell.lengths()[:2], HEIGHT_A])
    slab.pbc = True
    slab.positions[:, 2] += 2.0 - slab.positions[:, 2].min()
    top = slab.positions[slab.positions[:, 2] > slab.positions[:, 2].max() - 0.1]
    return slab, top[top[:, 0] < top[0, 0] + 0.1].mean(0)


def formate(tilt_deg: float) -> np.ndarray:
    """Places of C, O, O, H of a formate on two neighbours of a row, turned about the line of its oxygen atoms."""
    rise = np.sqrt(C_O_A**2 - HALF_O_O_A**2)
    axis = np.array([np.sin(np.deg2rad(tilt_deg)), 0.0, np.cos(np.deg2rad(tilt_deg))])
    lift = np.array([0.0, 0.0, LIFT_A])
    oxygen = np.array([0.0, HALF_O_O_A, 0.0])
    return np.array([rise * axis + lift, lift - oxygen, lift + oxygen, (rise + C_H_A) * axis + lift])


def path() -> list[Atoms]:
    """Formate turned from upright to lying in steps, then images by IDPP to CO2 above a hydrogen in the trough."""
    slab, middle = copper()
    turned = [slab + Atoms("COOH", middle + formate(tilt)) for tilt in np.linspace(0.0, 90.0, IMAGES)]
    apart = np.array([(-0.3, 0, 3.1), (-0.3, -1.17, 3.2), (-0.3, 1.17, 3.2), (1.1, 0, 0.45)])
    end = slab + Atoms("COOH", middle + apart)
    band = NEB([turned[-1].copy() for _ in range(IMAGES)] + [end], method="improvedtangent")
    band.interpolate("idpp", mic=True)
    return [*turned, *band.images[1:]]


def main() -> None:
    images, here = path(), Path(__file__).parent
    write(here / "slab.extxyz", images[0], write_results=False)
    write(here / "path.extxyz", images, write_results=False)


if __name__ == "__main__":
    main()
