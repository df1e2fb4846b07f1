"""Terms of a classical water model whose energy is linear in its coefficients, for tl-calibrate.

Inside a molecule: polynomials of the bond lengths and the angle, and two cross terms. Between molecules: cubic
B-splines for each pair of elements, and the Coulomb energy of the SPC/Fw charges, times a coefficient. The
Lennard-Jones energy of SPC/Fw is always there. A coefficient starts from its prior: bonds and angle of q-TIP4P/F
(Habershon, Markland, Manolopoulos, J. Chem. Phys. 131, 024501, 2009), charges of SPC/Fw, no splines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tlmd.calibrate.config import CalibrateTermsConfig
from tlmd.calibrate.splines import basis, roughness, scatter
from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate.teachers.lammps_water import LammpsWater, WaterTeacherConfig
from tlmd.generate.teachers.spcfw import EPSILON_KCAL_MOL, SIGMA_A
from tlmd.graph import neighbour_pairs
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_KCAL_MOL

BOND_A, ANGLE = 1.0, np.deg2rad(106.0)  # about which the polynomials are written
DEGREE = 4  # of the polynomials, which class2 of LAMMPS runs
INTRAMOLECULAR = 2 * DEGREE + 2  # coefficients: bond, angle, bond-bond, bond-angle
PAIRS = ("OO", "OH", "HH")
EPSILON = EPSILON_KCAL_MOL * EV_PER_KCAL_MOL  # eV
STRETCH_A, BEND = 0.2, 0.5  # amplitudes (A, rad) at which the regularisation compares polynomials

_COULOMB = """
pair_style coul/${coulomb} ${cutoff}
bond_style zero
angle_style zero
special_bonds lj/coul 0 0 0
bond_coeff 1 1.0
angle_coeff 1 109.0
pair_coeff * *
if "${coulomb} == long" then "kspace_style pppm ${accuracy}"
"""


class Molecules(NamedTuple):
    """Water molecules of a frame: positions (M, 3, 3) A of O H H, hydrogens beside their oxygen; atoms (3 M,), the
    numbers of these atoms in the frame.
    """

    positions: np.ndarray
    atoms: np.ndarray


class Design(NamedTuple):
    """Derivatives with respect to P coefficients, and what does not depend on them: energy eV, forces eV/A.

    energy (P,), forces (3 N, P), fixed_energy, fixed_forces (3 N,); nearest (3,) A: the shortest intermolecular O-O,
    O-H, H-H distance
    """

    energy: np.ndarray
    forces: np.ndarray
    fixed_energy: float
    fixed_forces: np.ndarray
    nearest: np.ndarray


def molecules_of(frame: Frame, longest_A: float = 1.6) -> Molecules | None:
    """The molecules of a periodic frame of water: each O with two H, the sum of distances as short as possible.

    None if a bond is longer than `longest_A`: a proton between two molecules. InputError for anything but H2O.
    """
    oxygens, hydrogens = np.flatnonzero(frame.numbers == 8), np.flatnonzero(frame.numbers == 1)
    if 2 * len(oxygens) != len(hydrogens) or 3 * len(oxygens) != len(frame) or not frame.pbc.all():
        raise InputError("a frame that is not periodic H2O", "liquid water in a box", "give frames of water only")
    vectors = frame.positions[hydrogens] - frame.positions[oxygens][:, None]  # (M, 2 M, 3)
    vectors = minimum_image(vectors, frame.cell)
    distances = np.repeat(np.linalg.norm(vectors, axis=-1), 2, axis=0)
    places, chosen = linear_sum_assignment(distances)
    if distances[places, chosen].max() > longest_A:
        return None
    chosen = chosen.reshape(-1, 2)
    bonds = np.take_along_axis(vectors, chosen[..., None], axis=1)
    positions = frame.positions[oxygens][:, None] + np.concatenate([np.zeros_like(bonds[:, :1]), bonds], axis=1)
    return Molecules(positions, np.column_stack([oxygens, hydrogens[chosen]]).ravel())


class Terms:
    """The terms and their prior coefficients `prior` (P,); owns a LAMMPS for the Coulomb energy."""

    def __init__(self, config: CalibrateTermsConfig):
        self.config = config
        self.splines = [basis(low, config.cutoff_A, config.spacing_A) for low in config.low_A]
        sizes = [INTRAMOLECULAR, *map(len, self.splines), 1]
        ends = np.cumsum(sizes)
        self.parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.size = int(ends[-1])
        self.prior = np.zeros(self.size)
        self.prior[self.parts[0]] = prior_molecule()
        self.prior[-1] = 1.0
        self.coulomb = LammpsWater(WaterTeacherConfig(), "metal", _COULOMB)

    def design(self, molecules: Molecules, cell: np.ndarray) -> Design:
        """The terms of one periodic frame; forces in the order of `molecules`."""
        n = molecules.positions.size // 3
        energy, forces = np.zeros(self.size), np.zeros((3 * n, self.size))
        energy[self.parts[0]], forces[:, self.parts[0]] = intramolecular(molecules.positions)
        positions = molecules.positions.reshape(-1, 3)
        i, j, vectors = neighbour_pairs(positions, cell, np.ones(3, bool), self.config.cutoff_A)
        between = (i // 3 != j // 3) | (np.linalg.norm(vectors, axis=1) > 3.0)  # an image is another molecule
        i, j, vectors = i[between], j[between], vectors[between]
        kind = (i % 3 > 0).astype(int) + (j % 3 > 0)
        nearest = np.full(3, np.inf)
        for k, splines in enumerate(self.splines):
            mine = kind == k
            lengths = np.linalg.norm(vectors[mine], axis=1)
            nearest[k] = lengths.min(initial=np.inf)
            pull = vectors[mine] / lengths[:, None]
            at = self.parts[1 + k].start + np.arange(len(splines))
            for column, spline in zip(at, splines, strict=True):
                energy[column] = 0.5 * np.nansum(spline(lengths))
                forces[:, column] = scatter(i[mine], spline.derivative()(lengths)[:, None] * pull, n)
        mine = kind == 0
        lengths = np.linalg.norm(vectors[mine], axis=1)
        values, slopes = lennard_jones(lengths)
        fixed = scatter(i[mine], (slopes / lengths)[:, None] * vectors[mine], n)
        frame = self.coulomb.label(Frame(np.tile([8, 1, 1], n // 3), positions, cell, np.ones(3, bool)))
        energy[-1], forces[:, -1] = frame.energy, frame.forces.ravel()
        return Design(energy, forces, 0.5 * values.sum(), fixed, nearest)

    def regularisation(self) -> np.ndarray:
        """Rows (R, P): sum of squares of rows @ (coefficients - prior) is the penalty at strength 1, in (eV/A)^2."""
        config = self.config
        rows = []
        powers = np.arange(1, DEGREE + 1)
        amplitudes = [*STRETCH_A**powers, *BEND**powers, STRETCH_A**2, STRETCH_A * BEND]
        rows.append(np.eye(INTRAMOLECULAR, self.size) * np.array([*amplitudes, *np.zeros(self.size - INTRAMOLECULAR)]))
        for part, splines in zip(self.parts[1:4], self.splines, strict=True):
            own = roughness(splines, config.smoothness, config.ridge)
            row = np.zeros((len(own), self.size))
            row[:, part] = own
            rows.append(row)
        charge = np.zeros((1, self.size))
        charge[0, -1] = config.charge
        return np.concatenate([config.molecule * rows[0], *rows[1:], charge])


def lennard_jones(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SPC/Fw's O-O energy (eV) and its slope (eV/A)."""
    six = (SIGMA_A / lengths) ** 6
    return 4 * EPSILON * (six * six - six), 4 * EPSILON * (6 * six - 12 * six * six) / lengths


