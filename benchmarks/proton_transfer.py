"""The barrier of the proton in malonaldehyde: models against the method of their labels.

    python benchmarks/proton_transfer.py inputs/molecule/labels/label.toml finetuned/model.pt malonaldehyde-gfn1-f64

The minimum and the symmetric saddle (two-fold axis through the proton) are optimised with each model and with the
calculator of the TOML, which also has the energies at the models' own geometries. `--no-reference` leaves that out.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from contextlib import chdir, redirect_stdout

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS
from scipy.spatial.transform import Rotation

from tlmd.calculator import TLCalculator
from tlmd.frames.frame import Frame
from tlmd.label.config import LabelConfig
from tlmd.label.interfaces import CODES
from tlmd.run.config import load_config

SYMBOLS = "OCCCOHHHH"  # O1 C1 C2 C3 O2, H of C1, C2, C3, and the proton
SWAPPED = np.array([4, 3, 2, 1, 0, 7, 6, 5, 8])  # by the two-fold axis
# planar and symmetric to start from, A
START = np.array(
    [[1.20, 0.60, 0], [1.21, -0.68, 0], [0, -1.38, 0], [-1.21, -0.68, 0], [-1.20, 0.60, 0], [2.16, -1.22, 0],
     [0, -2.46, 0], [-2.16, -1.22, 0], [0, 0.95, 0]]
)  # fmt: skip
FMAX = 0.01  # eV/A


class Reference(Calculator):
    """A calculator of tl-label for ASE."""

    implemented_properties = ("energy", "forces")

    def __init__(self, config):
        super().__init__()
        self.code, self.calls = CODES[config.name](config), 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        frame = Frame(atoms.numbers, atoms.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(io.StringIO()):
            found = self.code.compute(frame, stress=False)
        self.calls += 1
        self.results = {"energy": found.energy, "forces": found.forces}


class TwoFold:
    """Keeps the symmetry of START in the plane: a two-fold axis along y through the origin."""

    turn = Rotation.from_euler("y", 180, degrees=True).as_matrix()

    def _symmetric(self, vectors: np.ndarray) -> np.ndarray:
        vectors = (vectors + vectors[SWAPPED] @ self.turn) / 2
        vectors[:, 2] = 0.0
        return vectors

    def adjust_positions(self, atoms, new):
        new[:] = self._symmetric(new)

    def adjust_forces(self, atoms, forces):
        forces[:] = self._symmetric(forces)

    def get_removed_dof(self, atoms):
        return 0


def optimised(calculator, symmetric: bool, start: np.ndarray) -> Atoms:
    atoms = Atoms(SYMBOLS, start)
    if symmetric:
        atoms.set_constraint(TwoFold())
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=200)
    return atoms


def asymmetric(saddle: np.ndarray) -> np.ndarray:
    """The proton nearer to one oxygen."""
    positions = saddle.copy()
    positions[8] += 0.2 * (positions[0] - positions[8]) / np.linalg.norm(positions[0] - positions[8])
    return positions


def barrier(calculator, start: np.ndarray = START, minimum: np.ndarray | None = None) -> tuple[Atoms, Atoms]:
    saddle = optimised(calculator, True, start)
    return saddle, optimised(calculator, False, asymmetric(saddle.positions) if minimum is None else minimum)


def line(name: str, saddle: Atoms, minimum: Atoms, more: str = "") -> None:
    height = saddle.get_potential_energy() - minimum.get_potential_energy()
    oxygens = [atoms.get_distance(0, 4) for atoms in (saddle, minimum)]
    bonds = sorted(minimum.get_distances(8, [0, 4]))
    print(
        f"{name:32s} barrier {1000 * height:6.1f} meV   O-O {oxygens[0]:.3f} A (saddle), {oxygens[1]:.3f} A (minimum)"
        f"   O-H {bonds[0]:.3f}, {bonds[1]:.3f} A{more}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("label", help="the TOML of tl-label")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--no-reference", action="store_true")
    arguments = parser.parse_args()
    reference = None if arguments.no_reference else Reference(load_config(LabelConfig, arguments.label).calculator)
    start, minimum = START, None
    for name in arguments.models:
        saddle, lowest = barrier(TLCalculator(name))
        more = ""
        if reference is not None:
            energies = []
            for atoms in (saddle, lowest):
                there = atoms.copy()
                there.set_constraint()
                there.calc = reference
                energies.append(there.get_potential_energy())
            more = f"   (reference there: {1000 * (energies[0] - energies[1]):.1f} meV)"
        line(name, saddle, lowest, more)
        if minimum is None:
            start, minimum = saddle.positions, lowest.positions
    if reference is not None:
        saddle, lowest = barrier(reference, start, minimum)
        line("reference", saddle, lowest, f"   ({reference.calls} evaluations)")


if __name__ == "__main__":
    main()
