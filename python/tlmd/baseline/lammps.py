"""The baseline by LAMMPS: the commands of an include file, pair styles and, if need be, a kspace style."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field

from tlmd.baseline.interfaces import Baseline, Values
from tlmd.lammps_serial import SerialLammps, Stopped, beside, lower_triangular
from tlmd.run.config import ConfigPath, Section
from tlmd.run.errors import InputError

LARGEST = 5_000_000  # bytes of the include and what it names: they go into every model file


class LammpsBaselineConfig(Section):
    """The baseline that a LAMMPS include defines: ZBL, r^-6 by pairs of elements, charges with pppm, ... LAMMPS input
    can run other programs: such a file, and a model with it, is code.
    """

    kind: Literal["lammps"]
    include: ConfigPath = Field(
        description="commands after the atoms are there: pair_style, pair_coeff, kspace_style, `set type 1 charge q`"
    )
    elements: list[str] = Field(min_length=1, description="of the atom types 1, 2, ... in the include")
    units: Literal["metal", "real"] = Field("metal", description="LAMMPS' units of the include")

    def files(self) -> dict[str, Path]:
        """The include, and whatever beside it is named in it."""
        return {"include": self.include} | {f"include/{name}": path for name, path in beside(self.include).items()}

    def described(self) -> dict[str, Any]:
        """For the card: with the texts themselves, and the pair styles (see D3Config.described). InputError for an
        element that is none, or too large files."""
        if strange := [element for element in self.elements if element not in chemical_symbols[1:]]:
            raise InputError(f"baseline.elements with {strange[0]}", "symbols of elements", "correct it")
        if not self.include.is_file():
            raise InputError(f"no file {self.include}", "LAMMPS commands", "check baseline.include")
        content = {self.include.name: self.include, **beside(self.include)}
        if sum(path.stat().st_size for path in content.values()) > LARGEST:
            got = f"{self.include} with {', '.join(content)} of more than {LARGEST} bytes"
            raise InputError(got, "less, for the model's card", "take smaller tables")
        files = {name: path.read_text(encoding="utf-8", errors="replace") for name, path in content.items()}
        hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
        settings = {"kind": self.kind, "units": self.units, "elements": list(self.elements)}
        settings["styles"] = styles_of(files[self.include.name])
        return settings | {"include": self.include.name, "files": files, "sha256": hashes}


class LammpsBaseline(Baseline):
    """An include run by a serial LAMMPS, anew for every frame. The commands may read the variable `periodic`, yes or no
    (no pppm for free molecules)."""

    def __init__(self, described: dict[str, Any]):
        self.described, self.elements = described, list(described["elements"])
        self.text, self.name = described["files"][described["include"]], f"lammps ({described['include']})"
        self._named = {Path(name).name: text for name, text in described["files"].items()}
        self._lammps = SerialLammps(described["units"])

    def close(self) -> None:
        self._lammps.close()

    def _values(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, periodic: bool) -> Values:
        if strange := sorted({chemical_symbols[number] for number in numbers} - set(self.elements)):
            known = ", ".join(self.elements)
            do = "add it to baseline.elements and to the include"
            raise InputError(f"{', '.join(strange)} with the baseline {self.name}", f"only {known}", do)
        lower, turn = lower_triangular(cell) if periodic else (cell, np.eye(3))
        setting = f"variable periodic delete\nvariable periodic index {'yes' if periodic else 'no'}"
        try:
            self._lammps.place(numbers, positions @ turn, lower, periodic, self.elements)
            with tempfile.TemporaryDirectory() as folder:
                for name, text in self._named.items():
                    (Path(folder) / name).write_text(text, encoding="utf-8")
                self._lammps.commands(f"{setting}\n{self.text}\nthermo_modify norm no", folder)
            energy, forces, stress = self._lammps.labels(periodic)
        except Stopped as error:
            got = f"the baseline {self.name}: {error.parts[0]}"
            raise InputError(got, "commands that evaluate these atoms", "correct the include") from None
        return Values(energy, forces @ turn.T, None if stress is None else turn @ stress @ turn.T)

    def lines(self, style: str, model: str, elements: Sequence[str]) -> list[str]:
        types = " ".join(element if element in elements else "NULL" for element in self.elements)
        return overlaid(self.text, style, f"{model} {types}")


def commands(include: str) -> list[list[str]]:
    """The words of each command of an include in a periodic box, without comments: `if "${periodic} == yes" then ...`
    is followed."""
    found = []
    for line in include.replace("&\n", " ").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["if"] and "${periodic}" in line:
            found += [command.split() for command in branch(shlex.split(line, comments=True))]
        elif words:
            found.append(words)
    return found


def branch(words: list[str]) -> list[str]:
    """The commands that `if CONDITION then COMMANDS else COMMANDS` runs in a periodic box."""
    left, _, right = words[1].replace("${periodic}", "yes").partition(" == ")
    middle = words.index("else") if "else" in words else len(words)
    return words[3:middle] if left == right else words[middle + 1 :]


def styles_of(include: str) -> list[str]:
    """The names of its pair styles; those of hybrid ones stand in pair_coeff."""
    found = []
    for words in commands(include):
        if words[0] == "pair_style" and len(words) > 1 and not words[1].startswith("hybrid"):
            found.append(words[1])
        elif words[0] == "pair_coeff" and len(words) > 3 and words[3][0].isalpha():
            found.append(words[3])
    return list(dict.fromkeys(found))


def overlaid(include: str, style: str, model: str) -> list[str]:
    """The commands of an include with its pair styles and `style` as styles of hybrid/overlay; model: what follows in
    pair_coeff of the latter."""
    found, own = [], ""
    for words in commands(include):
        if words[0] == "pair_style" and len(words) > 1:
            hybrid = words[1].startswith("hybrid")
            own = "" if hybrid else words[1]
            found.append(" ".join(["pair_style hybrid/overlay", style, *words[2 if hybrid else 1 :]]))
            found.append(f"pair_coeff * * {style} {model}")
        elif words[0] == "pair_coeff" and own:
            found.append(" ".join([*words[:3], own, *words[3:]]))
        else:
            found.append(" ".join(words))
    return found
