"""Energy and forces of liquid water with PaiNN: tlmd against schnetpack 2.1.1, same F, L, cutoff and basis, one
thread, float32.

    pip install --no-deps schnetpack==2.1.1 torch-ema tensorboardX && pip install h5py hydra-core pytorch-lightning
    matscipy \\
        torchmetrics fasteners dirsync hydra-colorlog progressbar protobuf
    python benchmarks/md_step.py [--atoms 192 648 1536] [--width 64 128] [--rounds 3]

Both run their TorchScript path on the same frame with its neighbours given; the rival's list of pairs is made by the
same search. Each measurement is a process of its own (peak memory = its resident maximum, less that after imports and
inputs), rivals in turn, best time of all rounds; glibc malloc tuned for both (no mmap, no trim).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import typing
import warnings

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "200000000000", "MALLOC_TOP_PAD_": "268435456"}
CUTOFF, LAYERS, N_RADIAL = 5.0, 3, 20


def water(n_atoms: int):
    """(numbers, positions, cell) of water molecules at 1 g/cm3 on a jittered lattice, n_atoms = 3 * (a whole cube's
    part).
    """
    import numpy as np

    n = n_atoms // 3
    side = (n * 29.9) ** (1 / 3)
    cells = int(np.ceil(n ** (1 / 3) - 1e-9))
    rng = np.random.default_rng(0)
    sites = np.stack(np.meshgrid(*[np.arange(cells)] * 3), -1).reshape(-1, 3)[:n] * side / cells
    molecule = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    turn = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    positions = (sites[:, None] + molecule @ turn + rng.normal(scale=0.05, size=(n, 3, 3))).reshape(-1, 3)
    return np.tile([8, 1, 1], n), positions, np.eye(3) * side


def tlmd_step(n_atoms: int, width: int):
    """A function that evaluates energy and forces once with tlmd's exported PaiNN."""
    import tempfile

    from tlmd.export import export_model, load_exported
    from tlmd.graph import build_graph
    from tlmd.modelfile import Architecture, Card, Sample, new_potential, save_model
    from tlmd.models.potential import evaluate

    numbers, positions, cell = water(n_atoms)
    architecture = Architecture(width=width, n_layers=LAYERS, n_radial=N_RADIAL)
    card = Card(elements=["O", "H"], cutoff=CUTOFF, architecture=architecture)
    with tempfile.TemporaryDirectory() as folder:
        trained = f"{folder}/model.pt"
        sample = Sample(*(array[:24] for array in (numbers, positions)), cell * 0, cell.any(0) & False)
        save_model(trained, new_potential(card.elements, CUTOFF, architecture), card, sample)
        model, _ = load_exported(export_model(trained))
    graph = build_graph(numbers, positions, cell, [True] * 3, card.elements, CUTOFF)
    return lambda: evaluate(model, graph).forces


def schnetpack_step(n_atoms: int, width: int):
    """The same with schnetpack's PaiNN, scripted."""
    import torch
    import torch.utils.data.dataloader as dataloader

    dataloader.T_co = typing.TypeVar("T_co", covariant=True)  # a name that schnetpack 2.1.1 expects of older torch
    import schnetpack as spk

    from tlmd.graph import neighbour_pairs

    numbers, positions, cell = water(n_atoms)
    i, j, vectors = neighbour_pairs(positions, cell, [True] * 3, CUTOFF)
    representation = spk.representation.PaiNN(
        n_atom_basis=width,
        n_interactions=LAYERS,
        radial_basis=spk.nn.BesselRBF(N_RADIAL, CUTOFF),
        cutoff_fn=spk.nn.CosineCutoff(CUTOFF),
    )
    potential = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(n_in=width, output_key="energy"), spk.atomistic.Forces()],
    )
    potential.requires_grad_(False)
    model = torch.jit.script(potential)
    r = torch.tensor(positions, dtype=torch.float32)
    offsets = torch.tensor(vectors - (positions[j] - positions[i]), dtype=torch.float32)
    inputs = {
        "_n_atoms": torch.tensor([n_atoms]),
        "_idx": torch.tensor([0]),
        "_atomic_numbers": torch.tensor(numbers),
        "_idx_m": torch.zeros(n_atoms, dtype=torch.long),
        "_idx_i": torch.tensor(i),
        "_idx_j": torch.tensor(j),
        "_offsets": offsets,
        "_cell": torch.tensor(cell, dtype=torch.float32)[None],
    }
    return lambda: model({**inputs, "_positions": r.clone()})["forces"]


def worker(rival: str, n_atoms: int, width: int) -> None:
    """Measure one rival in this process and print {"us": us/atom/step, "kib": peak KiB/atom} as JSON."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    step = {"tlmd": tlmd_step, "schnetpack": schnetpack_step}[rival](n_atoms, width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(4):
        step()
    times = []
    while len(times) < 5 or (sum(times) < 6 and len(times) < 200):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"us": min(times) / n_atoms * 1e6, "kib": peak / n_atoms}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 648, 1536])
    parser.add_argument("--width", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker[0], int(args.worker[1]), int(args.worker[2]))
    print(
        "us/atom/step and peak KiB/atom, one thread, malloc tuned: " + " ".join(f"{k}={v}" for k, v in MALLOC.items())
    )
    print(
        f"{'F':>4} {'atoms':>6} {'tlmd us':>9} {'spk us':>9} {'ratio':>6} {'tlmd KiB':>9} {'spk KiB':>9} {'ratio':>6}"
    )
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
    for width in args.width:
        for n_atoms in args.atoms:
            best: dict[str, dict[str, float]] = {}
            for _ in range(args.rounds):
                for rival in ("tlmd", "schnetpack"):
                    command = [sys.executable, __file__, "--worker", rival, str(n_atoms), str(width)]
                    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                    result = json.loads(output.splitlines()[-1])
                    old = best.setdefault(rival, result)
                    best[rival] = {key: min(old[key], result[key]) for key in result}
            a, b = best["tlmd"], best["schnetpack"]
            print(
                f"{width:4d} {n_atoms:6d} {a['us']:9.1f} {b['us']:9.1f} {b['us'] / a['us']:6.2f} "
                f"{a['kib']:9.1f} {b['kib']:9.1f} {b['kib'] / a['kib']:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
