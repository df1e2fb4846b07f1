"""QM9 (Ramakrishnan, Dral, Rupp, von Lilienfeld, Sci. Data 1, 140022, 2014), B3LYP/6-31G(2df,p), as labelled frames.

    python -m tlmd.frames.qm9 OUT      writes OUT/qm9.extxyz.xz and OUT/isolated_atoms.extxyz, downloads into OUT/raw

The three published files are fetched from figshare (an interrupted download goes on), or taken from OUT/raw if they lie
there. Molecules that the authors list as uncharacterised are left out: 130 831 of 133 885 remain.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import typer
from ase.data import atomic_numbers

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_HARTREE

URL = "https://ndownloader.figshare.com/files"
# Columns of a molecule's second line and their units, in the order of the readme of the data set.
PROPERTIES = (
    "A_GHz", "B_GHz", "C_GHz", "dipole_D", "polarisability_bohr3", "homo_eV", "lumo_eV", "gap_eV", "r2_bohr2",
    "zpve_eV", "U0_eV", "U298_eV", "H298_eV", "G298_eV", "cv_cal_mol_K",
)  # fmt: skip
_WRITTEN = ("dipole_D", "polarisability_bohr3", "homo_eV", "lumo_eV", "zpve_eV", "U298_eV", "H298_eV", "G298_eV")
_SMILES = re.compile(r"[HCNOFcno0-9()\[\]=#+@/\\.-]+")
_CHUNK = 1 << 20


class Source(NamedTuple):
    """A published file: its number at figshare, name, size in bytes and MD5."""

    number: int
    name: str
    size: int
    md5: str


ARCHIVE = Source(3195389, "dsgdb9nsd.xyz.tar.bz2", 86144227, "ad1ebd51ee7f5b3a6e32e974e5d54012")
ATOMS = Source(3195395, "atomref.txt", 964, "2d30b2df8329d8fd805c0a4d158a0a0f")
COUNTS = (133885, 3054)  # molecules in all, uncharacterised ones
UNCHARACTERISED = Source(3195404, "uncharacterized.txt", 486752, "a361887bacb427b8a0ce7903d92a53b4")


def download(source: Source, folder: Path, url: str = URL) -> Path:
    """The file `source` in `folder`, fetched unless it is there; a part left by a killed download is continued.

    Raises InputError without a connection, and for a file of another size or MD5.
    """
    path = folder / source.name
    if not path.is_file():
        part = path.with_name(path.name + ".part")
        try:
            _fetch(f"{url}/{source.number}", part, source.size)
        except (URLError, TimeoutError, ConnectionError) as error:
            raise InputError(
                f"no answer from {url}/{source.number} ({getattr(error, 'reason', error)})",
                "a network connection",
                f"connect and run again, or put {source.name} into {folder} by hand",
            ) from None
        _check(source, part)
        part.replace(path)
    _check(source, path)
    return path


def _fetch(address: str, part: Path, size: int) -> None:
    """Append to `part` what it lacks of `size` bytes; start again where the server cannot send a part."""
    done = part.stat().st_size if part.is_file() else 0
    if done == size:
        return
    request = Request(
        address, headers={"User-Agent": "tlmd"} | ({"Range": f"bytes={done}-"} if 0 < done < size else {})
    )
    with urlopen(request, timeout=60) as answer, part.open("ab" if answer.status == 206 else "wb") as file:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)


def _check(source: Source, path: Path) -> None:
    """InputError for a wrong file; a wrong but whole .part is deleted, a short one kept."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    size = path.stat().st_size
    if (size, found) == (source.size, source.md5):
        return
    do = "delete it and run again"
    if path.suffix == ".part":
        do = "run again"
        if size >= source.size:
            path.unlink()
    raise InputError(f"{path} of {size} bytes, MD5 {found}", f"{source.size} bytes, MD5 {source.md5}", do)


