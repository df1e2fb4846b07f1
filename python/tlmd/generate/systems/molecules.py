"""Systems of single molecules: conformers, normal modes, changed bonds and angles, trajectories."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate.dynamics import langevin, spaced
from tlmd.generate.interfaces import NotMade, System, SystemConfig, Teacher, Unsuited, draw_seed
from tlmd.generate.registry import system
from tlmd.generate.species import Species, lengthened, opened
from tlmd.run.config import ConfigPath, Section
from tlmd.run.errors import InputError
from tlmd.run.quantities import (
    Amplitude,
    Angle,
    Count,
    Factor,
    Fraction,
    Frames,
    HeavyAtoms,
    Length,
    Temperature,
    Time,
    Timestep,
    between,
)
from tlmd.units import BOLTZMANN_EV_K

if TYPE_CHECKING:
    from tlmd.generate.molecule import MoleculeEnergy

HESSIAN_STEP_A = 1e-3
PER_CONFORMER = 8  # frames by the modes of one conformer
RDKIT_SEEDS = 2**31 - 2  # the largest seed


class EnumerateConfig(Section):
    """Molecules grown by valence rules."""

    count: Count = Field(description="number of molecules")
    elements: list[Literal["C", "N", "O", "S", "F"]] = Field(
        ["C", "N", "O", "S"], min_length=1, description="elements of the heavy atoms"
    )
    heavy_atoms: between(HeavyAtoms) = Field((1, 7), description="fewest and most heavy atoms")
    seed: int = Field(1, ge=0, description="of the choice of molecules")


class MoleculesConfig(SystemConfig):
    """Single molecules: those of `smiles`, those in the frames of `file`, and enumerated ones.

    The frames are shared out evenly over them, or over evenly chosen ones where each would get fewer than per_molecule.
    """

    matter: ClassVar[str] = "molecules"
    frames_per_item: Frames = Field(200, description="frames of one work item")
    smiles: list[str] = Field([], description="SMILES, each of one molecule")
    file: ConfigPath | None = Field(None, description="frames of single molecules; bonds are found from the geometry")
    enumerate: EnumerateConfig | None = Field(None, description="molecules grown by valence rules")
    per_molecule: Count = Field(
        1, description="fewest frames of a molecule; with more molecules than that allows, some are left out"
    )

    @model_validator(mode="after")
    def _has_molecules(self) -> MoleculesConfig:
        if not self.smiles and self.file is None and self.enumerate is None:
            raise ValueError("molecules by smiles, file or enumerate")
        return self


class Molecules(System):
    """Frames shared out evenly over the molecules of a table; a molecule's frames lie together.

    molecules: their SMILES; those without types of MMFF94 are left out
    """

    config: MoleculesConfig

    def __init__(self, config: MoleculesConfig, scale: float = 1.0):
        from tlmd.generate import topology

        super().__init__(config, scale)
        found, lost = list(config.smiles), Counter()
        if config.file is not None:
            seen, lost = topology.from_frames(read_frames(config.file))
            found += seen
        if config.enumerate is not None:
            found += topology.enumerate_molecules(**config.enumerate.model_dump())
        found = [topology.canonical(topology.with_hydrogens(smiles)) for smiles in found]
        self.molecules = [smiles for smiles in dict.fromkeys(found) if topology.is_typed(smiles)]
        lost["no MMFF94 types"] = len(set(found)) - len(self.molecules)
        if not self.molecules:
            raise InputError("no molecules that MMFF94 has types for", "at least one", "change smiles, file, enumerate")
        without = ", ".join(f"{count} with {why}" for why, count in lost.items() if count)
        self.note = f"{len(self.molecules)} molecules" + (f"; left out {without}" if without else "")

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame | NotMade]:
        first = self.first(item)
        chosen = max(1, min(len(self.molecules), self.frames // self.config.per_molecule))
        mine = np.arange(first, first + self.count(item)) * chosen // self.frames
        for index, count in zip(*np.unique(mine, return_counts=True), strict=True):
            smiles = self.molecules[int(index) * len(self.molecules) // chosen]
            made, why = 0, f"{smiles}, with too few conformers"
            try:
                energy = teacher.energy_of(smiles)
                charge = energy.molecule.charge
                info = {"smiles": smiles} | ({"charge": charge} if charge else {})
                for positions in self.shapes(energy, int(count), rng):
                    turned = (positions - positions.mean(0)) @ Rotation.random(random_state=rng).as_matrix()
                    yield Frame(energy.molecule.numbers, turned, info=info)
                    made += 1
            except Unsuited as error:
                why = error.why
            if made < count:
                yield NotMade(int(count) - made, why)

    @abstractmethod
    def shapes(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Up to `count` sets of positions (N, 3) A of one molecule."""

    def conformers(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Up to `count` conformers (N, 3) A, not relaxed."""
        return energy.molecule.conformers(count, draw_seed(rng, RDKIT_SEEDS))

    def relaxed(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Up to `count` relaxed conformers (N, 3) A."""
        for positions in self.conformers(energy, count, rng):
            yield energy.relax(positions)


class ConformersConfig(MoleculesConfig):
    """Conformers by distance geometry, relaxed or not, each atom displaced by an amplitude drawn for each frame."""

    kind: Literal["conformers"]
    relaxed: Fraction = Field(0.5, description="part of the frames that is relaxed before the displacement")
    displacement_A: between(Amplitude) = Field(
        (0.0, 0.05), description="A, lowest and highest standard deviation of the displacements"
    )


@system
class Conformers(Molecules):
    """Conformers by distance geometry, each relaxed with the probability `relaxed`, then every atom displaced."""

    config: ConformersConfig

    def shapes(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        for positions in self.conformers(energy, count, rng):
            if rng.random() < self.config.relaxed:
                positions = energy.relax(positions)
            yield positions + rng.normal(scale=rng.uniform(*self.config.displacement_A), size=positions.shape)


class NormalModesConfig(MoleculesConfig):
    """Relaxed conformers displaced along their normal modes by the harmonic distribution of a temperature."""

    kind: Literal["normal_modes"]
    temperature_K: between(Temperature) = Field(
        (200.0, 1500.0), description="K, lowest and highest; drawn for each frame"
    )
    largest_A: Length = Field(0.4, description="A, largest displacement of an atom by one mode")


@system
class NormalModes(Molecules):
    """x = x_0 + sum_k sqrt(k_B T / lambda_k) xi_k e_k, with the eigenpairs of the Hessian and normal xi_k."""

    config: NormalModesConfig

    def shapes(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        left = count
        for centre in self.relaxed(energy, -(-count // PER_CONFORMER), rng):
            stiffness, modes = np.linalg.eigh(hessian(energy, centre))
            inner = stiffness > 1e-2  # eV/A^2: without translations and rotations
            shapes = modes[:, inner].T.reshape(-1, *centre.shape)
            limits = self.config.largest_A / np.linalg.norm(shapes, axis=-1).max(-1)
            for _ in range(min(PER_CONFORMER, left)):
                thermal = np.sqrt(BOLTZMANN_EV_K * rng.uniform(*self.config.temperature_K) / stiffness[inner])
                amplitudes = np.clip(thermal * rng.normal(size=len(thermal)), -limits, limits)
                yield centre + np.einsum("k,kia->ia", amplitudes, shapes)
            left -= PER_CONFORMER


class BondsConfig(MoleculesConfig):
    """Relaxed conformers with one or more bonds (not in rings) and angles at new values; the parts stay rigid."""

    kind: Literal["bonds"]
    stretch: between(Factor) = Field((0.85, 1.3), description="smallest and largest factor on a bond length")
    bend_deg: between(Angle) = Field(
        (1.0, 25.0), description="degrees, smallest and largest change of an angle, of either sign"
    )
    changes: Count = Field(3, description="largest number of bonds, and of angles, that are changed in a frame")


@system
class Bonds(Molecules):
    """Relaxed conformers; bonds and angles that are no part of a ring are changed one after another."""

    config: BondsConfig

    def shapes(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        config = self.config
        for positions in self.relaxed(energy, count, rng):
            species = Species.of_graph(energy.molecule.graph, positions)
            positions = lengthened(species, positions, config.stretch, config.changes, rng)
            yield opened(species, positions, config.bend_deg, config.changes, rng)


class LangevinConfig(MoleculesConfig):
    """Trajectories of the teacher at temperatures drawn for each molecule."""

    kind: Literal["langevin"]
    temperature_K: between(Temperature) = Field(
        (200.0, 1000.0), description="K, lowest and highest; drawn for each molecule"
    )
    equilibrate_ps: Time = Field(1.0, description="ps before the first frame")
    spacing_ps: Time = Field(0.1, description="ps between frames")
    timestep_fs: Timestep = Field(0.5, description="fs, time step")


@system
class Langevin(Molecules):
    """One trajectory for each molecule, from its first relaxed conformer."""

    config: LangevinConfig

    def shapes(self, energy: MoleculeEnergy, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        config, timestep = self.config, self.config.timestep_fs
        for start in self.relaxed(energy, 1, rng):
            temperature = rng.uniform(*config.temperature_K)
            walk = langevin(lambda x: energy.evaluate(x)[1], energy.molecule.numbers, start, temperature, timestep, rng)
            yield from spaced(walk, timestep, config.equilibrate_ps, config.spacing_ps, count)


def hessian(energy: MoleculeEnergy, positions: np.ndarray) -> np.ndarray:
    """(3N, 3N) second derivatives of the energy in eV/A^2, by central differences of forces."""
    moves = HESSIAN_STEP_A * np.eye(positions.size).reshape(-1, *positions.shape)
    rows = [energy.evaluate(positions - move)[1] - energy.evaluate(positions + move)[1] for move in moves]
    matrix = np.array(rows).reshape(positions.size, -1) / (2 * HESSIAN_STEP_A)
    return (matrix + matrix.T) / 2
