"""Corrections of bonds and angles of a given force field: polynomials and cross terms, which LAMMPS' class2 runs.

A term has `size` coefficients, all zero before the fit: `columns` gives energies (P,) eV, forces (N, 3, P) eV/A and
strain derivatives (3, 3, P) eV of a frame by coefficient, `amplitudes` (P,) what the regularisation compares, `written`
the numbers of class2 in eV.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial

from tlmd.calibrate.forcefield import minimum, taylor
from tlmd.calibrate.geometry import Geometry
from tlmd.calibrate.given import Numbers
from tlmd.calibrate.terms import BEND, DEGREE, STRETCH_A

SUPPORTED = ("harmonic", "class2")
SHORTER_A, LONGER_A = 0.3, 0.6  # about a bond's length, where its energy must rise away from its minimum
BENT = np.deg2rad(35.0)  # the same of an angle, to either side
WIDEST = np.deg2rad(150.0)  # wider angles have no slope when they are straight: they stay as they are
POWERS = np.arange(1, DEGREE + 1)
ALIKE = np.delete(np.eye(DEGREE + 5), DEGREE + 2, axis=1)  # (9, 8): both bond-angle terms with one coefficient
ALIKE[DEGREE + 2, DEGREE + 1] = 1.0


class Columns(NamedTuple):
    """Energies (P,) eV, forces (N, 3, P) eV/A and strain derivatives (3, 3, P) eV of a frame by coefficient."""

    energy: np.ndarray
    forces: np.ndarray
    strain: np.ndarray

    def columns(self, which: slice) -> Columns:
        """Some of them."""
        return Columns(*(each[..., which] for each in self))


class Bond:
    """Powers 1 to 4 of the change in length of one bond type."""

    size = DEGREE

    def __init__(self, kind: str, numbers: Numbers, energy_eV: float):
        self.kind = kind
        if len(numbers[""]) == 2:  # harmonic: K, r0
            stiffness, self.length = numbers[""]
            self.polynomial = Polynomial([0, 0, stiffness * energy_eV])
        else:
            self.length, *stiff = numbers[""]
            self.polynomial = Polynomial([0, 0, *(k * energy_eV for k in stiff)])
        self.amplitudes = STRETCH_A**POWERS

    def columns(self, geometry: Geometry) -> Columns:
        n = len(geometry)
        atoms = geometry.bonds.get(self.kind, np.zeros((0, 2), int))
        vectors = geometry.positions[atoms[:, 1]] - geometry.positions[atoms[:, 0]]
        lengths = np.linalg.norm(vectors, axis=1)
        x, units = lengths - self.length, vectors / lengths[:, None]
        slopes = (POWERS * x[:, None] ** (POWERS - 1))[:, None] * units[..., None]  # (E, 3, P)
        forces = np.zeros((n, 3, self.size))
        np.add.at(forces, atoms[:, 0], slopes)
        np.add.at(forces, atoms[:, 1], -slopes)
        return Columns((x[:, None] ** POWERS).sum(0), forces, np.einsum("eap,eb->abp", slopes, vectors))

    def written(self, change: np.ndarray) -> Numbers:
        """r0 (A), K2, K3, K4; the energy changes by a constant. InputError for a bond without one minimum."""
        energy = self.polynomial + Polynomial([0, *change])
        at = minimum(energy, -SHORTER_A, LONGER_A, f"bond of type {self.kind}")
        return {"": [self.length + at, *taylor(energy, at)]}


class Angle:
    """Powers 1 to 4 of the change of one angle type (rad), bond-bond, and bond-angle for each of the two bonds; `alike`
    where the two are of one kind, which have one coefficient. lengths (2,): about which cross terms are written.

    class2 measures the angle of its bond-angle terms from the new equilibrium too: two more columns, linear in the
    lengths, have the factors `moved`.
    """

    def __init__(self, kind: str, numbers: Numbers, energy_eV: float, lengths: np.ndarray, alike: bool):
        self.kind, self.alike = kind, alike
        if len(numbers[""]) == 2:
            stiffness, degrees = numbers[""]
            stiff = [stiffness]
        else:
            degrees, *stiff = numbers[""]
        self.angle = np.deg2rad(degrees)
        self.polynomial = Polynomial([0, 0, *(k * energy_eV for k in stiff)])
        self._bb, *references = numbers.get("bb", [0.0, 0.0, 0.0])
        self._bb_lengths = np.array(references) if self._bb else lengths
        *bend, one, two = numbers.get("ba", [0.0, 0.0, 0.0, 0.0])
        self._ba_lengths = np.array([one, two]) if any(bend) else lengths
        self._bb *= energy_eV
        self._ba = np.array(bend) * energy_eV
        self.size = DEGREE + (2 if alike else 3)
        self.amplitudes = np.array([*BEND**POWERS, STRETCH_A**2, *[STRETCH_A * BEND] * (self.size - DEGREE - 1)])

    def columns(self, geometry: Geometry) -> Columns:
        n = len(geometry)
        atoms = geometry.angles.get(self.kind, np.zeros((0, 3), int))
        first, centre, third = geometry.positions[atoms].swapaxes(0, 1) if len(atoms) else np.zeros((3, 0, 3))
        arms = np.stack([first - centre, third - centre], axis=1)  # (E, 2, 3)
        lengths = np.linalg.norm(arms, axis=-1)
        units = arms / lengths[..., None]
        cosine = np.clip((units[:, 0] * units[:, 1]).sum(-1), -1.0, 1.0)
        sine = np.maximum(np.sqrt(1 - cosine**2), 1e-6)
        turns = (cosine[:, None, None] * units - units[:, ::-1]) / (lengths * sine[:, None])[..., None]
        t = np.arccos(cosine) - self.angle
        x, y = lengths - self._bb_lengths, lengths - self._ba_lengths
        none, zero, one = np.zeros((len(atoms), DEGREE)), 0 * t, 0 * t + 1
        # by coefficient: energies, slopes by the lengths of the arms, slopes by the angle
        energy = np.column_stack([t[:, None] ** POWERS, x[:, 0] * x[:, 1], t[:, None] * y, y])
        stretch = [np.column_stack([none, x[:, 1], t, zero, one, zero]),
                   np.column_stack([none, x[:, 0], zero, t, zero, one])]  # fmt: skip
        slope = np.column_stack([POWERS * t[:, None] ** (POWERS - 1), zero, y, zero, zero])
        if self.alike:
            energy, *stretch, slope = (each @ ALIKE for each in (energy, *stretch, slope))
        forces, strain = np.zeros((n, 3, self.size + 2)), np.zeros((3, 3, self.size + 2))
        for arm, (end, mine) in enumerate(zip((0, 2), stretch, strict=True)):
            slopes = units[:, arm, :, None] * mine[:, None] + turns[:, arm, :, None] * slope[:, None]  # (E, 3, P)
            np.add.at(forces, atoms[:, end], -slopes)
            np.add.at(forces, atoms[:, 1], slopes)
            strain += np.einsum("eap,eb->abp", slopes, arms[:, arm])
        return Columns(energy.sum(0), forces, strain)

    def moved(self, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The factors (2,) eV/A of the last two columns, and their derivatives (2, P)."""
        energy, bend = self.polynomial + Polynomial([0, *change[:DEGREE]]), self._ba + change[DEGREE + 1 :]
        roots = energy.deriv().roots()
        roots = roots[np.abs(roots.imag) < 1e-9].real
        at = float(roots[np.abs(roots).argmin()]) if len(roots) else 0.0
        stiff = float(energy.deriv(2)(at))
        if abs(at) > BENT or stiff <= 0:  # not stable: such a fit is not taken
            return np.zeros(2), np.zeros((2, self.size))
        slopes = np.zeros((2, self.size))
        slopes[:, :DEGREE] = bend[:, None] * POWERS * at ** (POWERS - 1) / stiff
        slopes[:, DEGREE + 1 :] = -at * (np.ones((2, 1)) if self.alike else np.eye(2))
        return -at * bend, slopes

    def written(self, change: np.ndarray) -> Numbers:
        """theta0 (degrees), K2, K3, K4; bb: M, r1, r2; ba: N1, N2, r1, r2. InputError for one without one minimum."""
        energy = self.polynomial + Polynomial([0, *change[:DEGREE]])
        at = minimum(energy, -BENT, min(BENT, np.pi - self.angle), f"angle of type {self.kind}")
        return {
            "": [float(np.rad2deg(self.angle + at)), *taylor(energy, at)],
            "bb": [self._bb + change[DEGREE], *self._bb_lengths],
            "ba": [*(self._ba + change[DEGREE + 1 :]), *self._ba_lengths],
        }


def in_units(numbers: Numbers, energy_eV: float) -> Numbers:
    """The numbers of class2 with energies in LAMMPS' unit; lengths and angles stay."""
    lengths = {"": (0,), "bb": (1, 2), "ba": (2, 3)}
    return {
        part: [float(value) if k in lengths[part] else float(value) / energy_eV for k, value in enumerate(values)]
        for part, values in numbers.items()
    }
