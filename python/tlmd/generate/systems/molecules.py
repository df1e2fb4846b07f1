"""Systems of single molecules: one small class for each kind, behind `tlmd.generate.interfaces.System`."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import config, topology
from tlmd.generate.interfaces import System, Unsuited
from tlmd.generate.teachers.any_atoms import AnyAtoms, langevin, spaced
from tlmd.generate.teachers.mmff94 import MMFF94, Field
from tlmd.run.errors import InputError
from tlmd.units import BOLTZMANN_EV_K

HESSIAN_STEP_A = 1e-3
PER_CONFORMER = 8  # frames by the modes of one conformer


class Molecules(System):
    """Frames shared out evenly over the molecules of a table; a molecule's frames lie together.

    Frames of a molecule without bond energies or conformer are not made. `molecules`: their SMILES.
    """

    def __init__(self, settings: config.MoleculesConfig, scale: float = 1.0):
        super().__init__(settings, scale)
        found, lost = list(settings.smiles), Counter()
        if settings.file is not None:
            seen, lost = topology.from_frames(read_frames(settings.file))
            found += seen
        if settings.enumerate is not None:
            found += topology.enumerate_molecules(settings.enumerate)
        found = [topology.canonical(topology.with_hydrogens(smiles)) for smiles in found]
        self.molecules = [smiles for smiles in dict.fromkeys(found) if topology.is_typed(smiles)]
        lost["no MMFF94 types"] = len(set(found)) - len(self.molecules)
        if not self.molecules:
            raise InputError("no molecules that MMFF94 has types for", "at least one", "change smiles, file, enumerate")
        without = ", ".join(f"{count} with {why}" for why, count in lost.items() if count)
        self.note = f"{len(self.molecules)} molecules" + (f"; left out {without}" if without else "")

    def sample(self, item: int, rng: np.random.Generator, teacher: MMFF94 | AnyAtoms) -> Iterator[Frame]:
        first = self.first(item)
        chosen = max(1, min(len(self.molecules), self.frames // self.settings.per_molecule))
        mine = np.arange(first, first + self.count(item)) * chosen // self.frames
        for index, count in zip(*np.unique(mine, return_counts=True), strict=True):
            smiles = self.molecules[int(index) * len(self.molecules) // chosen]
            try:
                field = teacher.field(smiles)
                for positions in self.shapes(field, int(count), rng):
                    turned = (positions - positions.mean(0)) @ Rotation.random(random_state=rng).as_matrix()
                    yield Frame(field.numbers, turned, info={"smiles": smiles})
            except Unsuited:
                continue

    @abstractmethod
    def shapes(self, field: Field, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Up to `count` sets of positions (N, 3) A of one molecule."""

    def relaxed(self, field: Field, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Up to `count` relaxed conformers (N, 3) A."""
        for positions in field.conformers(count, _seed(rng)):
            yield field.relax(positions)


class Conformers(Molecules):
    """See the configuration."""

    def shapes(self, field: Field, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        for positions in field.conformers(count, _seed(rng)):
            if rng.random() < self.settings.relaxed:
                positions = field.relax(positions)
            yield positions + rng.normal(scale=rng.uniform(*self.settings.displacement_A), size=positions.shape)


class NormalModes(Molecules):
    """x = x_0 + sum_k sqrt(k_B T / lambda_k) xi_k e_k, with the eigenpairs of the Hessian and normal xi_k."""

    def shapes(self, field: Field, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        left = count
        for centre in self.relaxed(field, -(-count // PER_CONFORMER), rng):
            stiffness, modes = np.linalg.eigh(hessian(field, centre))
            inner = stiffness > 1e-2  # eV/A^2: without translations and rotations
            shapes = modes[:, inner].T.reshape(-1, *centre.shape)
            limits = self.settings.largest_A / np.linalg.norm(shapes, axis=-1).max(-1)
            for _ in range(min(PER_CONFORMER, left)):
                thermal = np.sqrt(BOLTZMANN_EV_K * rng.uniform(*self.settings.temperature_K) / stiffness[inner])
                amplitudes = np.clip(thermal * rng.normal(size=len(thermal)), -limits, limits)
                yield centre + np.einsum("k,kia->ia", amplitudes, shapes)
            left -= PER_CONFORMER


class Bonds(Molecules):
    """See the configuration."""

    def shapes(self, field: Field, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        molecule = topology.Chem.Mol(field.molecule)
        bonds, angles = topology.movable(molecule)
        settings = self.settings
        for positions in self.relaxed(field, count, rng):
            conformer = molecule.GetConformer()
            conformer.SetPositions(positions)
            for chosen in _draw(rng, bonds, settings.changes):
                topology.scale_bond(conformer, chosen, rng.uniform(*settings.stretch))
            for chosen in _draw(rng, angles, settings.changes):
                topology.bend(conformer, chosen, rng.choice([-1, 1]) * rng.uniform(*settings.bend_deg))
            yield conformer.GetPositions()


class Langevin(Molecules):
    """See the configuration."""

    def shapes(self, field: Field, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        settings, timestep = self.settings, self.settings.timestep_fs
        for start in self.relaxed(field, 1, rng):
            temperature = rng.uniform(*settings.temperature_K)
            walk = langevin(lambda x: field.evaluate(x)[1], field.numbers, start, temperature, timestep, rng)
            yield from spaced(walk, timestep, settings.equilibrate_ps, settings.spacing_ps, count)


SYSTEMS: dict[type[config.SystemConfig], type[System]] = {
    config.ConformersConfig: Conformers,
    config.NormalModesConfig: NormalModes,
    config.BondsConfig: Bonds,
    config.LangevinConfig: Langevin,
}


def hessian(field: Field, positions: np.ndarray) -> np.ndarray:
    """(3N, 3N) second derivatives of the energy in eV/A^2, by central differences of forces."""
    moves = HESSIAN_STEP_A * np.eye(positions.size).reshape(-1, *positions.shape)
    rows = [field.evaluate(positions - move)[1] - field.evaluate(positions + move)[1] for move in moves]
    matrix = np.array(rows).reshape(positions.size, -1) / (2 * HESSIAN_STEP_A)
    return (matrix + matrix.T) / 2


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**31 - 1))


def _draw(rng: np.random.Generator, choices: list, at_most: int) -> list:
    """One to `at_most` different ones of `choices`, as far as there are so many."""
    count = min(len(choices), int(rng.integers(1, at_most + 1)))
    return [choices[i] for i in rng.choice(len(choices), count, replace=False)] if count else []
