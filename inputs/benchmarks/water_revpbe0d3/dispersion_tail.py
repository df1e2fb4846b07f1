"""The pressure of D3 dispersion between atoms farther apart than a cutoff, which a network of that cutoff does not see.

    pip install dftd3; python dispersion_tail.py train.extxyz.xz 5.0

revPBE0-D3 with zero damping, two-body terms, mean and standard deviation over every sixth frame. Of a homogeneous
liquid this part hardly has forces, so that frames without stress do not teach it either.
"""

import sys
from pathlib import Path

import numpy as np
from ase.units import Bohr, Hartree, bar
from dftd3.interface import DispersionModel, ZeroDampingParam

from tlmd.frames.read import read_frames

WHOLE = 95.0  # Bohr, where D3 itself ends


def pressure(frame, cutoff: float) -> float:
    """Pressure in bar of the pairs up to `cutoff` (Bohr)."""
    model = DispersionModel(frame.numbers, frame.positions / Bohr, frame.cell / Bohr, frame.pbc)
    model.set_realspace_cutoff(cutoff, 1.0, 40.0)
    virial = model.get_dispersion(ZeroDampingParam(method="revpbe0", atm=False), grad=True)["virial"]
    volume = abs(np.linalg.det(frame.cell))
    return -float(np.trace(virial)) / 3 * Hartree / volume / bar


frames = read_frames(Path(sys.argv[1]))[::6]
tails = [pressure(frame, WHOLE) - pressure(frame, float(sys.argv[2]) / Bohr) for frame in frames]
print(f"{np.mean(tails):.0f} +- {np.std(tails):.0f} bar beyond {sys.argv[2]} A, {len(frames)} frames")