def parse_molecule(text: str) -> Frame:
    """One molecule of the data set: energy is U0 in eV (electronic and zero-point energy at 0 K).

    info: name (gdb N), smiles and inchi of the relaxed geometry, and further properties under names with units.
    Lines: number of atoms; properties; element, x, y, z (A), Mulliken charge; frequencies; SMILES; InChI. Numbers may
    have the form 1.2*^-6. Raises ValueError where the text is not such a molecule.
    """
    lines = text.replace("*^", "e").splitlines()
    count = int(lines[0])
    tag, index, *values = lines[1].split()
    rows = [line.split() for line in lines[2 : 2 + count]]
    if tag != "gdb" or len(values) != len(PROPERTIES) or len(lines) < count + 5 or any(len(row) != 5 for row in rows):
        raise ValueError("not a molecule of QM9")
    factors = [EV_PER_HARTREE if name.endswith("_eV") else 1.0 for name in PROPERTIES]
    found = {name: float(v) * factor for name, v, factor in zip(PROPERTIES, values, factors, strict=True)}
    smiles, inchi = (lines[count + 3 + i].split()[-1] for i in range(2))
    return Frame(
        np.array([atomic_numbers[row[0]] for row in rows]),
        np.array([[float(x) for x in row[1:4]] for row in rows]),
        energy=found["U0_eV"],
        info={"name": f"gdb{index}", "smiles": smiles, "inchi": inchi} | {name: found[name] for name in _WRITTEN},
    )


def parse_uncharacterised(text: str) -> set[int]:
    """The numbers of the molecules in uncharacterized.txt: the rows that begin with a number and a SMILES."""
    rows = (line.split() for line in text.splitlines())
    return {int(row[0]) for row in rows if len(row) > 1 and row[0].isdigit() and _SMILES.fullmatch(row[1])}


def parse_atoms(text: str) -> dict[str, float]:
    """Energies of isolated atoms at 0 K in eV, by element, from atomref.txt (element, ZPVE, U0, U, H, G, cv)."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: float(row[2]) * EV_PER_HARTREE for row in rows if len(row) == 7 and row[0] in atomic_numbers}


def molecules(archive: Path) -> Iterator[tuple[int, Frame]]:
    """Number and frame of each molecule of the archive, in its order. InputError names the file that cannot be read."""
    with tarfile.open(archive, "r:bz2") as tar:
        for member in tar:
            if not member.isfile() or not member.name.endswith(".xyz"):
                continue
            try:
                frame = parse_molecule(tar.extractfile(member).read().decode())
            except (ValueError, IndexError, KeyError) as error:
                raise InputError(
                    f"{archive.name}, {member.name}: {error}", "a molecule of QM9", "download it again"
                ) from None
            yield int(frame.info["name"].removeprefix("gdb")), frame


def load(
    out: Path,
    url: str = URL,
    sources: tuple[Source, Source, Source] = (ARCHIVE, ATOMS, UNCHARACTERISED),
    counts: tuple[int, int] = COUNTS,
) -> Path:
    """Write qm9.extxyz.xz (total energies U0) and isolated_atoms.extxyz into `out`, return the first.

    Raises InputError unless the molecules, and the uncharacterised ones among them, are as many as `counts` says.
    For training: references.method = "isolated_atoms", references.file = "isolated_atoms.extxyz".
    """
    raw = out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    archive, atoms, bad = (download(source, raw, url) for source in sources)
    energies = parse_atoms(atoms.read_text(encoding="utf-8"))
    isolated = [Frame(np.array([atomic_numbers[e]]), np.zeros((1, 3)), energy=value) for e, value in energies.items()]
    write_frames(out / "isolated_atoms.extxyz", isolated)
    dropped = parse_uncharacterised(bad.read_text(encoding="utf-8"))

    def good() -> Iterator[Frame]:
        seen: set[int] = set()
        for number, frame in molecules(archive):
            seen.add(number)
            if number not in dropped:
                yield frame
        found = (len(seen), len(seen & dropped))
        if found != counts:
            got = f"{found[0]} molecules with {found[1]} uncharacterised ones in {raw}"
            raise InputError(got, f"{counts[0]} and {counts[1]}", "delete that folder and run again")

    write_frames(out / "qm9.extxyz.xz", good())
    print(f"{counts[0] - counts[1]} molecules of {counts[0]} -> {out / 'qm9.extxyz.xz'}")
    return out / "qm9.extxyz.xz"


def main(
    out: Annotated[Path, typer.Argument(help="folder to write")],
    url: Annotated[str, typer.Option(help="where the files lie, each under its number")] = URL,
) -> None:
    """Download QM9 and write it as extxyz."""
    load(out, url)


if __name__ == "__main__":
    from tlmd.run.command import entry

    entry(main)()
