"""A LAMMPS include that defines a force field for a data file: what it says of itself, and its text as it is run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tlmd.run.errors import InputError, nearest
from tlmd.units import LAMMPS_UNITS

NESTED = re.compile(r"^\s*include\s+(\S+)\s*$", re.M)
CONSTRAINTS = r"^\s*fix\s+\S+\s+\S+\s+(shake|rattle|rigid\S*)\b"
EQUILIBRATED = r"^\s*fix\s+\S+\s+\S+\s+(qeq\S*|acks2/\S+|qtpie/\S+)"


class Include:
    """The include at `path`, with what it includes itself in its place.

    units; atom_style; kspace: the name of its kspace style or empty; charges: whether a fix equilibrates them; named:
    the files in its folder that it names. Raises InputError where it is no force field of a data file.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise InputError(f"no file {path}", "LAMMPS commands", "check teacher.include")
        self.path = path
        self.text = _whole(path, path.parent, 0).replace("&\n", " ")
        words = dict.fromkeys(word.strip("\"'") for word in self.text.split())
        inside = (word for word in words if not Path(word).is_absolute() and ".." not in Path(word).parts)
        self.named = {word: path.parent / word for word in inside if (path.parent / word).is_file()}
        self.units = self._word("units") or "lj"
        self.atom_style = self._word("atom_style")
        self.kspace = self._word("kspace_style", anywhere=True) or ""
        self.charges = bool(re.search(EQUILIBRATED, self.text, re.M))
        if self.units not in LAMMPS_UNITS:
            raise InputError(f"{path} in units {self.units}", f"units {' or '.join(LAMMPS_UNITS)}", "convert it")
        if not re.search(r"^\s*read_data\s+[\"']?\$\{?data", self.text, re.M):
            raise InputError(f"{path} without `read_data ${{data}}`", "a line that reads the data file so", "add it")
        if found := re.search(CONSTRAINTS, self.text, re.M):
            raise InputError(
                f"{path} with fix {found[1]}", "flexible molecules: constraints have no labels", "remove it"
            )

    @property
    def evaluations(self) -> int:
        """How often a frame is evaluated: charges may be equilibrated after the forces."""
        return 2 if self.charges else 1

    def require(self, variables: Iterable[str], key: str) -> None:
        """InputError unless the include has these variables."""
        known = re.findall(r"^\s*variable\s+(\w+)\s+index\s", self.text, re.M)
        for name in variables:
            if name not in known or name == "data":
                got = f"{key}.{name}{nearest(name, known)}"
                raise InputError(got, f"a line `variable {name} index ...` in {self.path}", "correct it")

    def commands(self, free: bool) -> str:
        """The text to be run; the frame decides about the boundary. Free atoms are few: Ewald's sum instead of a mesh,
        no correction for what lies beyond a cutoff in a box that is filled."""
        text = re.sub(r"^\s*boundary\s.*$", "", self.text, flags=re.M)
        if not free:
            return text
        text = re.sub(r"\bkspace_style(\s+)pppm(?:/cg)?(?=\s)", r"kspace_style\1ewald", text)
        return text + "\npair_modify tail no\n"

    def _word(self, command: str, anywhere: bool = False) -> str | None:
        """What follows a command, the last time."""
        start = r"(?:^\s*|[\"'])" if anywhere else r"^\s*"
        found = re.findall(rf"{start}{command}\s+([\w/]+)", self.text, re.M)
        return None if not found or found[-1] == "none" else found[-1]


def _whole(path: Path, folder: Path, depth: int) -> str:
    """A file's text with included files in place, the commands that included them as comments."""
    text = path.read_text(encoding="utf-8", errors="replace")

    def inner(found: re.Match) -> str:
        file = folder / found[1]
        if not file.is_file() or depth == 10:
            return found[0]
        return f"# {found[0].strip()}\n{_whole(file, folder, depth + 1)}"

    return NESTED.sub(inner, text)
