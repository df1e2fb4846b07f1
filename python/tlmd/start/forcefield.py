"""A force field from SMILES for LAMMPS: an include in units real and, for a box of its molecules, a data file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from tlmd.start.mmff94 import RADIUS, Typed, typed

STYLES = {"bond": "class2", "dihedral": "opls", "improper": "inversion/harmonic"}
HEAD = """\
# MMFF94 (Halgren, J. Comput. Chem. 17, 490, 1996; parameters by RDKit) of {smiles}, by tlmd.
# Bonded terms and charges are MMFF94's. Not exact: van der Waals is 12-6 with eps of the buffered 14-7 potential and
# {radius:g} of its R*, and Coulomb's law lacks the shift of 0.05 A.
"""


@dataclass(frozen=True)
class ForceField:
    """MMFF94 of some molecules, its atoms and terms sorted into LAMMPS' types."""

    molecules: Typed

    @cached_property
    def types(self) -> dict[str, dict[tuple[Any, ...], int]]:
        """For each sort of term ("bond", ...): its coefficients -> type, from 1."""
        return {
            name: {key: i for i, key in enumerate(dict.fromkeys(rounded(term) for _, term in terms), 1)}
            for name, terms in self.molecules.terms.items()
        }

    @cached_property
    def elements(self) -> list[str]:
        """The element of each atom type."""
        first = np.unique(self.molecules.kinds, return_index=True)[1]
        return [chemical_symbols[z] for z in self.molecules.numbers[first]]

    @cached_property
    def net_charges(self) -> list[float]:
        """Of each molecule, e."""
        parts = np.split(self.molecules.charges, np.cumsum(self.molecules.sizes)[:-1])
        return [float(part.sum().round(6)) + 0.0 for part in parts]

    def include(self) -> str:
        """LAMMPS' commands; they read the variables data, accuracy (of pppm) and cutoff (A)."""
        charged = bool(self.molecules.charges.any())
        lines = ["variable data index system.data"]
        lines += ["variable accuracy index 1.0e-4          # relative accuracy of pppm"] * charged
        lines += ["variable cutoff index 10.0              # A", "units real", "atom_style full"]
        styles = {name: styles_of(name, known) for name, known in self.types.items() if known}
        for name, found in styles.items():
            lines.append(f"{name}_style {'hybrid ' if len(found) > 1 else ''}{' '.join(found)}")
        lines += ["read_data ${data}", "special_bonds lj 0 0 1 coul 0 0 0.75"]
        lines.append(f"pair_style lj/cut{'/coul/long' * charged} ${{cutoff}}")
        for (i, j), (depth, sigma) in self.molecules.pairs.items():
            lines.append(f"pair_coeff {i + 1} {j + 1} {depth:.8g} {sigma:.8g}")
        lines.append("pair_modify tail yes")
        for name, found in styles.items():
            for key, kind in self.types[name].items():
                lines += [f"{name}_coeff {kind} {text}" for text in coefficients(key, len(found) > 1)]
        lines += ["kspace_style pppm ${accuracy}"] * charged
        return HEAD.format(smiles=", ".join(self.molecules.smiles), radius=RADIUS) + "\n".join(lines) + "\n"

    def terms_of(self, molecule: int) -> dict[str, list[tuple[int, tuple[int, ...]]]]:
        """For each sort of term: (type, atoms counted from 0 within the molecule) of one of the molecules."""
        begin, end = self.span(molecule)
        return {
            name: [
                (self.types[name][rounded(key)], tuple(i - begin for i in atoms))
                for atoms, key in found
                if begin <= atoms[0] < end
            ]
            for name, found in self.molecules.terms.items()
        }

    def span(self, molecule: int) -> tuple[int, int]:
        """First atom of a molecule among those of all, and the one after its last."""
        begin = sum(self.molecules.sizes[:molecule])
        return begin, begin + self.molecules.sizes[molecule]


def from_smiles(smiles: Sequence[str]) -> ForceField:
    """MMFF94 of these molecules and ions, each given once. Raises InputError where MMFF94 has no parameters."""
    return ForceField(typed(smiles))


def rounded(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Coefficients to nine digits, so that terms equal by symmetry are of one type."""
    return tuple(value if isinstance(value, str) else float(f"{value:.9g}") for value in key)


def styles_of(name: str, known: Iterable[tuple[Any, ...]]) -> list[str]:
    """LAMMPS' styles of a sort of term: one, but for angles, whose coefficients begin with it."""
    return list(dict.fromkeys(key[0] for key in known)) if name == "angle" else [STYLES[name]]


def coefficients(key: tuple[Any, ...], hybrid: bool) -> list[str]:
    """What follows the type in the lines *_coeff; with the style if there are several."""
    style, values = (key[0], key[1:]) if isinstance(key[0], str) else ("", key)
    if style == "class2":
        degrees, k2, k3, k4, n1, n2, r1, r2 = values
        rows = [("", degrees, k2, k3, k4), ("bb", 0, r1, r2), ("ba", n1, n2, r1, r2)]
    else:
        rows = [("", *values)]
    words = [[style] * hybrid + [word if isinstance(word, str) else f"{word:.9g}" for word in row] for row in rows]
    return [" ".join(word for word in row if word) for row in words]
