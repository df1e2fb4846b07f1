"""The force field that tl-calibrate was given: its styles and coefficients in LAMMPS, and commands to change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlmd.calibrate.config import FieldConfig
from tlmd.run.errors import InputError

KINDS = ("bond", "angle", "pair")
TABULATED = 8000  # values of pair_style table between which LAMMPS interpolates
DECIMALS = "{:.12g}"

Numbers = dict[str, list[float]]  # of a type, by part: "" for its first line, bb, ba


class Given:
    """teacher: it labels with the force field; energy_eV: LAMMPS' unit of energy; charges (e) by atom type, NaN where
    atoms of a type differ, none without charges; styles: the words of bond_style, angle_style and pair_style.

    Raises InputError where LAMMPS cannot run the force field or nothing in it is bonded.
    """

    def __init__(self, config: FieldConfig):
        self.teacher = config.teacher()
        if not self.teacher.species:
            self.close()
            raise InputError(f"{config.data} without bonds", "molecules", "give a data file of bonded molecules")
        self.energy_eV = self.teacher.units["energy_eV"]
        echoed, written, self.charges = self.teacher.echo()
        lines = [words for line in echoed.splitlines() if (words := line.split("#")[0].split()) and "$" not in line]
        self.styles: dict[str, list[str]] = {}
        self._lines: dict[str, dict[tuple[str, ...], list[list[str]]]] = {}  # words of coefficients by type or pair
        for kind in KINDS:
            begin = max((k for k, words in enumerate(lines) if words[0] == f"{kind}_style"), default=None)
            if begin is None:
                continue
            self.styles[kind], self._lines[kind] = lines[begin][1:], {}
            for words in (*map(str.split, written.splitlines()), *lines[begin:]):  # the latter have more digits
                if words and words[0] == f"{kind}_coeff":
                    self._set(kind, words[1:])
            if kind == "pair":
                self._special = self._weights([words[1:] for words in lines if words[0] == "special_bonds"])
                self._modifiers = [" ".join(words) for words in lines[begin:] if words[0] == "pair_modify"]

    def close(self) -> None:
        """End its LAMMPS."""
        self.teacher.close()

    def hybrid(self, kind: str) -> bool:
        """Whether a style is a hybrid one."""
        return self.styles[kind][0].startswith("hybrid")

    def style_of(self, kind: str, key: str) -> tuple[str, Numbers]:
        """The style of a bond or angle type, and its numbers. InputError if they are not known."""
        lines = self._lines.get(kind, {}).get((key,))
        if not lines:
            got = f"no {kind}_coeff {key} in {self.teacher.include.path.name}"
            raise InputError(got, "coefficients of every type by its number", "write them into the include")
        hybrid = self.hybrid(kind)
        rest = [line[1:] if hybrid else line for line in lines]
        parts = {words[0] if words and not _number(words[0]) else "": words for words in rest}
        numbers = {name: [float(word) for word in words if _number(word)] for name, words in parts.items()}
        return lines[0][0] if hybrid else self.styles[kind][0], numbers

    def bonded_commands(self, kind: str, new: Mapping[str, Numbers]) -> list[str]:
        """Commands that give types of bonds or angles the style class2 with these numbers, in LAMMPS' units, and every
        other type what it has."""
        style, name = ["class2"], ""
        if self.hybrid(kind):
            style, name = [*self.styles[kind], *(["class2"] if "class2" not in self.styles[kind] else [])], "class2 "
        found = [f"{kind}_style {' '.join(style)}"]
        for (key,), lines in self._lines[kind].items():
            if key not in new:
                if self.styles[kind][0] == "harmonic":  # an angle that stays, now by class2
                    lines = [[*reversed(lines[0]), "0", "0"], ["bb", "0", "0", "0"], ["ba", "0", "0", "0", "0"]]
                found += [f"{kind}_coeff {key} {' '.join(line)}" for line in lines]
                continue
            for part, values in new[key].items():
                words = " ".join(map(DECIMALS.format, values))
                found.append(f"{kind}_coeff {key} {name}{f'{part} ' if part else ''}{words}")
        return found

    def pair_commands(self, tables: Mapping[tuple[int, int], str], file: str, cutoff: float) -> list[str]:
        """Commands that add tables, sections of a file by pair of types, to the pair style; they act between molecules
        and between atoms four and more bonds apart."""
        style, hybrid = self.styles["pair"], self.hybrid("pair")
        words = " ".join(style[1:] if hybrid else style)
        found = [f"variable table index {file}", f"pair_style hybrid/overlay {words} table spline {TABULATED}"]
        found += [*self._modifiers, *self._special, "pair_modify pair table special lj/coul 0 0 0"]
        name = "" if hybrid else f"{style[0]} "
        for (i, j), lines in self._lines["pair"].items():
            found += [f"pair_coeff {i} {j} {name}{' '.join(line)}" for line in lines]
        return found + [f"pair_coeff {i} {j} table ${{table}} {key} {cutoff:g}" for (i, j), key in tables.items()]

    def _weights(self, lines: list[list[str]]) -> list[str]:
        """A command special_bonds with weights of one less 1e-10: of one, LAMMPS allows no other of a sub-style."""
        found = {name: self.teacher.weights(name) for name in ("lj", "coul")}
        if not any(1.0 in each for each in found.values()):
            return []
        text = [" ".join([name, *(DECIMALS.format(min(x, 1 - 1e-10)) for x in each)]) for name, each in found.items()]
        return [" ".join(["special_bonds", *(lines[-1] if lines else []), *text])]

    def require_pairs(self) -> None:
        """InputError for a pair style to which tables cannot be added: one that has tables, or whose coefficients are
        not all known by pair."""
        style, kinds = self.styles["pair"], range(1, self.teacher.setting("ntypes") + 1)
        missing = [f"{i} {j}" for j in kinds for i in kinds if i <= j and (str(i), str(j)) not in self._lines["pair"]]
        if missing or "table" in style:
            got = f"pair_style {style[0]} " + (f"without pair_coeff {missing[0]}" if missing else "with tables")
            wanted = "a pair style with coefficients for each pair, and no table"
            raise InputError(got, wanted, "give them in the include, or take pairs out of field.correct")

    def _set(self, kind: str, words: Sequence[str]) -> None:
        """Take in what follows bond_coeff, angle_coeff or pair_coeff, in place of an earlier line of the same part."""
        depth = 2 if kind == "pair" else 1
        rest, hybrid = list(words[depth:]), self.hybrid(kind)

        def part(line: list[str]) -> tuple[str, ...]:
            if kind == "pair":
                return tuple(line[:1]) if self.styles[kind][0] == "hybrid/overlay" else ()
            return tuple(word for word in line[: 1 + hybrid] if not _number(word))

        for key in self._spread(kind, words[:depth]):
            mine = self._lines[kind].setdefault(key, [])
            mine[:] = [*(line for line in mine if part(line) != part(rest)), rest]

    def _spread(self, kind: str, words: Sequence[str]) -> list[tuple[str, ...]]:
        """The types, or pairs of types i <= j, that words such as 2, * and 1*3 name."""
        count = self.teacher.setting("ntypes" if kind == "pair" else f"n{kind}types")
        found = []
        for word in words:
            low, star, high = word.partition("*")
            found.append([str(k) for k in range(int(low or 1), int(high or count) + 1)] if star else [word])
        if kind != "pair":
            return [(key,) for key in found[0]]
        both = [(i, j) for i in found[0] for j in found[1]]
        if all(word.isdigit() for pair in both for word in pair):
            either = len(both) == 1
            both = [(i, j) if int(i) <= int(j) else (j, i) for i, j in both if either or int(i) <= int(j)]
        return both


def _number(word: str) -> bool:
    """Whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
