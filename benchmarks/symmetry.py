"""Rotational, translational and Jacobian symmetry of the shipped models, by ML-PEG's own structures and functions.

ML-PEG (PyPI `ml-peg`, version 0.7) is GPL and no dependency of tlmd; what is measured here needs none of the packages
that it asks for. In a virtual environment of its own:

    pip install tlmd tqdm pytest && pip install --no-deps ml-peg==0.7
    python benchmarks/symmetry.py [MODEL ...]

Models are exported in float64, ML-PEG's `precision = "high"`; its structures whose elements a model lacks are left out.
A value passes below what ML-PEG calls bad: 0.004 for lambda, 1 meV/atom, 1 meV/A. The exit code says whether all do.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
from ase import Atoms
from rich.console import Console
from rich.table import Table

from tlmd.calculator import TLCalculator
from tlmd.export import export_model
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED

BAD = {"lambda": 0.004, "energy": 1.0, "force": 1.0}  # (|antisymmetric| / |J|), meV/atom, meV/A


def part(name: str) -> types.ModuleType:
    """A module of ML-PEG's `physicality`, with no models of its own."""
    try:
        importlib.import_module("ml_peg")
    except ImportError:
        raise InputError("no ml-peg", "ml-peg 0.7", "pip install --no-deps ml-peg==0.7, see the docstring") from None
    stand_in = types.ModuleType("ml_peg.models.get_models")
    stand_in.load_models = lambda _: {}
    sys.modules["ml_peg.models.get_models"] = stand_in
    return importlib.import_module(f"ml_peg.calcs.physicality.{name}.calc_{name}")


def jacobian_symmetry(calculator: TLCalculator, struct: Atoms) -> dict[str, float]:
    """The fraction of the Jacobian's Frobenius norm that is antisymmetric."""
    calcs = part("jacobian_symmetry")
    found = [frame.arrays["forces"].ravel() for frame in calcs.perturbed_structures(calculator, struct.copy())]
    jacobian = np.stack([(plus - minus) / (2 * calcs.EPS) for plus, minus in zip(found[::2], found[1::2], strict=True)])
    return {"lambda": float(np.linalg.norm((jacobian - jacobian.T) / 2) / np.linalg.norm(jacobian))}


def rotational_symmetry(calculator: TLCalculator, struct: Atoms) -> dict[str, float]:
    """The largest changes between successive orientations: of the energy, and mean ones of force components."""
    calcs, frames = part("rotational_symmetry"), []
    for matrix in (np.eye(3), *calcs.ROTATIONS.as_matrix()):
        turned = struct.copy()
        turned.set_cell(struct.cell.array @ matrix.T)
        turned.positions = struct.positions @ matrix.T
        frames.append(calcs.evaluate(calculator, turned, 0.0, matrix))
    return changes(frames, "forces_original_frame", np.mean)


def translational_symmetry(calculator: TLCalculator, struct: Atoms) -> dict[str, float]:
    """The largest changes after a translation of the energy and of a force component."""
    calcs, found = part("translational_symmetry"), []
    original = calcs.evaluate(calculator, struct.copy(), 0.0)
    for magnitude in calcs.MAGNITUDES:
        moved = struct.copy()
        moved.translate(calcs.DIRECTION * magnitude)
        found.append(changes([original, calcs.evaluate(calculator, moved, magnitude)], "forces", np.max))
    return {key: max(each[key] for each in found) for key in found[0]}


def changes(frames: list[Atoms], forces: str, of_components) -> dict[str, float]:
    """Between each frame and the next, the largest in meV/atom and meV/A."""
    pairs = list(itertools.pairwise(frames))
    energy = max(abs(b.info["energy"] - a.info["energy"]) / len(a) for a, b in pairs)
    force = max(of_components(np.abs(b.arrays[forces] - a.arrays[forces])) for a, b in pairs)
    return {"energy": 1e3 * float(energy), "force": 1e3 * float(force)}


def main(models: list[str]) -> int:
    table, console, failed = Table("model", "structure", title="ML-PEG 0.7, physicality, largest values"), Console(), 0
    for name in ("lambda", "turned, meV/atom", "meV/A", "moved, meV/atom", "meV/A"):
        table.add_column(name, justify="right")
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            calculator = TLCalculator(export_model(model, Path(folder) / "model.pt", "float64"))
        for name in part("jacobian_symmetry").STRUCTURES:
            cells = []
            for measure in (jacobian_symmetry, rotational_symmetry, translational_symmetry):
                struct = part(measure.__name__).STRUCTURES[name]
                if set(struct.get_chemical_symbols()) <= set(calculator.card.elements):
                    for key, value in measure(calculator, struct).items():
                        failed += not value < BAD[key]
                        cells.append(f"{value:.1e}" + ("" if value < BAD[key] else " bad"))
            if cells:
                table.add_row(model, name, *cells)
    console.print(table)
    console.print(f"{failed} values that ML-PEG calls bad" if failed else "all values pass")
    return min(failed, 1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or sorted(SHIPPED)))
    except InputError as error:
        sys.exit(f"error: {error}")
