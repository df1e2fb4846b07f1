"""A calibrated water model as a LAMMPS include with its table; `tlmd.generate.teachers.calibrated` reads them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.polynomial import Polynomial

from tlmd.calibrate.splines import continued, table
from tlmd.calibrate.terms import ANGLE, BOND_A, DEGREE, PAIRS, Terms, lennard_jones
from tlmd.generate.teachers.calibrated import INCLUDE, TABLE
from tlmd.generate.teachers.lammps_water import CHARGES
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

STRETCH_A, BEND_DEG = (0.7, 1.6), (70.0, 140.0)  # where the energy of a molecule must rise away from its minimum

_INCLUDE = """\
# Water matched to {level} by tl-calibrate: {frames} frames, {errors}
# Read it after a data file of atom_style full, units metal: types 1 = O, 2 = H; bond type 1; angle type 1 (H-O-H).
# From another folder: lmp -var table PATH, where PATH has no space, quote or $.
variable coulomb index long          # cut: no mesh, for free clusters
variable cutoff index 9.0            # A, of the Coulomb energy
variable accuracy index 1e-6         # of the mesh
variable table index {table}
special_bonds lj/coul 0 0 0
set type 1 charge {oxygen:.10f}
set type 2 charge {hydrogen:.10f}
bond_style class2
bond_coeff 1 {bond}
angle_style class2
angle_coeff 1 {angle}
angle_coeff 1 bb {bond_bond:.10f} {reference} {reference}
angle_coeff 1 ba {bond_angle:.10f} {bond_angle:.10f} {reference} {reference}
pair_style hybrid/overlay coul/${{coulomb}} ${{cutoff}} table spline 8000
pair_coeff * * coul/${{coulomb}}
pair_coeff 1 1 table ${{table}} OO {range}
pair_coeff 1 2 table ${{table}} OH {range}
pair_coeff 2 2 table ${{table}} HH {range}
if "${{coulomb}} == long" then "kspace_style pppm ${{accuracy}}"
"""


def write_forcefield(
    folder: Path, terms: Terms, coefficients: np.ndarray, nearest: np.ndarray, level: str, frames: int, errors: str
) -> Path:
    """Write forcefield.in and forcefield.table into `folder`; the path of the include.

    nearest (3,) A: below these O-O, O-H and H-H distances the pair energies are continued, see `pair_energies`.
    Raises InputError if the molecule of these coefficients has no stable shape.
    """
    bond, angle, bond_bond, bond_angle = molecule(coefficients)
    pairs = {name: partial(pair_energies, terms, coefficients, k, nearest=nearest[k]) for k, name in enumerate(PAIRS)}
    text, end = table(pairs, terms.config.cutoff_A)
    oxygen, hydrogen = charges(coefficients)
    include = _INCLUDE.format(
        level=comment(level), frames=frames, errors=errors, table=TABLE, oxygen=oxygen, hydrogen=hydrogen,
        bond=" ".join(f"{value:.10f}" for value in bond), angle=" ".join(f"{value:.10f}" for value in angle),
        bond_bond=bond_bond, bond_angle=bond_angle, reference=BOND_A, range=f"{end:.6f}",
    )  # fmt: skip
    write_atomic(folder / TABLE, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    write_atomic(folder / INCLUDE, lambda temporary: temporary.write_text(include, encoding="utf-8"))
    return folder / INCLUDE


def comment(text: str) -> str:
    """A text that stays within a comment of a LAMMPS input: one line, without double quotes."""
    return " ".join(text.replace('"', "'").split())


def charges(coefficients: np.ndarray) -> tuple[float, float]:
    """Charges of O and H, e."""
    return tuple(float(np.sqrt(coefficients[-1])) * charge for charge in CHARGES[:2])


def molecule(coefficients: np.ndarray) -> tuple[list[float], list[float], float, float]:
    """Bond (r0 A, K2, K3, K4), angle (theta0 degrees, K2, K3, K4), bond-bond, bond-angle of LAMMPS' class2.

    The polynomials are written anew about their minima; the energy changes by a constant. InputError if there is none.
    """
    bond, angle = Polynomial([0, *coefficients[:DEGREE]]), Polynomial([0, *coefficients[DEGREE : 2 * DEGREE]])
    bond_bond, bond_angle = coefficients[2 * DEGREE : 2 * DEGREE + 2]
    bend = minimum(angle, *(np.deg2rad(BEND_DEG) - ANGLE), "angle")
    bond = bond + Polynomial([0, bond_angle * bend])  # class2 measures this angle from theta0
    stretch = minimum(bond, STRETCH_A[0] - BOND_A, STRETCH_A[1] - BOND_A, "bond")
    theta = float(np.rad2deg(ANGLE + bend))
    return (
        [BOND_A + stretch, *taylor(bond, stretch)],
        [theta, *taylor(angle, bend)],
        float(bond_bond),
        float(bond_angle),
    )


def taylor(energy: Polynomial, at: float) -> list[float]:
    """K2, K3, K4 of `energy` about `at`."""
    return [float(energy.deriv(k)(at)) / math.factorial(k) for k in range(2, DEGREE + 1)]


def minimum(energy: Polynomial, low: float, high: float, name: str) -> float:
    """The only minimum of `energy` between low and high, which must rise to both ends."""
    roots = energy.deriv().roots()
    roots = roots[np.isreal(roots)].real
    roots = roots[(low <= roots) & (roots <= high)]
    if len(roots) != 1 or energy.deriv(2)(roots[0]) <= 0:
        raise InputError(
            f"a {name} without one minimum", "a stable molecule", "raise terms.molecule or give more frames"
        )
    return float(roots[0])


def pair_energies(
    terms: Terms, coefficients: np.ndarray, kind: int, lengths: np.ndarray, nearest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Energy (eV) and slope (eV/A) of the pair `kind` without Coulomb at `lengths` (A), see
    `tlmd.calibrate.splines.continued`."""
    coefficients = coefficients[terms.parts[1 + kind]]
    energies, slopes = continued(terms.splines[kind], coefficients, lengths, nearest, *((8, 8), (8, 1), (1, 1))[kind])
    if kind == 0:
        fixed = lennard_jones(lengths)
        energies, slopes = energies + fixed[0], slopes + fixed[1]
    return energies, slopes
