"""A LAMMPS data file as a pattern: the molecules in it, and data files of any number of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tlmd.generate.composition import Composition
from tlmd.generate.species import Species
from tlmd.run.errors import InputError

COLUMNS = {  # of a line of Atoms
    "atomic": "id type x y z",
    "charge": "id type q x y z",
    "bond": "id mol type x y z",
    "angle": "id mol type x y z",
    "molecular": "id mol type x y z",
    "full": "id mol type q x y z",
}
MEMBERS = {"Bonds": 2, "Angles": 3, "Dihedrals": 4, "Impropers": 4}  # atoms of a line
SECTION = re.compile(
    r"^(Atoms|Velocities|Masses|Bonds|Angles|Dihedrals|Impropers|(?:\w+ )?\w+ Coeffs|\w+ Type Labels)"
    r"\s*(?:#\s*(.*))?$"
)
COUNTS = re.compile(r"^(\d+)\s+(atoms|bonds|angles|dihedrals|impropers)$")
BOX = re.compile(r"(xlo xhi|ylo yhi|zlo zhi|xy xz yz)$")
SAME_CHARGE = 6  # decimals


class Pattern(NamedTuple):
    """A molecule of a data file: types and charges of its atoms as written, and what joins them, by section."""

    types: tuple[str, ...]
    charges: tuple[str, ...]
    joined: dict[str, tuple[tuple[str, tuple[int, ...]], ...]]  # section -> (type, atoms of the molecule), ...

    @property
    def key(self) -> tuple:
        """Equal for molecules with the same sequence of types, charges and bonds."""
        charges = tuple(round(float(charge), SAME_CHARGE) for charge in self.charges)
        return self.types, charges, tuple((name, tuple(sorted(lines))) for name, lines in self.joined.items())


class DataFile:
    """The data file `text`, whose atoms are written in `style` (where absent, as its line Atoms says).

    types: types of the atoms by id; patterns, amounts: the different molecules and how many of each there are; empty
    where nothing is bonded.
    """

    def __init__(self, text: str, name: str, style: str | None = None):
        self.name = name
        self._head, self._kept, sections, written = _parted(text, name)
        self.style = style or written or "atomic"
        if self.style not in COLUMNS:
            got = f"atom_style {self.style} for {name}"
            raise InputError(got, f"one of {', '.join(COLUMNS)}", "write the data file anew in one of these")
        rows = self._atoms([line.split() for line in sections.get("Atoms", [])])
        self._index = {int(row[0]): i for i, row in enumerate(rows)}
        lines = {key: [line.split() for line in sections.get(key, [])] for key in MEMBERS}
        for key, members in MEMBERS.items():
            if wrong := [row for row in lines[key] if len(row) != members + 2]:
                got = f"{name} with the line `{' '.join(wrong[0])}` in {key}"
                raise InputError(got, f"id, type and {members} atoms", "correct it")
        self._joined = {key: [(row[1], *map(self._atom, row[2:])) for row in lines[key]] for key in MEMBERS}
        self.patterns, self.amounts, self._first = self._molecules() if self._joined["Bonds"] else ([], [], [])

    def _atoms(self, rows: list[list[str]]) -> list[list[str]]:
        """The lines of Atoms by id; keeps types, charges and positions."""
        columns = COLUMNS[self.style].split()
        got = f"{self.name} without atoms, or with lines of Atoms that are not `{COLUMNS[self.style]}`"
        wrong = InputError(got, "a LAMMPS data file", "correct it, or atom_style")
        if not rows or min(map(len, rows)) < len(columns):
            raise wrong
        x = columns.index("x")
        try:
            rows = sorted(rows, key=lambda row: int(row[0]))
            self.types = [row[columns.index("type")] for row in rows]
            self.charges = [row[columns.index("q")] if "q" in columns else "0" for row in rows]
            self._positions = np.array([row[x : x + 3] for row in rows], dtype=float)
            numbers = np.append(np.array(self.charges, dtype=float), self._positions)
        except ValueError:
            raise wrong from None
        if not np.isfinite(numbers).all():
            raise wrong
        return rows

    def _atom(self, word: str) -> int:
        if not word.isdigit() or int(word) not in self._index:
            raise InputError(f"{self.name} with a bond of atom {word}", "atoms of the file", "correct it")
        return self._index[int(word)]

    def _molecules(self) -> tuple[list[Pattern], list[int], list[np.ndarray]]:
        """The different molecules in the order of the file, how many of each, and the atoms of the first of each."""
        count = len(self.types)
        ends = np.array([row[1:] for row in self._joined["Bonds"]]).T
        owner = connected_components(coo_array((np.ones(len(ends.T)), tuple(ends)), (count, count)), False)[1]
        members: dict[int, list[int]] = {}
        for atom, each in enumerate(owner):
            members.setdefault(each, []).append(atom)
        place = {atom: k for atoms in members.values() for k, atom in enumerate(atoms)}
        lines: dict[int, dict[str, list]] = {each: {key: [] for key in MEMBERS} for each in members}
        for key, rows in self._joined.items():
            for kind, *atoms in rows:
                if len({owner[atom] for atom in atoms}) > 1:
                    raise InputError(f"{self.name} with {key} across molecules", "molecules by bonds", "add the bond")
                lines[owner[atoms[0]]][key].append((kind, tuple(place[atom] for atom in atoms)))
        patterns: dict[tuple, Pattern] = {}
        amounts, first = Counter(), {}
        for each, atoms in members.items():
            own = (tuple(self.types[atom] for atom in atoms), tuple(self.charges[atom] for atom in atoms))
            pattern = Pattern(*own, {key: tuple(rows) for key, rows in lines[each].items()})
            patterns.setdefault(pattern.key, pattern)
            first.setdefault(pattern.key, np.array(atoms))
            amounts[pattern.key] += 1
        return list(patterns.values()), [amounts[key] for key in patterns], [first[key] for key in patterns]

    def species(self, element_of: dict[str, int]) -> list[Species]:
        """The different molecules; element_of: atomic numbers by type."""
        found = []
        for pattern, atoms in zip(self.patterns, self._first, strict=True):
            numbers = [element_of[kind] for kind in pattern.types]
            bonds = [atoms for _, atoms in pattern.joined["Bonds"]]
            each = Species(numbers, bonds, self._positions[atoms])
            whole = Composition([each], [0]).whole(each.positions, self._cell())
            found.append(Species(numbers, bonds, whole))
        return found

    def _cell(self) -> np.ndarray:
        """(3, 3) A, of the box in the head."""
        cell = np.zeros((3, 3))
        try:
            for line in self._head:
                words = line.split()
                for axis, name in enumerate("xyz"):
                    if line.endswith(f"{name}lo {name}hi"):
                        cell[axis, axis] = float(words[1]) - float(words[0])
                if line.endswith("xy xz yz"):
                    cell[[1, 2, 2], [0, 0, 1]] = [float(word) for word in words[:3]]
        except ValueError:
            cell[:] = 0  # no box
        if not (np.isfinite(cell).all() and np.diag(cell).all()):
            raise InputError(f"{self.name} without a box", "lines xlo xhi, ylo yhi, zlo zhi", "correct it")
        return cell

    @property
    def labels(self) -> dict[str, int]:
        """The numbers of atom types by their labels, where the file has some."""
        if "Atom Type Labels" not in self._kept:
            return {}
        rows = self._kept[self._kept.index("Atom Type Labels") + 1 :]
        end = next((k for k, row in enumerate(rows) if SECTION.match(row)), len(rows))
        words = [row.split() for row in rows[:end]]
        if wrong := [row for row in words if len(row) != 2 or not row[0].isdecimal()]:
            got = f"{self.name} with the line `{' '.join(wrong[0])}` in Atom Type Labels"
            raise InputError(got, "a number and a label", "correct it")
        return {label: int(number) for number, label in words}

    def charge_of(self, kind: str) -> str | None:
        """The charge of all atoms of a type, None where they differ."""
        found = {charge for each, charge in zip(self.types, self.charges, strict=True) if each == kind}
        return found.pop() if len({round(float(charge), SAME_CHARGE) for charge in found}) == 1 else None

    def written(self, molecules: list[Pattern], positions: np.ndarray, low: np.ndarray, cell: np.ndarray) -> str:
        """A data file of these molecules with atoms at positions (N, 3) A in a box at `low` (3,) with a lower
        triangular cell (3, 3)."""
        atoms, joined, start = [], {key: [] for key in MEMBERS}, 1
        template = " ".join(f"{{{column}}}" for column in COLUMNS[self.style].split())
        for number, pattern in enumerate(molecules, 1):
            for k, (kind, charge) in enumerate(zip(pattern.types, pattern.charges, strict=True)):
                x, y, z = (f"{value:.12f}" for value in positions[start + k - 1])
                atoms.append(template.format(id=start + k, mol=number, type=kind, q=charge, x=x, y=y, z=z))
            for key, lines in pattern.joined.items():
                for kind, members in lines:
                    words = " ".join(str(start + member) for member in members)
                    joined[key].append(f"{len(joined[key]) + 1} {kind} {words}")
            start += len(pattern.types)
        head = [f"{len(atoms)} atoms"] + [f"{len(rows)} {key.lower()}" for key, rows in joined.items() if rows]
        head += [line for line in self._head if not BOX.search(line)]
        for axis, name in enumerate("xyz"):
            head.append(f"{low[axis]:.12f} {low[axis] + cell[axis, axis]:.12f} {name}lo {name}hi")
        tilts = cell[[1, 2, 2], [0, 0, 1]]
        head += ["{:.12f} {:.12f} {:.12f} xy xz yz".format(*tilts)] if tilts.any() else []
        parts = [f"# from {self.name}", *head, *self._kept, f"Atoms # {self.style}", *atoms]
        for key, rows in joined.items():
            parts += [key, *rows] if rows else []
        return "\n".join(_spaced(parts)) + "\n"


def _parted(text: str, name: str) -> tuple[list[str], list[str], dict[str, list[str]], str | None]:
    """The head without its counts; sections that stay as they are; lines of the others by name; the style in Atoms.
    InputError for a file with fewer lines in a section than its head says, or more."""
    head, kept, sections, style, now, counts = [], [], {}, None, None, {}
    for raw in text.splitlines()[1:]:
        line = raw.split("#")[0].strip()
        if found := SECTION.match(raw.strip()):
            now, hint = found.group(1), (found.group(2) or "").strip()
            style = hint or style if now == "Atoms" else style
            if now not in (*MEMBERS, "Atoms", "Velocities"):
                kept.append(raw.strip())
        elif not line:
            continue
        elif re.fullmatch(r"[A-Z][A-Za-z ]*", line):
            raise InputError(f"a data file with the section {line}", "atoms, bonds and coefficients", "leave it out")
        elif now is None and (count := COUNTS.match(line)):
            counts[count.group(2).capitalize()] = int(count.group(1))
        elif now is None:
            head.append(line)
        elif now in (*MEMBERS, "Atoms", "Velocities"):
            sections.setdefault(now, []).append(line)
        else:
            kept.append(line)
    for section, count in counts.items():
        if (found := len(sections.get(section, []))) != count:
            got = f"{name} with {found} lines in {section}"
            raise InputError(got, f"{count}, as its head says", "fetch or write the file again")
    return head, kept, sections, style


def _spaced(lines: list[str]) -> list[str]:
    """With blank lines round the names of sections, as LAMMPS wants them."""
    return [part for line in lines for part in (["", line, ""] if SECTION.match(line) else [line])]


def read(path: Path, style: str | None) -> DataFile:
    """A data file. InputError if there is none."""
    if not path.is_file():
        raise InputError(f"no file {path}", "a LAMMPS data file", "check teacher.data")
    return DataFile(path.read_text(encoding="utf-8", errors="replace"), path.name, style)