def prior_molecule() -> np.ndarray:
    """Coefficients of the bond and the angle of q-TIP4P/F: quartic and harmonic, written about BOND_A and ANGLE."""
    depth, rate, length = 116.09 * EV_PER_KCAL_MOL, 2.287, 0.9419
    stiffness, angle = 87.85 * EV_PER_KCAL_MOL, np.deg2rad(107.4)
    quartic = np.polynomial.Polynomial([0, 0, depth * rate**2, -depth * rate**3, 7 / 12 * depth * rate**4])
    bond = quartic(np.polynomial.Polynomial([BOND_A - length, 1])).coef[1:]
    bend = np.polynomial.Polynomial([0, 0, stiffness / 2])(np.polynomial.Polynomial([ANGLE - angle, 1])).coef[1:]
    return np.concatenate([bond, bend, np.zeros(2 * DEGREE - len(bond) - len(bend) + 2)])


def intramolecular(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies (10,) and forces (3 N, 10) of the intramolecular terms at positions (M, 3, 3) of whole molecules."""
    bonds = positions[:, 1:] - positions[:, :1]
    lengths = np.linalg.norm(bonds, axis=-1)
    units = bonds / lengths[..., None]
    cosine = (units[:, 0] * units[:, 1]).sum(-1)
    angle = np.arccos(cosine)
    slopes = np.zeros((len(positions), 3, 3, 3))  # of both lengths and the angle, by atom and axis
    for k in (0, 1):
        slopes[:, k, 1 + k], slopes[:, k, 0] = units[:, k], -units[:, k]
        bent = cosine[:, None] * units[:, k] - units[:, 1 - k]
        slopes[:, 2, 1 + k] = bent / (lengths[:, k] * np.sin(angle))[:, None]
    slopes[:, 2, 0] = -slopes[:, 2, 1] - slopes[:, 2, 2]
    x, t, zero = lengths - BOND_A, angle - ANGLE, np.zeros(len(positions))
    powers = range(1, DEGREE + 1)
    terms = [((x**p).sum(1), p * x[:, 0] ** (p - 1), p * x[:, 1] ** (p - 1), zero) for p in powers]
    terms += [(t**p, zero, zero, p * t ** (p - 1)) for p in powers]
    terms += [(x[:, 0] * x[:, 1], x[:, 1], x[:, 0], zero), (x.sum(1) * t, t, t, x.sum(1))]
    energies = np.array([term[0].sum() for term in terms])
    forces = [-np.einsum("km,kmai->mai", np.array(term[1:]), slopes.swapaxes(0, 1)).ravel() for term in terms]
    return energies, np.array(forces).T
