"""Structures, molecules and trajectories of pymatgen, as its `to_json` or monty's `dumpfn` writes them.

Labels are the properties `energy` (eV), `forces` (eV/A, of sites) and `stress` of a structure or of the frames of a
trajectory. A stress is taken to be VASP's, as pymatgen's own Vasprun has it: kbar, compressed positive.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tlmd.frames.frame import Frame
from tlmd.frames.imports.files import text, words
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3

WHAT = "a JSON file of pymatgen"
STRESS_NOTE = "stress: taken to be in kbar with VASP's sign, as pymatgen's Vasprun has it"


def read_json(path: Path) -> tuple[list[Frame], list[str]]:
    """The frames of one structure, a list of them, or a trajectory. InputError for other objects."""
    try:
        from monty.json import MontyDecoder
        from pymatgen.core.trajectory import Trajectory
    except ImportError:
        do = "pip install pymatgen, or convert the file where it is installed (AseAtomsAdaptor)"
        raise InputError(f"{path}, {WHAT}, and pymatgen is not installed", "the package pymatgen", do) from None
    try:
        found = MontyDecoder().process_decoded(json.loads(text(path)))
    except Exception as error:  # any object may be in it
        raise InputError(f"{path}, {WHAT}: {words(error)}", "a whole file", "write it again") from None
    structures = []
    for each in found if isinstance(found, list) else [found]:
        structures += _of_trajectory(each) if isinstance(each, Trajectory) else [each]
    frames = [_frame(each, path, index) for index, each in enumerate(structures)]
    return frames, [STRESS_NOTE] if any(frame.stress is not None for frame in frames) else []


def _of_trajectory(trajectory: Any) -> list[Any]:
    """The structures with the properties of their frames."""
    structures = [trajectory[k] for k in range(len(trajectory))]
    for structure, properties in zip(structures, trajectory.frame_properties or [{}] * len(structures), strict=True):
        structure.properties.update(properties or {})
    return structures


def _frame(each: Any, path: Path, index: int) -> Frame:
    from pymatgen.core import IMolecule, IStructure

    structure, own = getattr(each, "structure", each), {}
    if structure is not each:  # a ComputedStructureEntry
        own = {**each.data, "energy": each.energy}
    if not isinstance(structure, IStructure | IMolecule):
        got = f"{path}, entry {index}: {type(each).__name__}"
        raise InputError(got, "structures, molecules, entries with structures, trajectories", "write those")
    if not structure.is_ordered:
        raise InputError(f"{path}, entry {index}: partly occupied sites", "one element on each", "order the structure")
    labels = {**structure.properties, **own}
    periodic = isinstance(structure, IStructure)
    cell = structure.lattice.matrix if periodic else np.zeros((3, 3))
    forces = structure.site_properties.get("forces", labels.get("forces"))
    info = {key: value for key, value in labels.items() if isinstance(value, str | int | float) and key != "energy"}
    columns = {} if forces is None else {"forces": np.array(forces, dtype=float)}
    known = {} if labels.get("energy") is None else {"energy": float(labels["energy"])}
    if labels.get("stress") is not None:
        known["stress"] = -np.array(labels["stress"], dtype=float) * 1e3 / BAR_PER_EV_A3
    pbc = np.array(structure.lattice.pbc) if periodic else np.zeros(3, bool)
    numbers = [site.specie.Z for site in structure]
    try:
        return Frame.from_columns(numbers, structure.cart_coords, cell, pbc, info | known, columns)
    except ValueError as error:
        raise InputError(f"{path}, entry {index}: {words(error)}", "labels of their shapes", "correct them") from None
