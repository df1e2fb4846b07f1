"""Base of teachers that label any composition, periodic or not: their molecules and trajectories."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS
from pydantic import Field

from tlmd.frames.frame import Frame, shortest
from tlmd.generate.dynamics import langevin, spaced, walled
from tlmd.generate.interfaces import Teacher, TeacherConfig
from tlmd.run.quantities import Length, Timestep

if TYPE_CHECKING:
    from tlmd.generate.molecule import MoleculeEnergy

RELAXED_EV_A = 0.01  # largest force component of a relaxed conformer
RELAX_STEPS = 200
UNSTRAIN_EV_A, UNSTRAIN_STEPS = 1.0, 20  # before a trajectory


class AnyCompositionConfig(TeacherConfig):
    """What every teacher of any composition has."""

    matter: ClassVar[tuple[str, ...]] = ("liquid", "molecules", "material")
    needs_smiles: ClassVar[bool] = True
    timestep_fs: Timestep = Field(0.5, description="fs, time step of trajectories; molecules have their own")
    min_contact_A: Length = Field(0.5, description="A: frames with nearer atoms are dropped")


class AnyComposition(Teacher):
    """A teacher by `evaluate`, from which come labels, molecules and trajectories; the zero of energy is its own."""

    config: AnyCompositionConfig

    def __init__(self, config: AnyCompositionConfig):
        super().__init__(config)
        self.energy_of = lru_cache(maxsize=256)(self._energy_of)  # of a molecule by its SMILES

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
        """Yield `count` frames without labels from Langevin dynamics of all atoms, `spacing_ps` apart, free ones within
        a soft wall. Raises Unsuited at the first step without forces."""
        timestep = self.config.timestep_fs

        def forces(positions: np.ndarray) -> np.ndarray:
            return self.evaluate(frame.numbers, positions, frame.cell, frame.pbc)["forces"]

        start = self.relax(frame.atoms(), UNSTRAIN_EV_A, UNSTRAIN_STEPS)
        forces = forces if frame.pbc.any() else walled(forces, start)
        walk = langevin(forces, frame.numbers, start, temperature_K, timestep, np.random.default_rng(seed))
        for positions in spaced(walk, timestep, equilibrate_ps, spacing_ps, count):
            yield frame.replace(positions=positions)

    def _energy_of(self, smiles: str) -> MoleculeEnergy:
        """This teacher's energy of a molecule."""
        from tlmd.generate.molecule import EnergyByTeacher, Molecule

        molecule = Molecule(smiles)

        def evaluate(positions: np.ndarray) -> tuple[float, np.ndarray]:
            labels = self.evaluate(molecule.numbers, positions)
            return labels["energy"], labels["forces"]

        def relax(positions: np.ndarray) -> np.ndarray:
            return self.relax(Atoms(molecule.numbers, positions), RELAXED_EV_A, RELAX_STEPS)

        return EnergyByTeacher(molecule, evaluate, relax)


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
