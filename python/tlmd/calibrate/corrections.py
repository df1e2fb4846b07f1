"""The corrections of a given force field: its terms, their equations for a frame, and the include that holds them."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlmd.calibrate.bonded import SUPPORTED, WIDEST, Angle, Bond, Columns, in_units
from tlmd.calibrate.config import CalibrateConfig
from tlmd.calibrate.forcefield import comment
from tlmd.calibrate.geometry import Geometry
from tlmd.calibrate.given import Given
from tlmd.calibrate.least_squares import Normal, products
from tlmd.calibrate.pairs import Charges, Spline, stoichiometry
from tlmd.calibrate.splines import roughness, table
from tlmd.frames.frame import Frame
from tlmd.generate.teachers.calibrated import INCLUDE, TABLE
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class Corrections:
    """bonds, angles, splines by pair of types, charges: those of `field.correct` that the frames can tell something of;
    kept: what stays as it was given. Coefficients: of all but charges (`linear`), one energy for each species, charges.
    """

    def __init__(self, given: Given, config: CalibrateConfig, geometries: Sequence[Geometry]):
        self.given, self.config, self.kept = given, config, []
        correct, teacher = config.field.correct, given.teacher
        self.bonds = self._bonds() if "bonds" in correct else []
        self.angles = self._angles(geometries) if "angles" in correct else []
        self.splines = self._splines(geometries) if "pairs" in correct else []
        self.charges = None
        if "charges" in correct and any(given.charges.values()):
            self.charges = self._charges()
        elif "charges" in correct:
            self.kept.append("charges, which are zero")
        self.species = len(teacher.species)
        self.terms = [*self.bonds, *self.angles, *self.splines]
        self.linear = sum(term.size for term in self.terms)
        self.squared = self.charges.size if self.charges else 0
        self.size = self.linear + self.squared

    def _bonds(self) -> list[Bond]:
        kinds = _sorted(kind for pattern in self.given.teacher.patterns for kind, _ in pattern.joined["Bonds"])
        found = []
        for kind in kinds:
            style, numbers = self.given.style_of("bond", kind)
            if style in SUPPORTED:
                found.append(Bond(kind, numbers, self.given.energy_eV))
            else:
                self.kept.append(f"bond type {kind}, {style}")
        return self._some(found, kinds, "bond")

    def _angles(self, geometries: Sequence[Geometry]) -> list[Angle]:
        ends: dict[str, tuple[set, set]] = defaultdict(lambda: (set(), set()))
        for pattern in self.given.teacher.patterns:
            bond_of = {frozenset(atoms): kind for kind, atoms in pattern.joined["Bonds"]}
            for kind, (a, b, c) in pattern.joined["Angles"]:
                for side, end in zip(ends[kind], (a, c), strict=True):
                    side.add((pattern.types[end], bond_of.get(frozenset((b, end)))))
        found = []
        for kind in _sorted(ends):
            style, numbers = self.given.style_of("angle", kind)
            arms = [
                np.linalg.norm(g.positions[rows[:, [0, 2]]] - g.positions[rows[:, [1]]], axis=-1)
                for g in geometries
                if (rows := g.angles.get(kind)) is not None
            ]
            wide = style in SUPPORTED and np.deg2rad(numbers[""][0 if style == "class2" else 1]) > WIDEST
            if style not in SUPPORTED or wide or not arms:
                why = style if style not in SUPPORTED else "nearly straight" if wide else "in no frame"
                self.kept.append(f"angle type {kind}, {why}")
                continue
            alike = bool(ends[kind][0] & ends[kind][1])
            lengths = np.concatenate(arms).mean(0)
            lengths = np.full(2, lengths.mean()) if alike else lengths
            found.append(Angle(kind, numbers, self.given.energy_eV, lengths, alike))
        return self._some(found, list(ends), "angle")

    def _some(self, found: list, kinds: list, name: str) -> list:
        """`found`; InputError if there are types, and none of a style that can be corrected."""
        if kinds and not found:
            got = f"{name}_style {' '.join(self.given.styles[name])}"
            wanted = f"{name} types of the styles {' or '.join(SUPPORTED)}"
            raise InputError(got, wanted, f"take {name}s out of field.correct")
        return found

    def _splines(self, geometries: Sequence[Geometry]) -> list[Spline]:
        self.given.require_pairs()
        terms, teacher = self.config.terms, self.given.teacher
        nearest: dict[tuple[int, int], float] = {}
        for geometry in geometries:
            for types, (_, vectors) in geometry.pairs(terms.cutoff_A).items():
                shortest = float(np.linalg.norm(vectors, axis=1).min())
                nearest[types] = min(shortest, nearest.get(types, np.inf))
        element = {}
        for species, pattern in zip(teacher.species, teacher.patterns, strict=True):
            element |= {teacher.number(kind): int(z) for kind, z in zip(pattern.types, species.numbers, strict=True)}
        last = terms.cutoff_A - 4 * terms.spacing_A  # a spline needs some knots
        return [
            Spline((a, b), (element[a], element[b]), length, terms.cutoff_A, terms.spacing_A)
            for (a, b), length in sorted(nearest.items())
            if length < last
        ]

    def _charges(self) -> Charges | None:
        given, teacher = self.given, self.given.teacher
        kinds = [[teacher.number(kind) for kind in pattern.types] for pattern in teacher.patterns]
        used = {kind: given.charges[kind] for kind in sorted({kind for each in kinds for kind in each})}
        if odd := [kind for kind, charge in used.items() if np.isnan(charge)]:
            got, wanted = f"different charges of atom type {odd[0]}", "one for each type"
            raise InputError(got, wanted, "make more types, or take charges out of field.correct")
        if teacher.include.charges:
            got = "charges that a fix equilibrates"
            raise InputError(got, "charges that are given", "take charges out of field.correct")
        return Charges(used, stoichiometry(kinds, list(used)))

    def design(self, geometry: Geometry) -> tuple[Frame, Columns]:
        """The labels of the given force field, and columns of all terms, in the order of `curve` without the energies
        of species."""
        pairs = geometry.pairs(self.config.terms.cutoff_A) if self.splines else {}
        none = np.zeros(0, int), np.zeros((0, 3))
        angles = [term.columns(geometry) for term in self.angles]
        parts = [term.columns(geometry) for term in self.bonds]
        parts += [part.columns(slice(None, -2)) for part in angles]
        parts += [term.columns(geometry, *pairs.get(term.types, none)) for term in self.splines]
        if self.squared:
            frame, charged = self.charges.columns(self.given.teacher, geometry.frame)
            parts.append(charged)
        else:
            frame = self.given.teacher.label(geometry.frame)
        parts += [part.columns(slice(-2, None)) for part in angles]
        return frame, Columns(*(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)))

    def curve(self, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The factors of the columns of a change (Q,), with those of the energies of species, and their derivatives:
        linear coefficients, energies of species, charges, products of these, equilibrium angles."""
        charges = slice(self.linear + self.species, None)
        values, slopes = products(change[charges])
        turn = np.zeros((len(values), len(change)))
        turn[:, charges] = slopes
        factors, turns, at = [change, values], [np.eye(len(change)), turn], sum(term.size for term in self.bonds)
        for term in self.angles:
            mine = slice(at, at + term.size)
            values, slopes = term.moved(change[mine])
            turn = np.zeros((2, len(change)))
            turn[:, mine] = slopes
            factors.append(values)
            turns.append(turn)
            at += term.size
        return np.concatenate(factors), np.concatenate(turns)

    def factors(self, change: np.ndarray) -> np.ndarray:
        """The factors of the columns of `design`."""
        return np.delete(self.curve(change)[0], range(self.linear, self.linear + self.species))

    def normal(self, geometry: Geometry, prior: Frame, columns: Columns, energies: np.ndarray) -> Normal:
        """Equations of one frame for what `curve` gives, energies of species being those beyond `energies` (S,).

        The energy per atom weighs as much as all force components of the frame together, and so does each component of
        the stress times the volume of an atom.
        """
        config, frame, n, at = self.config, geometry.frame, len(geometry), self.linear
        size = columns.energy.size

        def full(rows: np.ndarray, counts: np.ndarray | float = 0.0) -> np.ndarray:
            found = np.zeros((len(rows), size + self.species))
            found[:, :at], found[:, at + self.species :] = rows[:, :at], rows[:, at:]
            found[:, at : at + self.species] = counts
            return found

        rows, values = [np.zeros((0, size + self.species))], [np.zeros(0)]
        if config.forces and frame.forces is not None:
            weight = np.sqrt(config.forces)
            rows.append(weight * full(columns.forces.reshape(-1, size)))
            values.append(weight * (frame.forces - prior.forces).ravel())
        if config.energy and frame.energy is not None:
            weight = np.sqrt(config.energy * 3 * n) / n
            rows.append(weight * full(columns.energy[None], geometry.counts))
            values.append([weight * (frame.energy - prior.energy - geometry.counts @ energies)])
        if config.stress and frame.stress is not None and prior.stress is not None:
            volume, weight = abs(np.linalg.det(frame.cell)), np.sqrt(config.stress * 3 * n) / n
            rows.append(weight * full(columns.strain[VOIGT]))
            values.append(weight * volume * (frame.stress - prior.stress)[VOIGT])
        return Normal.of(np.concatenate(rows), np.concatenate(values))

    def penalty(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrices (Q, Q) of the regularisation at strength 1, and of what is always there, for the energies of species
        that no label tells apart."""
        terms, total = self.config.terms, self.size + self.species
        penalty, at = np.zeros((total, total)), 0
        for term in self.terms:
            if isinstance(term, Spline):
                rows = roughness(term.splines, terms.smoothness, terms.ridge)
            else:
                rows = terms.molecule * np.diag(term.amplitudes)
            penalty[at : at + term.size, at : at + term.size] = rows.T @ rows
            at += term.size
        fixed = np.zeros_like(penalty)
        fixed[range(at, at + self.species), range(at, at + self.species)] = 1e-6
        if self.squared:
            penalty[at + self.species :, at + self.species :] = (
                terms.charge**2 * self.charges.ways @ self.charges.ways.T
            )
        return penalty, fixed

    def parts(self, change: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The coefficients of each term, and those of the charges (K,), of a change (Q,)."""
        ends = np.cumsum([term.size for term in self.terms])
        return np.split(change[: self.linear], ends)[:-1], change[self.linear + self.species :]

    def stable(self, change: np.ndarray) -> bool:
        """Whether each bond and angle has one minimum."""
        try:
            for term, mine in zip((*self.bonds, *self.angles), self.parts(change)[0], strict=False):
                term.written(mine)
        except InputError:
            return False
        return True

    def write(self, folder: Path, change: np.ndarray, note: str) -> Path:
        """Write forcefield.in, its table and copies of the files that it names into `folder`; the path of the first."""
        given, energy_eV = self.given, self.given.energy_eV
        parts, charges = self.parts(change)
        commands, pairs = [], {}
        for kind, terms in (("bond", self.bonds), ("angle", self.angles)):
            new = {
                t.kind: in_units(t.written(c), energy_eV) for t, c in zip(self.terms, parts, strict=True) if t in terms
            }
            commands += given.bonded_commands(kind, new) if new else []
        for term, mine in zip(self.terms, parts, strict=True):
            if isinstance(term, Spline):
                pairs[term.types] = term.written(mine)
        if pairs:
            names = {types: "T{}-{}".format(*types) for types in pairs}
            text, end = table(
                {names[types]: pair for types, pair in pairs.items()}, self.config.terms.cutoff_A, energy_eV
            )
            commands += given.pair_commands(names, TABLE, end)
            write_atomic(folder / TABLE, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        if self.squared:
            commands += self.charges.commands(charges).splitlines()
        include = given.teacher.include
        head = f"# {include.path.name} {note}"
        whole = "\n".join(
            [comment(head), include.text.rstrip(), "", "# by tl-calibrate, in place of the above", *commands]
        )
        write_atomic(folder / INCLUDE, lambda temporary: temporary.write_text(whole + "\n", encoding="utf-8"))
        for name, path in include.named.items():
            if name not in (INCLUDE, TABLE) and not (folder / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name)
        return folder / INCLUDE


def _sorted(kinds) -> list[str]:
    """Different types, in the order of their numbers."""
    return sorted(set(kinds), key=lambda kind: (len(kind), kind))
