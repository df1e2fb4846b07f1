"""tl-init: one command for each kind of project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer

from tlmd.run.command import Application
from tlmd.run.errors import InputError
from tlmd.start import projects
from tlmd.start.levels import Labels

app = Application(add_completion=False, help="A folder with commented TOMLs, data files and a README.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="folder to write; new or empty")]
Smiles = Annotated[
    Optional[list[str]],
    typer.Option(help="a molecule or ion, with :N its number, e.g. CCO:20; repeat it, or several in one, with spaces"),
]
Molecules = Annotated[Optional[list[str]], typer.Option("--smiles", help="a molecule; repeat it for several")]
By = Annotated[Labels, typer.Option(help="what labels frames in label.toml: GFN-xTB in place of DFT, CP2K, PySCF")]
Frames = Annotated[int, typer.Option(min=2, max=100_000, help="frames to be labelled")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="of all random choices")]


@app.callback()
def main() -> None:
    """A folder with commented TOMLs, data files and a README for a liquid, a molecule, a surface or frames."""


@app.command()
def liquid(
    folder: Folder,
    smiles: Smiles = None,
    molecules: Annotated[int, typer.Option(min=2, max=100_000, help="number, for one SMILES without :N")] = 32,
    density: Annotated[
        Optional[float],
        typer.Option(min=1e-3, max=30, help="g/cm3, about that of the liquid; absent: a guess by formula"),
    ] = None,
    data: Annotated[Optional[Path], typer.Option(help="LAMMPS data file of the liquid, in place of --smiles")] = None,
    include: Annotated[Optional[Path], typer.Option(help="LAMMPS include with its force field")] = None,
    labels: By = "xtb",
    frames: Frames = 40,
    seed: Seed = 1,
) -> None:
    """A liquid, mixture or solution: force field (MMFF94) and box from SMILES, or LAMMPS files of your own."""
    if (data is None) != (include is None) or (data is None) == (not smiles):
        given = [name for name, value in {"smiles": smiles, "data": data, "include": include}.items() if value]
        got = f"--{' and --'.join(given)}" if given else "no molecules"
        raise InputError(got, "--smiles, or --data and --include", "give these")
    if data is not None and include is not None:
        words = ["--data", str(data), "--include", str(include)]
        projects.liquid_of_files(folder, data, include, choices("liquid", folder, words, labels, frames, seed))
    else:
        found = counted(smiles or [], molecules)
        words = [word for one, count in found for word in ("--smiles", f"{one}:{count}")]
        words += [] if density is None else ["--density", f"{density:g}"]
        projects.liquid(folder, found, density, choices("liquid", folder, words, labels, frames, seed))
    written(folder)


@app.command()
def molecule(folder: Folder, smiles: Molecules = None, labels: By = "xtb", frames: Frames = 40, seed: Seed = 1) -> None:
    """Single molecules by SMILES, cheap labels by MMFF94."""
    found = [word for one in smiles or [] for word in one.split()]
    if not found:
        raise InputError("no molecule", "--smiles", "give one")
    words = [word for one in found for word in ("--smiles", one)]
    projects.single(folder, found, choices("molecule", folder, words, labels, frames, seed))
    written(folder)


@app.command()
def surface(
    folder: Folder,
    slab: Annotated[Path, typer.Argument(help="a slab in a periodic cell, normal z, with its adsorbate; ASE reads it")],
    adsorbate: Annotated[Optional[list[str]], typer.Option(help="element of the adsorbate; repeat it")] = None,
    labels: By = "xtb",
    frames: Frames = 40,
    seed: Seed = 1,
) -> None:
    """A surface with an adsorbate; cheap labels by COMB3 (Cu with C, H, O) or GFN1-xTB."""
    found = [word for one in adsorbate or [] for word in one.split()]
    words = [str(slab), *(word for one in found for word in ("--adsorbate", one))]
    projects.surface(folder, slab, found, choices("surface", folder, words, labels, frames, seed))
    written(folder)


@app.command()
def file(
    folder: Folder,
    frames: Annotated[Path, typer.Argument(help="labelled frames: extxyz (.gz, .xz) or an ASE database")],
    elements: Annotated[Optional[str], typer.Option(help='order of the types in the data file, e.g. "O H"')] = None,
    level: Annotated[str, typer.Option(help="level of theory of the labels, for the model card")] = "DFT",
    seed: Seed = 1,
) -> None:
    """Frames that have DFT labels already; cheap labels by GFN1-xTB around them."""
    words = [str(frames), *(["--elements", elements] if elements else [])]
    words += ["--level", level] if level != "DFT" else []
    projects.labelled(folder, frames, (elements or "").split(), level, choices("file", folder, words, "xtb", 40, seed))
    written(folder)


def choices(kind: str, folder: Path, words: list[str], labels: Labels, frames: int, seed: int) -> projects.Choices:
    """The common choices, with the command as the README tells it."""
    more = ["--labels", labels] if labels != "xtb" else []
    more += (["--frames", str(frames)] if frames != 40 else []) + (["--seed", str(seed)] if seed != 1 else [])
    command = shlex.join(["tl-init", kind, str(folder), *words, *more])
    return projects.Choices(command, labels, frames, seed)


def counted(smiles: list[str], molecules: int) -> list[tuple[str, int]]:
    """SMILES and counts of words such as CCO:20; a single one may be without. Raises InputError for what is neither."""
    found: dict[str, int] = {}
    words = [word for one in smiles for word in one.split()]
    for word in words:
        one, count = re.fullmatch(r"(.+?)(?::(\d+))?", word, re.S).groups()
        if (count is None and len(words) > 1) or count == "0" or one in found:
            raise InputError(f"--smiles {word}", "each SMILES once, with a number, e.g. CCO:20", "correct it")
        found[one] = int(count or molecules)
    return list(found.items())


def written(folder: Path) -> None:
    """Say what to do next."""
    print(f"wrote {folder}; the commands in order are in {folder / 'README.md'}")
