"""ASE calculator for trained and exported models."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from tlmd.baseline.kinds import open_baseline
from tlmd.committee import Committee
from tlmd.engine import Engine, differentiable
from tlmd.export import sample_graph
from tlmd.frames.shortest import CLOSE, named_pairs, table_of
from tlmd.graph import Graph, build_graph
from tlmd.models.kernel_head import deviations
from tlmd.models.potential import hessian, stress


class TLCalculator(Calculator):
    """`atoms.calc = TLCalculator("model.pt")`, a trained or an exported file; or several, a committee, of which the
    first one runs and all take part in `deviations`.

    backend: native (the engine; default on the CPU) or torch. Threads: torch.set_num_threads or OMP_NUM_THREADS.

    Properties: energy (eV), free_energy, energies (N,) eV, forces (N, 3) eV/A, and stress (6,) eV/A^3 in ASE's sign
    for systems that are periodic in three directions. The baseline of the model is in all but `energies`.

    Warns once of each pair of elements that comes nearer than CLOSE of its smallest distance in training. `closest`:
    smallest distances (S, S) A of the frames so far by species of the model, their reach where there were none.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self, model: Path | str | Sequence[Path | str], device: str = "cpu", backend: str | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        files = list(model) if isinstance(model, list | tuple) else [model]
        self.committee = Committee(files, device, backend)
        self.model, self.card, self.predict = (
            each[0] for each in (self.committee.models, self.committee.cards, self.committee.predictors)
        )
        self.device = device
        self.backend, self.sample = backend, sample_graph(files[0], self.model)
        self._features: Engine | None = None
        self.baseline = open_baseline(self.card.baseline) if self.card.baseline else None
        elements = self.card.elements
        self.known = np.nan_to_num(table_of(self.card.shortest_A, elements))  # (S, S) A, 0: not known
        self.closest = np.full(self.known.shape, self.card.reach)
        self.evaluations = 0

    def graph(self, atoms: Atoms, positions: torch.Tensor | None = None) -> Graph:
        """The graph of a frame for this model, vectors in float64; positions: those of the frame, (N, 3) A."""
        model = self.model
        place = atoms.positions if positions is None else positions
        box = atoms.cell.array
        return build_graph(atoms.numbers, place, box, atoms.pbc, model.elements, float(model.cutoff), torch.float64)

    def watch(self, graph: Graph) -> None:
        """Take in the distances of a frame; warn of pairs that are nearer than in training."""
        n = len(self.closest)
        kinds = n * graph.species[:, None] + graph.species[graph.neighbours]  # filler pairs are long
        before, lengths = torch.from_numpy(self.closest), graph.vectors.detach().norm(dim=-1)
        self.closest = before.flatten().scatter_reduce(0, kinds.flatten(), lengths.flatten(), "amin").numpy()
        self.closest = np.minimum(self.closest.reshape(n, n), self.closest.reshape(n, n).T)
        first = (self.closest < CLOSE * self.known) & (before.numpy() >= CLOSE * self.known)
        for name, i, j in named_pairs(self.card.elements):
            if first[i, j]:
                warnings.warn(
                    f"{name} at {self.closest[i, j]:.3f} A in evaluation {self.evaluations}; in training at least "
                    f"{self.known[i, j]:.3f} A: forces and energies are guesses",
                    stacklevel=2,
                )

    def hessian(self, atoms: Atoms) -> np.ndarray:
        """Second derivatives (3N, 3N) of the energy, eV/A^2; the native engine takes them in float64. Vibrations:
        ase.vibrations.VibrationsData.from_2d(atoms, hessian)."""
        positions = torch.tensor(atoms.positions, requires_grad=True)
        graph = self.graph(atoms, positions)
        predict = differentiable(self.model, self.backend, self.device, self.sample)
        found = hessian(predict(graph.to(self.device)), positions).double().numpy()
        if self.baseline is not None:
            found += self.baseline.hessian(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        return found

    def deviations(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        """How far the frame and its atoms (N,) are from what the model knows; docs/uncertainty.md.

        Several models: the standard deviation of the force on each atom among them, and the largest of these, eV/A. A
        model of tl-mekrr: the predicted standard deviations of the energy of the frame and of those of its atoms, eV.
        """
        if len(self.committee) > 1:
            of_atoms = self.committee.deviations(self.committee.graph(atoms)).cpu().numpy()
            return float(of_atoms.max(initial=0.0)), of_atoms
        of_atoms, of_frames = deviations(self.model, self.graph(atoms))
        return float(of_frames), of_atoms.double().numpy()

    def features(self, atoms: Atoms, layer: int = -1) -> np.ndarray:
        """Scalar features (N, F) of the atoms after message layer `layer`, by the native engine."""
        if self._features is None:
            self._features = Engine(self.model, keep_features=True)
        return self._features.features(self.graph(atoms), layer)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        graph = self.graph(self.atoms)
        self.watch(graph)
        self.evaluations += 1
        graph = graph.to(self.device)
        prediction = self.predict(graph)
        energy, forces = prediction.energy.item(), prediction.forces.cpu().numpy()
        tension = stress(prediction, graph.volumes)[0].cpu().numpy()
        if self.baseline is not None:
            atoms = self.atoms
            values = self.baseline.values(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
            energy, forces = energy + values.energy, forces + values.forces
            tension = tension if values.stress is None else tension + values.stress
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        self.results["energies"] = prediction.atom_energies.cpu().numpy()
        if self.atoms.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(tension)
