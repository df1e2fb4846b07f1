"""The cost of an evaluation by the native engine where the first layer reaches further than the others.

    python benchmarks/two_radii.py [--radii 5/5 5/6.5 5/8 6.5/6.5 6.5/8] [--atoms 192] [--width 64] [--turns 20]
        [--training]

Liquid water, float32, one thread, random weights, neighbours given: cutoff/first_cutoff in A, processor time in
us/atom (with --training: of values and all gradients of a loss on energies and forces), the least of all turns, in
which every case takes its part; the ratio to the first case; pairs of an atom, each counted once; KiB an atom.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch

from codes import ELEMENTS, LAYERS, N_RADIAL, water
from tlmd.engine import Engine, TrainingEngine, pairs_of
from tlmd.graph import build_graph
from tlmd.models.architecture import Architecture, new_potential

REPEATS = 10  # of an evaluation in a turn


def case(cutoff: float, first_cutoff: float, n_atoms: int, width: int, training: bool) -> tuple[Callable, dict]:
    """A function that evaluates once, and what else there is to say."""
    torch.manual_seed(0)
    architecture = Architecture(width=width, n_layers=LAYERS, n_radial=N_RADIAL, first_cutoff=first_cutoff)
    potential = new_potential(ELEMENTS, cutoff, architecture)
    numbers, positions, cell = water(n_atoms)
    graph = build_graph(numbers, positions, cell, [True] * 3, ELEMENTS, potential.cutoff)
    pairs, n = pairs_of(potential, graph), len(graph.species)
    n_pairs = float((graph.vectors.norm(dim=-1) < potential.cutoff).sum()) / n / 2
    if not training:
        engine = Engine(potential, threads=1, sample=graph)
        engine._painn.evaluate(pairs)
        return lambda: engine._painn.evaluate(pairs), {"pairs": n_pairs, "kib": engine.memory / n / 1024}
    engine = TrainingEngine(potential, sample=graph)
    random = np.random.default_rng(0)
    slopes = random.normal(size=n), random.normal(size=(n, 3)), np.zeros((n, 3, 3))
    names = engine.names[1:]

    def step() -> None:
        engine.training.evaluate(pairs)
        engine.training.gradients(*slopes, names)

    step()
    return step, {"pairs": n_pairs, "kib": engine.training.memory / n / 1024}


def timed(step: Callable) -> float:
    """Processor time of an evaluation in s."""
    start = time.process_time()
    for _ in range(REPEATS):
        step()
    return (time.process_time() - start) / REPEATS


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--radii", nargs="+", default=["5/5", "5/6.5", "5/8", "6.5/6.5", "6.5/8"])
    parser.add_argument("--atoms", type=int, default=192)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--training", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = {r: case(*map(float, r.split("/")), args.atoms, args.width, args.training) for r in args.radii}
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(args.turns):
        for name, (step, _) in cases.items():
            best[name] = min(best[name], timed(step))
    print(f"F = {args.width}, {args.atoms} atoms, TLMD_ISA={os.environ.get('TLMD_ISA', 'auto')}")
    print(f"{'radii':>8} {'us/atom':>8} {'ratio':>6} {'pairs':>6} {'KiB':>6}")
    for name, (_, said) in cases.items():
        us, ratio = best[name] / args.atoms * 1e6, best[name] / best[args.radii[0]]
        print(f"{name:>8} {us:8.2f} {ratio:6.2f} {said['pairs']:6.1f} {said['kib']:6.1f}")


if __name__ == "__main__":
    main()
