"""The cost of one training step on energies and forces of liquid water: tlmd's engine, eager PyTorch, and other codes.

    python benchmarks/train_step.py [--codes ...] [--width 64 128] [--frames 8] [--rounds 3]

A step: prediction of a batch of frames of 192 atoms, squared errors of energies and forces, gradients with respect to
all parameters, Adam. native: the engine's tangent passes; native:layer, native:readout: the same with all parameters
frozen but those of the last layer and the readout, or of the readout; native:threads: on two threads, wall time; eager:
double backward in torch; compile: the same through torch.compile, which refuses double backward (torch 2.13);
schnetpack: its PaiNN of the same size; mace: MACE 64x0e, 2 layers (install as for md_step.py). float32, one thread,
neighbours given; each measurement is a process of its own, codes in turn, and one line when it is done, with the best
of the rounds so far; glibc malloc tuned for all (no mmap, no trim). Times are of the processor, so that other work on
the machine counts little. Memory: resident maximum less that after imports and inputs. `x native`: times slower than
native. At F = 128 a round of all takes some minutes: choose codes and widths for a shorter run, with native among
them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
import typing
import warnings

from codes import CUTOFF, ELEMENTS, LAYERS, N_RADIAL, mace_model, schnetpack_model, water
from md_step import MALLOC, count_memory, highest_memory

N_ATOMS = 192  # of a frame
Step = typing.Callable[[], None]


def step_of(parameters, energies_and_forces, n_frames: int) -> Step:
    """One step of Adam on squared errors; energies_and_forces() -> (B,), (N, 3)."""
    import torch

    random = torch.Generator().manual_seed(1)
    energy = torch.randn(n_frames, generator=random)
    forces = torch.randn(n_frames * N_ATOMS, 3, generator=random)
    optimizer = torch.optim.Adam(parameters, 1e-5)

    def step() -> None:
        optimizer.zero_grad()
        e, f = energies_and_forces()
        loss = ((e - energy) / N_ATOMS).square().mean() + (f - forces).square().mean()
        loss.backward()
        optimizer.step()

    return step


TRAINED = {"native:layer": (f"messages.{LAYERS - 1}", f"updates.{LAYERS - 1}", "energy"), "native:readout": ("energy",)}


def tlmd_step(code: str, n_frames: int, width: int) -> Step:
    """eager, compile, native, or native with frozen parameters."""
    import torch

    from tlmd.engine import TrainingEngine, pairs_of
    from tlmd.graph import batch_graphs, build_graph
    from tlmd.models.architecture import Architecture, new_potential
    from tlmd.models.potential import evaluate

    torch.manual_seed(0)
    potential = new_potential(ELEMENTS, CUTOFF, Architecture(width=width, n_layers=LAYERS, n_radial=N_RADIAL))
    numbers, positions, cell = water(N_ATOMS)
    frame = build_graph(numbers, positions, cell, [True] * 3, ELEMENTS, CUTOFF)
    graph = batch_graphs([frame] * n_frames)
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(any(part in name for part in TRAINED.get(code, ("",))))
    if code.startswith("native"):
        engine = TrainingEngine(potential, frame)
        pairs = pairs_of(potential, graph)

        def predict():
            return engine.evaluate(graph, pairs)
    else:
        model = torch.compile(potential, dynamic=False) if code == "compile" else potential

        def predict():
            return evaluate(model, graph, create_graph=True)

    def energies_and_forces():
        prediction = predict()
        return prediction.energy, prediction.forces

    return step_of([p for p in potential.parameters() if p.requires_grad], energies_and_forces, n_frames)


def schnetpack_step(n_frames: int, width: int) -> Step:
    """schnetpack's PaiNN, eager, as its trainer runs it."""
    model, inputs, positions = schnetpack_model(N_ATOMS, width, n_frames)
    model.train()

    def energies_and_forces():
        result = model({**inputs, "_positions": positions.clone()})
        return result["energy"], result["forces"]

    return step_of(model.parameters(), energies_and_forces, n_frames)


def mace_step(n_frames: int, width: int) -> Step:
    """MACE 64x0e, 2 layers, eager, as its trainer runs it."""
    model, inputs = mace_model(N_ATOMS, n_frames)

    def energies_and_forces():
        result = model({**inputs, "positions": inputs["positions"].clone()}, training=True)
        return result["energy"], result["forces"]

    return step_of(model.parameters(), energies_and_forces, n_frames)


def measure(code: str, n_frames: int, width: int) -> dict[str, float]:
    """us/atom/step and peak KiB/atom in this process, which is to do nothing else."""
    import torch

    warnings.simplefilter("ignore")
    threads, clock = (2, time.perf_counter) if code == "native:threads" else (1, time.process_time)
    torch.set_num_threads(threads)
    step = {"schnetpack": schnetpack_step, "mace": mace_step}.get(code, lambda *a: tlmd_step(code, *a))(n_frames, width)
    before = count_memory()
    for _ in range(2):
        step()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 4 and len(times) < 100):
        start = clock()
        step()
        times.append(clock() - start)
    n_atoms = n_frames * N_ATOMS
    return {"us": min(times) / n_atoms * 1e6, "kib": (highest_memory() - before) / n_atoms}


def start_worker(code: str, n_frames: int, width: int) -> dict[str, float]:
    """The measurement of a process of its own; no numbers if it failed: why goes to stderr."""
    command = [sys.executable, __file__, "--worker", code, str(n_frames), str(width)]
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    print(f"{code}, F={width}: {(done.stderr.strip() or 'no output').splitlines()[-1]}", file=sys.stderr)
    return {"us": math.nan, "kib": math.nan}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    there = [name for name in ("schnetpack", "mace") if importlib.util.find_spec(name)]
    parser.add_argument(
        "--codes", "--rivals", nargs="+", default=["native", "native:threads", *TRAINED, "eager", *there]
    )
    parser.add_argument("--width", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        code, n_frames, width = args.worker
        return print(json.dumps(measure(code, int(n_frames), int(width))))
    print(f"batch {args.frames} x {N_ATOMS} atoms, float32, one thread, malloc tuned: {MALLOC}")
    print(f"{'F':>4} {'round':>5} {'code':14s} {'us/atom/step':>13} {'KiB/atom':>10} {'x native':>9}", flush=True)
    for width in args.width:
        best: dict[str, dict[str, float]] = {}
        for number in range(1, args.rounds + 1):
            for code in args.codes:
                result = start_worker(code, args.frames, width)
                old = best.setdefault(code, result)
                found = best[code] = {key: min(old[key], result[key]) for key in result}
                slower = found["us"] / best.get("native", {}).get("us", math.nan)
                numbers = f"{found['us']:13.1f} {found['kib']:10.1f} {slower:9.2f}"
                print(f"{width:4d} {number:5d} {code:14s} {numbers}", flush=True)


if __name__ == "__main__":
    main()
