"""What tl-init writes for a liquid, a molecule, a surface and for frames with DFT labels."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from ase.io import read
from ase.io.formats import UnknownFileTypeError

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.lammps_data import write_data
from tlmd.frames.read import read_frames
from tlmd.lammps_serial import beside
from tlmd.run.errors import InputError
from tlmd.run.installed import water_inputs
from tlmd.start.boxes import pack, relax
from tlmd.start.density import guessed_density
from tlmd.start.folder import filled, new_folder, require_new
from tlmd.start.forcefield import from_smiles
from tlmd.start.levels import MMFF94, XTB, Labels, calculators, level, surface_teacher
from tlmd.start.smiles import molecule
from tlmd.units import density_g_cm3

DATA, INCLUDE, ATOMS, SLAB = "system.data", "forcefield.in", "atoms.data", "slab.extxyz"
ROLES = {
    DATA: "LAMMPS data file of the force field (atom_style full)",
    INCLUDE: "the force field, a LAMMPS include in units real",
    "box.extxyz": "the same box as extxyz",
    ATOMS: "LAMMPS data file for the model (atom_style atomic), types {elements}",
    SLAB: "the surface that you gave",
    "teacher.toml": "tl-generate: cheap labels",
    "pretrain.toml": "tl-pretrain",
    "candidates.toml": "tl-generate: frames to choose from",
    "select.toml": "tl-select",
    "label.toml": "tl-label: {level}; others as comments",
    "finetune.toml": "tl-finetune",
    "learn.toml": "tl-learn: rounds in place of the three before",
    "density.in": "LAMMPS: density at constant temperature and pressure",
    "diffusion.in": "LAMMPS: self-diffusion and structure",
    "run.in": "LAMMPS: NVT",
}
STAGES = ("pretrain", "candidates", "select", "label", "finetune", "learn")
# Densities of frames in units of that of the box, where it is given and where it is a guess
RANGES = {"ambient_low": 0.92, "ambient_high": 1.08, "wide_low": 0.7, "wide_high": 1.2}
GUESSED = RANGES | {"ambient_low": 0.82, "ambient_high": 1.12, "wide_low": 0.65}
DECKS = ("density.in", "diffusion.in")
FIRST = {"density.in": {"steps": 100_000}}  # a first look; -var steps 400000 for more
ACCURACY = """variables = {accuracy = 1e-6}  # of pppm for labels: at 1e-4 they depend on the last digits of a box
sampling = {accuracy = 1e-3}   # for trajectories, which only propose frames
"""
STATE = """[states.{name}]
frames = "candidates/frames.extxyz.xz"  # run k starts from frame k
ensemble = "{ensemble}"
temperature_K = {temperature}
ps = {ps}
"""
STATES = {  # name, ensemble, K, ps, by the template of the frames
    "liquid": (("ambient", "npt", 298, 50.0), ("hot", "nvt", 400, 20.0)),
    "molecule": (("ambient", "nvt", 300, 20.0), ("hot", "nvt", 600, 20.0)),
    "frames": (("ambient", "nvt", 300, 20.0), ("hot", "nvt", 500, 20.0)),
}
TARGET_ATOMS = 1000  # of a batch of pretraining, roughly


@dataclass(frozen=True)
class Choices:
    """What all kinds have in common. command: as it was given, for the README."""

    command: str
    labels: Labels = "xtb"
    n_labels: int = 40
    seed: int = 1


def liquid(folder: Path, molecules: Sequence[tuple[str, int]], given: float | None, choices: Choices) -> None:
    """A liquid by SMILES and counts at a density (g/cm3; None: by its formula); its force field is MMFF94."""
    require_new(folder)
    field = from_smiles([smiles for smiles, _ in molecules])
    density = given or guessed_density(molecules)
    box = relax(pack(field, [count for _, count in molecules], density, choices.seed))
    what = f"A liquid of {', '.join(f'{n} {smiles}' for smiles, n in molecules)} at {density:.3g} g/cm3"
    what += "" if given else ", a guess by the formula, right within some 15 % (Girolami 1994)"
    with new_folder(folder) as target:
        (target / DATA).write_text(box.data(), encoding="utf-8")
        (target / INCLUDE).write_text(field.include(), encoding="utf-8")
        write_frames(target / "box.extxyz", [box.frame()])
        values = {"what": what, "cheap_level": "MMFF94, 12-6"}
        _liquid_files(target, folder, box.frame(), sum(box.counts), values, choices, RANGES if given else GUESSED)


def liquid_of_files(folder: Path, data: Path, include: Path, choices: Choices) -> None:
    """A liquid by a LAMMPS data file and an include with its force field."""
    require_new(folder)
    if not include.is_file():
        raise InputError(f"no file {include}", "LAMMPS commands", "check --include")
    frame, count = box_of_data(data)
    density = density_g_cm3(frame.atoms().get_masses().sum(), abs(np.linalg.det(frame.cell)))
    what = f"The liquid of {data.name}, {count} molecules at {density:.3g} g/cm3, with the force field {include.name}"
    with new_folder(folder) as target:
        shutil.copyfile(data, target / DATA)
        shutil.copyfile(include, target / INCLUDE)
        for name, path in beside(include).items():
            if path.resolve() not in (data.resolve(), include.resolve()):
                shutil.copyfile(path, target / name)
        _liquid_files(target, folder, frame, count, {"what": what, "cheap_level": "classical"}, choices)


def box_of_data(data: Path) -> tuple[Frame, int]:
    """The frame of a LAMMPS data file and the number of its molecules. Raises InputError for one without molecules."""
    if not data.is_file():
        raise InputError(f"no file {data}", "a LAMMPS data file", "check --data")
    try:
        atoms = read(data, format="lammps-data")
    except Exception as error:  # ASE's readers raise what their parsing meets
        got = f"{data}, which ASE does not read ({error})"
        raise InputError(got, "a LAMMPS data file with Masses and `Atoms # full`", "write it anew") from None
    molecules = len(set(atoms.arrays.get("mol-id", [])))
    if molecules < 2:
        raise InputError(f"{data} without molecules", "molecule ids (atom_style full)", "use tl-init file for others")
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, np.ones(3, dtype=bool)), molecules


def _liquid_files(
    target: Path, folder: Path, frame: Frame, count: int, values: dict, choices: Choices, ranges: dict = RANGES
) -> None:
    density = float(density_g_cm3(frame.atoms().get_masses().sum(), abs(np.linalg.det(frame.cell))))
    meshed = re.search(
        r"^\s*variable\s+accuracy\s+index\s", (target / INCLUDE).read_text(encoding="utf-8"), re.MULTILINE
    )
    values = values | {"accuracy": ACCURACY if meshed else ""}
    values |= {name: f"{part * density:.3g}" for name, part in ranges.items()}
    values |= {
        "molecules": count,
        "fewer": max(2, count // 2),
        "n_candidates": 4 * choices.n_labels,
        "pretrain_steps": 12_000,
    }
    write_atoms(target / ATOMS, frame)
    write_decks(target, elements_of(frame))
    _stages(target, folder, "liquid", "liquid", frame, values, choices)


def single(folder: Path, smiles: Sequence[str], choices: Choices) -> None:
    """Molecules by SMILES, each by itself."""
    require_new(folder)
    graphs = [molecule(one) for one in smiles]
    from_smiles(smiles)  # MMFF94 has its parameters
    largest = max(graphs, key=lambda graph: graph.GetNumAtoms())
    numbers = np.array([atom.GetAtomicNum() for atom in largest.GetAtoms()])
    frame = Frame(numbers, np.zeros((len(numbers), 3)))
    name, lines = MMFF94
    values = {
        "what": f"{'A molecule' if len(smiles) == 1 else 'Molecules'}: {', '.join(smiles)}",
        "cheap_level": name,
        "teacher": lines.format("mmff94" if len(smiles) == 1 else "bonds"),
        "molecules": f"smiles = {json.dumps(list(smiles))}",
        "n_candidates": 20 * choices.n_labels,
    }
    with new_folder(folder) as target:
        _stages(target, folder, "molecule", "molecule", frame, values, choices)


def surface(folder: Path, slab: Path, adsorbate: Sequence[str], choices: Choices) -> None:
    """A periodic slab, normal z, with an adsorbate of these elements."""
    require_new(folder)
    frame = first_frame(slab)
    if abs(np.linalg.det(frame.cell)) < 1e-6:
        raise InputError(f"{slab} without a cell", "a slab in a cell with vacuum along z", 'add Lattice="..." to it')
    known = elements_of(frame)
    if unknown := [element for element in adsorbate if element not in known]:
        raise InputError(f"--adsorbate {unknown[0]}", f"elements of {slab}: {', '.join(known)}", "correct it")
    name, lines = surface_teacher(known)
    frame = Frame(frame.numbers, frame.positions, frame.cell, np.ones(3, dtype=bool))
    values = {
        "what": f"The surface of {slab.name}, adsorbate {', '.join(adsorbate) or 'none'}",
        "cheap_level": name, "teacher": lines, "file": SLAB, "adsorbate": json.dumps(list(adsorbate)),
        "moved_too": ", the adsorbate moved" if adsorbate else "", "n_candidates": 10 * choices.n_labels,
    }  # fmt: skip
    with new_folder(folder) as target:
        write_frames(target / SLAB, [frame])
        write_atoms(target / ATOMS, frame)
        (target / "run.in").write_text(filled("run.in", {"elements": " ".join(known)}), encoding="utf-8")
        _stages(target, folder, "frames", "surface", frame, values, choices)


def labelled(folder: Path, file: Path, elements: Sequence[str], level: str, choices: Choices) -> None:
    """Frames with DFT labels; `elements`: the order of types in the data file (absent: C, H, then the alphabet)."""
    require_new(folder)
    frames = read_frames(file)
    if not any(frame.labelled for frame in frames):
        raise InputError(f"{file} without labels", "frames with energies or forces", "label them: tl-label")
    frame, found = frames[0], sorted({z for frame in frames for z in frame.numbers})
    known = hill([chemical_symbols[z] for z in found])
    if elements and sorted(elements) != sorted(known):
        raise InputError(f"--elements {' '.join(elements)}", f"those of {file}: {' '.join(known)}", "correct it")
    order, periodic = list(elements) or known, all(frame.pbc.all() for frame in frames)
    if not periodic and any(frame.pbc.any() for frame in frames):
        raise InputError(f"{file} with periodic and free frames", "one kind", "split the file")
    name, lines = XTB
    runs = ["    mpirun -n 2 lmp -in density.in             # NPT at 298 K and 1 bar",
            "    tl-analyze density density.log"] if periodic else []  # fmt: skip
    values = {
        "what": f"{len(frames)} labelled frames of {file.name}", "level": level, "file": file.name,
        "cheap_level": name, "teacher": lines, "adsorbate": "[]", "moved_too": "", "labels": file.name,
        "molecules": f"file = {json.dumps(file.name)}", "elements": order, "runs": "\n".join(runs),
    }  # fmt: skip
    with new_folder(folder) as target:
        shutil.copyfile(file, target / file.name)
        if periodic:
            write_atoms(target / ATOMS, frame, order)
            write_decks(target, order)
        kind = "frames" if periodic else "molecule"
        _stages(target, folder, kind, "file", frame, values, choices, ("pretrain", "finetune"))


def first_frame(path: Path) -> Frame:
    """The first frame of a file that ASE reads, without labels."""
    if not path.is_file():
        raise InputError(f"no file {path}", "a file of atoms", "check the path")
    try:
        atoms = read(path, index=0)
    except (UnknownFileTypeError, ValueError, KeyError, IndexError, StopIteration) as error:
        raise InputError(f"{path} ({error})", "a file of atoms that ASE reads", "convert it to extxyz") from None
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def _stages(
    target: Path, folder: Path, template: str, readme: str, frame: Frame, values: dict, choices: Choices, stages=STAGES
) -> None:
    """teacher.toml, the TOMLs of `stages` and README.md in `target`; frame: one of the system."""
    periodic, per_batch = bool(frame.pbc.any()), max(1, min(32, TARGET_ATOMS // len(frame)))
    values = {
        "name": folder.name, "command": choices.command, "level": level(choices.labels, periodic),
        "labels": "labels/labelled.extxyz", "calculators": calculators(choices.labels, periodic),
        "seed": choices.seed, "n_labels": choices.n_labels, "pretrain_steps": 20_000,
        "pretrain_frames": max(8, per_batch), "finetune_frames": min(8, per_batch),
        "elements": elements_of(frame),
        "states": "\n".join(
            STATE.format(name=name, ensemble=ensemble, temperature=temperature, ps=ps)
            for name, ensemble, temperature, ps in STATES[template]
        ),
        "property": 'property = "density"            # of the first run of the first state\n' * (template == "liquid"),
    } | values  # fmt: skip
    texts = {"teacher.toml": f"teacher-{template}.toml", **{f"{stage}.toml": f"{stage}.toml" for stage in stages}}
    if "candidates" in stages:
        texts["candidates.toml"] = f"candidates-{template}.toml"
    for name, source in texts.items():
        (target / name).write_text(filled(source, values), encoding="utf-8")
    values["files"] = "\n".join(
        f"| {name} | {role.format(elements=', '.join(values['elements']), level=values['level'])} |"
        for name, role in ROLES.items()
        if (target / name).exists()
    )
    if readme == "file":
        values["files"] = f"| {values['file']} | your labelled frames |\n" + values["files"]
    (target / "README.md").write_text(filled(f"README-{readme}.md", values), encoding="utf-8")


def write_atoms(path: Path, frame: Frame, elements: Sequence[str] = ()) -> None:
    """A LAMMPS data file, atom_style atomic, with types 1, 2, ... for the elements (absent: as `elements_of`)."""
    order = list(elements) or elements_of(frame)
    write_data(path, frame.atoms(), order)


def write_decks(target: Path, elements: Sequence[str]) -> None:
    """density.in and diffusion.in of inputs/water with this liquid's data file and elements as defaults."""
    changes = {"data": ATOMS, "elements": f'"{" ".join(elements)}"', "model": "finetuned/model-lammps.pt"}
    for name in DECKS:
        text = (water_inputs() / name).read_text(encoding="utf-8")
        for variable, value in (changes | FIRST.get(name, {})).items():
            text, count = re.subn(rf'^(variable {variable} index )("[^"]*"|\S+)', rf"\g<1>{value}", text, flags=re.M)
            if count != 1:
                raise InputError(f"{name} with {count} lines for {variable}", "one", "install tlmd again")
        (target / name).write_text(text, encoding="utf-8")


def elements_of(frame: Frame) -> list[str]:
    """The elements of a frame: C, H, then the alphabet."""
    return hill(chemical_symbols[z] for z in set(frame.numbers))


def hill(elements: Iterable[str]) -> list[str]:
    """Elements in Hill's order: C, H, then the alphabet."""
    return sorted(set(elements), key=lambda element: ({"C": 0, "H": 1}.get(element, 2), element))
