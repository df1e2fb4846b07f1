"""The cost of MEKRR's kernel head in the native engine, as a ratio to the PaiNN that it sits on.

    python benchmarks/kernel_head.py [--features 1024] [--rounds 30]

A test frame of inputs/water (192 atoms) and water-gfn1-f64 (F = 64, float32) on one core: energies and forces by the
plain network, and by kernel models of random weights on its last layer alone and on all three side by side. The three
are evaluated in turn, so that other work on the machine meets all of them; medians of the rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from tlmd.engine import Engine
from tlmd.frames.read import read_frames
from tlmd.graph import build_graph
from tlmd.mekrr.backbones import PaiNNBackbone
from tlmd.modelfile import load_model
from tlmd.models.architecture import KernelArchitecture

MODEL = "water-gfn1-f64"
FRAMES = Path(__file__).parents[1] / "inputs" / "water" / "test.extxyz.xz"
CALLS = 20  # of one engine in a row


def with_head(layers: list[int], n_features: int):
    """A kernel model on these layers of the network, its head's buffers random."""
    kernel = KernelArchitecture(
        kind="gaussian", map="fourier", layers=layers, aggregation="mean", alpha=0.1, length=10.0, n_features=n_features
    )
    made = PaiNNBackbone(MODEL, layers).kernel_model(kernel)
    for buffer in made.net.head.buffers():
        buffer.normal_()
    return made.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    potential, card = load_model(MODEL)
    frame = read_frames(FRAMES)[0]
    geometry = (frame.numbers, frame.positions, frame.cell, frame.pbc, card.elements, card.cutoff, torch.float32)
    graph = build_graph(*geometry)
    engines = {"plain": Engine(potential)}
    for layers in ([2], [0, 1, 2]):
        engines[f"head on {len(layers)} of 3 layers"] = Engine(with_head(layers, options.features))
    seconds = {name: [] for name in engines}
    for _ in range(options.rounds + 1):
        for name, engine in engines.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                engine.evaluate(graph)
            seconds[name].append((time.perf_counter() - started) / CALLS)
    plain = np.array(seconds["plain"][1:])  # the first round warms up
    for name, values in seconds.items():
        ratio = np.median(np.array(values[1:]) / plain)
        print(f"{name:20} {1e6 * np.median(values[1:]) / len(frame):6.2f} us/atom, {ratio:.2f} times plain")


if __name__ == "__main__":
    main()
