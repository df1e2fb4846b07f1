"""Shallow ensembles (Kellner, Ceriotti, Mach. Learn.: Sci. Technol. 5, 035006, 2024): several last layers on one PaiNN.

Trunk and heads are trained together by Gaussian negative log likelihoods of energies and forces, whose variances are
those of the heads; forces of each head by a backward pass of its own through the trunk. By PyTorch, for
benchmarks/uncertainty.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tlmd.frames.frame import Frame
from tlmd.graph import Graph, build_graph
from tlmd.modelfile import load_model
from tlmd.models.potential import Potential
from tlmd.train.config import OptimizerConfig
from tlmd.train.schedule import Average, Schedule

HEADS = 4
FLOOR_EV, FLOOR_EV_A = 5e-4, 1e-2  # smallest standard deviation of an atom's energy, and of a force component
ENERGY = 0.1  # weight of the likelihood of energies (mean over frames) beside that of forces (mean over components)


class Shallow(nn.Module):
    """K last layers on the trunk of a fine-tuned model; `model` gives scale, reference energies and repulsion."""

    def __init__(self, model: Potential, trunk: nn.Module, heads: int = HEADS, seed: int = 1):
        super().__init__()
        self.model, self.trunk = model, trunk
        last = trunk.energy[-1]
        spread = torch.randn(heads, last.in_features, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(last.weight.detach() + last.in_features**-0.5 * spread / 3**0.5)  # as nn.Linear's
        self.bias = nn.Parameter(last.bias.detach().expand(heads).clone())

    def forward(self, graph: Graph, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """Energies (K,) eV and forces (K, N, 3) eV/A of one frame by each head."""
        vectors = graph.vectors.detach().requires_grad_(True)
        q = self.trunk.features(graph.species, vectors.float(), graph.neighbours)
        hidden = self.trunk.energy[1](self.trunk.energy[0](q))
        e = (hidden @ self.weight.T + self.bias).double()  # (N, K)
        repulsion = self.model.repulsion(graph.species, vectors, graph.neighbours).sum()
        energies = (e * self.model.scale[graph.species, None] + self.model.reference[graph.species, None]).sum(0)
        found = []
        for energy in energies + repulsion:
            slope = torch.autograd.grad(energy, vectors, create_graph=create_graph, retain_graph=True)[0]
            other = slope.new_zeros(len(e), 3).index_add(0, graph.neighbours.reshape(-1).long(), slope.reshape(-1, 3))
            found.append(slope.sum(1) - other)
        return energies + repulsion, torch.stack(found)

    def loss(self, graph: Graph, frame: Frame, create_graph: bool = True) -> Tensor:
        """Negative log likelihood of a frame's labels, without constants."""
        energies, forces = self(graph, create_graph)
        energy = likelihood(energies / len(frame), torch.tensor(frame.energy / len(frame)), FLOOR_EV)
        return ENERGY * energy + likelihood(forces, torch.as_tensor(frame.forces), FLOOR_EV_A)


def likelihood(found: Tensor, label: Tensor, floor: float) -> Tensor:
    """Mean of -log N(label; mean and variance over the K heads of `found`)."""
    variance = found.var(0) + floor**2
    return 0.5 * ((found.mean(0) - label).square() / variance + variance.log()).mean()


def graph_of(frame: Frame, model: Potential) -> Graph:
    """The graph of a frame."""
    cell = (frame.numbers, frame.positions, frame.cell, frame.pbc)
    return build_graph(*cell, model.elements, model.cutoff, torch.float64)


def shallow(
    file: Path, start: str, member: Path, train: Sequence[Frame], valid: Sequence[Frame], steps: int
) -> Shallow:
    """Fine-tune `start` as a shallow ensemble for `steps` steps of one frame, or read it from `file`.

    member: a model fine-tuned on the same frames, for its scale and reference energies. The averaged parameters with
    the best likelihood of the validation frames are kept, as tl-finetune does.
    """
    net = Shallow(load_model(member)[0], load_model(start)[0].net.float())
    if file.exists():
        net.load_state_dict(torch.load(file, weights_only=True))
        return net
    config = OptimizerConfig()
    parameters = [net.weight, net.bias, *net.trunk.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=config.lr)
    schedule, average = Schedule(config, steps), Average(parameters, config.ema)
    graphs = [[graph_of(frame, net.model) for frame in part] for part in (train, valid)]
    generator, best = torch.Generator().manual_seed(1), float("inf")
    for step in range(steps):
        if step % len(train) == 0:
            order = torch.randperm(len(train), generator=generator)
        i = int(order[step % len(train)])
        optimizer.zero_grad()
        net.loss(graphs[0][i], train[i]).backward()
        nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], config.clip)
        optimizer.param_groups[0]["lr"] = config.lr * schedule.factor(step)
        optimizer.step()
        average.update(step)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            with average.applied():
                parts = zip(graphs[1], valid, strict=True)
                value = sum(float(net.loss(graph, frame, create_graph=False)) for graph, frame in parts)
                print(f"step {step + 1}: likelihood of the validation frames {value / len(valid):.3f}", flush=True)
                if value < best:
                    best = value
                    torch.save(net.state_dict(), file)
    net.load_state_dict(torch.load(file, weights_only=True))
    return net
