"""LAMMPS data files of boxes: atom_style full with the terms of a force field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from tlmd.start.forcefield import ForceField

PLURAL = {"bond": "bonds", "angle": "angles", "dihedral": "dihedrals", "improper": "impropers"}


def data_file(field: ForceField, counts: Sequence[int], positions: np.ndarray, low: np.ndarray, high: np.ndarray):
    """The text of a data file with counts[m] copies of each molecule m of `field`, one after another.

    positions (N, 3) and the corners low, high (3,) of the box in A; atoms may lie outside, as those of whole molecules
    do. Masses names the element of each type in a comment.
    """
    atoms, terms = topology(field, counts)
    lines = [f"{', '.join(f'{n} {s}' for n, s in zip(counts, field.molecules.smiles, strict=True))}; tlmd", ""]
    lines += [f"{len(atoms)} atoms", *(f"{len(terms[name])} {plural}" for name, plural in PLURAL.items())]
    lines += [f"{len(field.elements)} atom types"]
    lines += [f"{len(field.types[name])} {name} types" for name in PLURAL]
    lines += [f"{a:.10f} {b:.10f} {x}lo {x}hi" for a, b, x in zip(low, high, "xyz", strict=True)]
    lines += ["", "Masses", ""]
    lines += [f"{i} {atomic_masses[atomic_numbers[e]]:g} # {e}" for i, e in enumerate(field.elements, 1)]
    lines += ["", "Atoms # full", ""]
    for i, ((molecule, kind, charge), x) in enumerate(zip(atoms, positions, strict=True), 1):
        lines.append(f"{i} {molecule} {kind} {charge:.8g} {x[0]:.10f} {x[1]:.10f} {x[2]:.10f}")
    for name, found in terms.items():
        lines += ["", PLURAL[name].capitalize(), ""] * bool(found)
        lines += [f"{i} {kind} {' '.join(map(str, ids))}" for i, (kind, ids) in enumerate(found, 1)]
    return "\n".join(lines) + "\n"


def topology(field: ForceField, counts: Sequence[int]):
    """(molecule, type, charge) of each atom; for each sort of term, (type, atoms); all counted from 1."""
    atoms: list[tuple[int, int, float]] = []
    terms: dict[str, list[tuple[int, list[int]]]] = {name: [] for name in PLURAL}
    copies = 0
    for molecule, count in enumerate(counts):
        own, inside = slice(*field.span(molecule)), field.terms_of(molecule)
        kinds, charges = field.molecules.kinds[own], field.molecules.charges[own]
        for _ in range(count):
            copies += 1
            for name, found in inside.items():
                terms[name] += [(kind, [len(atoms) + 1 + i for i in ids]) for kind, ids in found]
            atoms += [(copies, int(k) + 1, float(q)) for k, q in zip(kinds, charges, strict=True)]
    return atoms, terms
