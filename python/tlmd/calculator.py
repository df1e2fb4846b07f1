"""ASE calculator for trained and exported models."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from tlmd.export import load_any
from tlmd.graph import build_graph
from tlmd.models.potential import evaluate, stress


class TLCalculator(Calculator):
    """`atoms.calc = TLCalculator("model.pt")`, a trained or an exported file.

    Properties: energy (eV), free_energy, energies (N,) eV, forces (N, 3) eV/A, and stress (6,) eV/A^3 in ASE's sign
    for systems that are periodic in three directions.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, model: Path | str, device: str = "cpu", **kwargs):
        super().__init__(**kwargs)
        self.model, self.card = load_any(model, device)
        self.device = device

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        card = self.card
        graph = build_graph(
            self.atoms.numbers, self.atoms.positions, self.atoms.cell.array, self.atoms.pbc, card.elements, card.cutoff,
            getattr(torch, card.dtype),
        ).to(self.device)  # fmt: skip
        prediction = evaluate(self.model, graph)
        energy = prediction.energy.item()
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.atom_energies.cpu().numpy(),
            "forces": prediction.forces.cpu().numpy(),
        }
        if self.atoms.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress(prediction, graph.volumes)[0].cpu().numpy())
