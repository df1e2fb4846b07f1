"""Teachers that evaluate any atoms, periodic or not: their labels, molecules and trajectories."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_masses
from ase.optimize import BFGS

from tlmd.frames.frame import Frame, shortest
from tlmd.generate.config import AnyAtomsConfig, MMFF94Config
from tlmd.generate.interfaces import Teacher, Unsuited
from tlmd.generate.teachers.mmff94 import Field
from tlmd.units import A2_FS2_PER_EV_GMOL, BOLTZMANN_EV_K

RELAXED_EV_A = 0.01  # largest force component of a relaxed conformer
RELAX_STEPS = 200
UNSTRAIN_EV_A, UNSTRAIN_STEPS = 1.0, 20  # before a trajectory
FRICTION_FS = 100.0  # relaxation time of the Langevin thermostat


class AnyAtoms(Teacher):
    """A teacher by `evaluate`, from which come labels, molecules and trajectories; the zero of energy is its own."""

    def __init__(self, config: AnyAtomsConfig):
        self.config = config
        self.field = lru_cache(maxsize=256)(lambda smiles: AnyAtomsField(smiles, self))

    @abstractmethod
    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None = None, pbc: np.ndarray | None = None
    ) -> dict:
        """energy (eV), forces (N, 3) (eV/A) and, where periodic, stress (3, 3) (eV/A^3) at positions and cell in A.
        Raises Unsuited where there is no result."""

    def unfit(self, frame: Frame) -> str | None:
        """The word contact if two atoms come nearer than `min_contact_A`."""
        return "contact" if shortest(frame) < self.config.min_contact_A else None

    def label(self, frame: Frame) -> Frame:
        return frame.replace(**self.evaluate(frame.numbers, frame.positions, frame.cell, frame.pbc))

    def relax(self, atoms: Atoms, largest_force: float, steps: int) -> np.ndarray:
        """Positions (N, 3) A with no component of a force above `largest_force` (eV/A), or those after `steps`."""
        atoms.calc = _Evaluated(self.evaluate)
        BFGS(atoms, logfile=None).run(largest_force, steps)
        return atoms.positions

    def trajectory(
        self, frame: Frame, temperature_K: float, equilibrate_ps: float, spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield up to `count` frames without labels from Langevin dynamics of all atoms, `spacing_ps` apart, until one
        has no forces."""
        timestep = self.config.timestep_fs

        def forces(positions: np.ndarray) -> np.ndarray:
            return self.evaluate(frame.numbers, positions, frame.cell, frame.pbc)["forces"]

        try:
            start = self.relax(frame.atoms(), UNSTRAIN_EV_A, UNSTRAIN_STEPS)
            walk = langevin(forces, frame.numbers, start, temperature_K, timestep, np.random.default_rng(seed))
            for positions in spaced(walk, timestep, equilibrate_ps, spacing_ps, count):
                yield frame.replace(positions=positions)
        except Unsuited:
            return


class _Evaluated(Calculator):
    """`evaluate` of a teacher, for ASE's optimisers."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, evaluate: Callable[..., dict]):
        super().__init__()
        self._evaluate = evaluate

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        labels = self._evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        self.results = {name: labels[name] for name in self.implemented_properties}


class AnyAtomsField(Field):
    """The teacher's energy of one molecule; its graph and first conformers are those of MMFF94."""

    def __init__(self, smiles: str, teacher: AnyAtoms):
        super().__init__(smiles, MMFF94Config(name="mmff94", energies="mmff94"))
        self._teacher = teacher

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        labels = self._teacher.evaluate(self.numbers, positions)
        return labels["energy"], labels["forces"]

    def relax(self, positions: np.ndarray) -> np.ndarray:
        return self._teacher.relax(Atoms(self.numbers, super().relax(positions)), RELAXED_EV_A, RELAX_STEPS)


def langevin(
    forces: Callable[[np.ndarray], np.ndarray],
    numbers: np.ndarray,
    positions: np.ndarray,
    temperature_K: float,
    timestep_fs: float,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Positions (N, 3) A after each step of Langevin dynamics (BAOAB, Leimkuhler and Matthews 2013), without end;
    `forces` in eV/A at positions."""
    masses = atomic_masses[numbers][:, None] / A2_FS2_PER_EV_GMOL  # eV fs^2/A^2
    thermal = np.sqrt(BOLTZMANN_EV_K * temperature_K / masses)
    keep = np.exp(-timestep_fs / FRICTION_FS)
    velocities = thermal * rng.normal(size=positions.shape)
    force = forces(positions)
    while True:
        velocities = velocities + 0.5 * timestep_fs * force / masses
        positions = positions + 0.5 * timestep_fs * velocities
        velocities = keep * velocities + np.sqrt(1 - keep**2) * thermal * rng.normal(size=positions.shape)
        positions = positions + 0.5 * timestep_fs * velocities
        force = forces(positions)
        velocities = velocities + 0.5 * timestep_fs * force / masses
        yield positions


def spaced(
    walk: Iterator[np.ndarray], timestep_fs: float, equilibrate_ps: float, spacing_ps: float, count: int
) -> Iterator[np.ndarray]:
    """`count` of the steps of `walk`, the first ones after `equilibrate_ps` and one spacing."""
    equilibrate, spacing = round(1000 * equilibrate_ps / timestep_fs), max(1, round(1000 * spacing_ps / timestep_fs))
    for step in range(1, equilibrate + count * spacing + 1):
        positions = next(walk)
        if step > equilibrate and (step - equilibrate) % spacing == 0:
            yield positions
