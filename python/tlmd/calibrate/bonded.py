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
LEAST_EV_A2 = 1e-4  # of a bond-bond term
POWERS = np.arange(1, DEGREE + 1)


class Columns(NamedTuple):
    """Energies (P,) eV, forces (N, 3, P) eV/A and strain derivatives (3, 3, P) eV of a frame by coefficient."""

    energy: np.ndarray
    forces: np.ndarray
    strain: np.ndarray


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
    where the two are of one kind, which have one coefficient. lengths (2,): about which cross terms are written."""

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
        none, power = np.zeros((len(atoms), DEGREE)), t[:, None] ** POWERS
        bend = t[:, None] * y
        # by coefficient: energies, slopes by length of the arms, slopes by angle
        energy = np.column_stack([power, x[:, 0] * x[:, 1], bend.sum(1) if self.alike else bend])
        zero = 0 * t
        stretch = [np.column_stack([none, x[:, 1], t]), np.column_stack([none, x[:, 0], t])]
        if not self.alike:
            stretch = [np.column_stack([none, x[:, 1], t, zero]), np.column_stack([none, x[:, 0], zero, t])]
        slope = np.column_stack([POWERS * t[:, None] ** (POWERS - 1), zero, y.sum(1) if self.alike else y])
        forces, strain = np.zeros((n, 3, self.size)), np.zeros((3, 3, self.size))
        for arm, (end, mine) in enumerate(zip((0, 2), stretch, strict=True)):
            slopes = units[:, arm, :, None] * mine[:, None] + turns[:, arm, :, None] * slope[:, None]  # (E, 3, P)
            np.add.at(forces, atoms[:, end], -slopes)
            np.add.at(forces, atoms[:, 1], slopes)
            strain += np.einsum("eap,eb->abp", slopes, arms[:, arm])
        return Columns(energy.sum(0), forces, strain)

    def written(self, change: np.ndarray) -> Numbers:
        """theta0 (degrees), K2, K3, K4; bb: M, r1, r2; ba: N1, N2, r1, r2.

        class2 measures the angle of its bond-angle term from theta0, which moves; what this adds to the energy is
        linear in the lengths, and moves those of the bond-bond term. InputError for an angle without one minimum.
        """
        energy = self.polynomial + Polynomial([0, *change[:DEGREE]])
        high = min(BENT, np.pi - self.angle)
        at = minimum(energy, -BENT, high, f"angle of type {self.kind}")
        both = self._bb + change[DEGREE]
        bend = self._ba + change[DEGREE + 1 :]
        if abs(both) < LEAST_EV_A2:
            both = LEAST_EV_A2
        moved = self._bb_lengths - at * bend[::-1] / both
        return {
            "": [float(np.rad2deg(self.angle + at)), *taylor(energy, at)],
            "bb": [both, *moved],
            "ba": [*bend, *self._ba_lengths],
        }


def in_units(numbers: Numbers, energy_eV: float) -> Numbers:
    """The numbers of class2 with energies in LAMMPS' unit; lengths and angles stay."""
    lengths = {"": (0,), "bb": (1, 2), "ba": (2, 3)}
    return {
        part: [float(value) if k in lengths[part] else float(value) / energy_eV for k, value in enumerate(values)]
        for part, values in numbers.items()
    }
