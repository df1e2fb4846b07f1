"""Small feature modules with random weights, by the contract of tlmd.models.features.module."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn


class Messages(nn.Module):
    """Message layers: neighbours' features by distance, and the squares of their dipoles."""

    def __init__(self, cutoff: float, n_layers: int = 2):
        super().__init__()
        self.elements, self.cutoff, self.width, self.n_layers = ["N", "C", "O", "H"], cutoff, 3 * n_layers, n_layers
        generator = torch.Generator().manual_seed(2)
        double = {"dtype": torch.float64, "generator": generator}
        self.register_buffer("embedding", torch.randn(4, 3, **double))
        self.register_buffer("exponents", torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64))
        self.register_buffer("weights", torch.randn(n_layers, 9, 3, **double) * 0.3)

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        square = vectors.square().sum(-1, keepdim=True)
        near = (square < self.cutoff**2).to(vectors.dtype)
        shape = near * (1 - square / self.cutoff**2) ** 3 * torch.exp(-self.exponents * square)  # (N, K, 3)
        h = self.embedding[species]
        found: list[Tensor] = []
        for weights in self.weights:
            messages = shape * h[neighbours]
            dipoles = (messages[:, :, :, None] * vectors[:, :, None, :]).sum(1).square().sum(-1)
            h = torch.tanh(torch.cat([h, messages.sum(1), dipoles], dim=1) @ weights)
            found.append(h)
        return torch.cat(found, dim=1)


def scripted(module: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated upstream
        return torch.jit.script(module)


def small_mace(cutoff: float, dtype: torch.dtype = torch.float64) -> nn.Module:
    """ScaleShiftMACE of H, C, O: 8 scalars and 8 vectors after the first interaction, 8 scalars at last."""
    pytest.importorskip("mace", exc_type=ImportError)
    from tlmd.models.features.mace import mace_torch

    modules, o3 = mace_torch("mace.modules"), mace_torch("e3nn.o3")
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    torch.manual_seed(1)
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return modules.ScaleShiftMACE(
                r_max=cutoff, num_bessel=5, num_polynomial_cutoff=5, max_ell=1, interaction_cls=block,
                interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
                num_interactions=2, num_elements=3, hidden_irreps=o3.Irreps("8x0e+8x1o"), MLP_irreps=o3.Irreps("4x0e"),
                atomic_energies=np.zeros(3), avg_num_neighbors=8.0, atomic_numbers=[1, 6, 8], correlation=2,
                gate=nn.functional.silu, radial_MLP=[8, 8], atomic_inter_scale=1.0, atomic_inter_shift=0.0,
            )  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)


def write_mace(path, model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(model, path)
