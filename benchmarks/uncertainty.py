"""What tells that a fine-tuned model is wrong? Committees of several kinds, its last layer, distances of features.

    python benchmarks/uncertainty.py FOLDER [--system water|liquid|methanol|malonaldehyde|surface] [--only WORD ...]

Labels are GFN1-xTB's (teacher xtb), which stands in for DFT: 20 frames to train on, 10 to validate and 30 to test, all
at 300 K. Systems and starts: benchmarks/uncertainty_systems.py. Judged are the largest force errors of a frame, on the
test frames and on frames of other kinds: hot, other densities, distorted, reacting, and frames of the model's own MD. A
frame is wrong if its largest error is twice that of all test frames. Everything is kept in FOLDER; the same command
goes on. `--only` takes measures by parts of their names.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from scipy.spatial import cKDTree
from scipy.stats import rankdata, spearmanr

from shallow_ensemble import HEADS, graph_of, shallow
from tlmd.calculator import TLCalculator
from tlmd.committee import Committee, deviations
from tlmd.engine import Engine
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.modelfile import load_model, load_sample, save_model
from tlmd.models.potential import evaluate
from tlmd.run.config import load_config, to_toml
from tlmd.train.config import FinetuneConfig
from tlmd.train.finetune import finetune
from uncertainty_systems import SYSTEMS, frames_of, start_of, xtb

OWN_PS, OWN_EVERY = 4.0, 20  # of the model's MD; steps of 0.5 fs between two frames, of which ten are taken
EXPLODED = 5.0  # times the temperature
VARIANTS = ("readout", "seed", "frames0.8", "noise0.2", "readout+frames0.8")
STEPS, MEMBERS, WRONG = 800, 4, 2.0
RIDGE = 1e-8  # of the mean diagonal element


class Measure(NamedTuple):
    """values (N,) of the atoms of every frame, true force errors (N,) eV/A, energy errors of the frames, eV/atom; cost
    in evaluations of one model."""

    values: list[np.ndarray]
    errors: list[np.ndarray]
    energies: np.ndarray
    cost: float


def noisy(folder: Path, start: str, size: float, k: int) -> str:
    """The start with normal noise on its weight matrices, in units of the rms weight of each."""
    model, card = load_model(start)
    generator = torch.Generator().manual_seed(k)
    with torch.no_grad():
        for p in (p for p in model.net.parameters() if p.dim() > 1):
            p.add_(size * p.square().mean().sqrt() * torch.randn(p.shape, generator=generator))
    save_model(folder / f"start-noise-{k}.pt", model, card, load_sample(start))
    return str(folder / f"start-noise-{k}.pt")


def members(folder: Path, frames: dict[str, Path], start: str, variant: str) -> list[Path]:
    """The models of a committee; the first is that of `readout`, the committee of tl-finetune."""
    committee = [folder / "committee", *(folder / "committee" / "members" / str(k) for k in range(2, MEMBERS + 1))]
    parts = variant.split("+")
    for k in range(1, MEMBERS + 1):
        size = next((float(part[6:]) for part in parts if part.startswith("frames")), 1.0)
        noise = next((float(part[5:]) for part in parts if part.startswith("noise")), 0.0)
        out = folder / f"m-{variant}-{k}"
        settings = {"seed": k, "transfer": {"start_from": start}, "optimizer": {"lr": 2e-3}}
        if variant == "readout" or k == 1:
            out, settings["seed"], size, noise = committee[0], 1, 1.0, 0.0
            settings |= {"committee": MEMBERS, "committee_jobs": 1}
        elif "readout" in parts:
            settings["member"] = k
        committee[k - 1] = committee[k - 1] if variant == "readout" else out
        if (out / "errors.json").exists():
            continue
        if noise:
            settings["transfer"] = {"start_from": noisy(folder, start, noise, k)}
        training = {"n_frames": round(20 * size), "max_steps": STEPS, "batch_frames": 1, "valid_every": 100}
        settings["data"] = {name: str(frames[name]) for name in ("train", "valid")}
        settings |= {"training": training | {"threads": 1, "plots": False}, "stability": {"ps": 0}}
        (folder / f"{out.name}.toml").write_text(to_toml(settings))
        finetune(load_config(FinetuneConfig, folder / f"{out.name}.toml"), out)
    return [path / "model.pt" for path in committee]


def own_frames(folder: Path, model: Path, start: Frame, temperature: int, backend: str) -> Path:
    """Ten frames of NVT with the model from one frame, evenly spread up to where it fails (EXPLODED)."""
    out = folder / f"own{temperature}.extxyz"
    if not out.exists():
        warnings.simplefilter("ignore")  # of contacts
        place = {"cell": start.cell, "pbc": start.pbc}
        atoms = Atoms(start.numbers, start.positions, **place, calculator=TLCalculator(model, backend=backend))
        rng, found = np.random.default_rng(temperature), []
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
        dynamics = Bussi(atoms, 0.5 * units.fs, temperature, 50 * units.fs, rng=rng)
        for step, _ in enumerate(dynamics.irun(round(2000 * OWN_PS))):
            if not atoms.get_temperature() < EXPLODED * temperature:
                print(f"own{temperature}: {atoms.get_temperature():.0f} K after {step / 2000:g} ps", flush=True)
                break
            if step and step % OWN_EVERY == 0:
                found.append(Frame(atoms.numbers, atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc))
        write_frames(out, [found[int(i)] for i in np.linspace(0.1 * len(found), len(found), 10) - 1])
    return out


def hidden(net, q: torch.Tensor) -> torch.Tensor:
    """What the last linear layer sees of features q (N, F): (N, F/2 + 1), the last of them one."""
    return torch.cat([net.energy[1](net.energy[0](q)), q.new_ones(len(q), 1)], 1).double()


def force_rows(net, graph) -> torch.Tensor:
    """Derivatives (N, 3, D) of the frame's sums of the last layer's inputs, i.e. forces but for their weights."""
    vectors = graph.vectors.float().requires_grad_(True)
    sums, rows = hidden(net, net.features(graph.species, vectors, graph.neighbours)).sum(0), []
    for value in sums[:-1]:
        slope = torch.autograd.grad(value, vectors, retain_graph=True)[0].double()
        rows.append(slope.sum(1).index_add(0, graph.neighbours.reshape(-1).long(), slope.reshape(-1, 3), alpha=-1))
    return torch.stack([*rows, torch.zeros_like(rows[0])], 2)


def inverse(matrix: torch.Tensor) -> torch.Tensor:
    """With a small ridge."""
    return torch.linalg.inv(matrix + RIDGE * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64))


def one_model(file: Path, graphs: list, train: list[int]) -> tuple[dict[str, list[np.ndarray]], dict[str, float]]:
    """Measures (N,) of every frame by one model alone, and seconds that each took for all frames."""
    net, engine = load_model(file)[0].net, Engine(load_model(file)[0], keep_features=True)
    started = time.perf_counter()
    q = [torch.from_numpy(engine.features(graph)).float() for graph in graphs]
    features = time.perf_counter() - started
    with torch.no_grad():
        rows = [hidden(net, each) for each in q]
    started = time.perf_counter()
    of_atoms = inverse(sum(rows[i].T @ rows[i] for i in train))
    found = {"last layer, atoms": [((row @ of_atoms) * row).sum(1).clamp(min=0).sqrt().numpy() for row in rows]}
    seconds = {"last layer, atoms": features + time.perf_counter() - started}
    started = time.perf_counter()
    found["distance of features"] = distances([each.double().numpy() for each in q], graphs, train)
    seconds["distance of features"] = features + time.perf_counter() - started
    started = time.perf_counter()
    slopes = [force_rows(net, graph).flatten(0, 1) for graph in graphs]
    sums = [row.sum(0) / len(row) for row in rows]
    both = inverse(sum(100 * torch.outer(sums[i], sums[i]) + slopes[i].T @ slopes[i] for i in train))
    found["last layer, forces"] = [
        ((row @ both) * row).sum(1).clamp(min=0).reshape(-1, 3).sum(1).sqrt().numpy() for row in slopes
    ]
    seconds["last layer, forces"] = time.perf_counter() - started
    return found, seconds


def distances(q: list[np.ndarray], graphs: list, train: list[int]) -> list[np.ndarray]:
    """Distance of each atom's features to the nearest of a training atom of its species, in units of their spread."""
    species = [graph.species.numpy() for graph in graphs]
    found = [np.zeros(len(each)) for each in q]
    for kind in np.unique(species[0]):
        known = np.concatenate([q[i][species[i] == kind] for i in train])
        tree = cKDTree(known / known.std(0))
        for i, each in enumerate(q):
            mine = species[i] == kind
            found[i][mine] = tree.query(each[mine] / known.std(0), k=2)[0][:, int(i in train)]
    return found


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """Probability that one of `high` is above one of `low`; NaN without either."""
    if not len(high) or not len(low):
        return np.nan
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def row(measure: Measure, kinds: np.ndarray) -> list[str]:
    """The cells of a measure."""
    found, errors = measure.values, measure.errors
    largest, error = (np.array([each.max() for each in part]) for part in (found, errors))
    test, seen = kinds == "test", np.isin(kinds, ["train", "valid"])
    outside = ~seen & ~test
    wrong = outside & (error > WRONG * error[test].max())
    own = wrong & np.char.startswith(kinds, "own")
    limits = {name: np.quantile(flat(found, kinds == name), 0.999) for name in ("train", "valid")}
    limit, scale = limits["valid"], np.sqrt(np.mean(flat(errors, test) ** 2) / np.mean(flat(found, test) ** 2))
    cells = [auc(largest[wrong], largest[test]), auc(largest[own], largest[test])]
    cells += [auc(largest[kinds == "hot"], largest[test]), spearmanr(largest[~seen], error[~seen]).statistic]
    cells += [spearmanr(largest[~seen], np.abs(measure.energies[~seen])).statistic]
    cells += [spearmanr(flat(found, test), flat(errors, test)).statistic]
    text = [f"{cell:.3f}" for cell in cells]
    text += [f"{scale:.2g}", percent(flat(errors, test) < 2 * scale * flat(found, test))]
    text += [f"{np.median(error[part] / largest[part]):.2g}" for part in (test, outside)]
    text += [f"{limits['train'] / limit:.2f}", percent(largest[own] > largest[test].max())]
    for factor in (1.5, 3.0):
        text.append(" / ".join(percent(largest[part] > factor * limit) for part in (test, wrong, own)))
    return [*text, f"{measure.cost:.2f}"]


def percent(true: np.ndarray) -> str:
    """The share that is true."""
    return f"{100 * np.mean(true):.0f} %" if len(true) else "-"


def flat(parts: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """The atoms of the chosen frames."""
    return np.concatenate([part for part, take in zip(parts, chosen, strict=True) if take])


HEADS_OF_TABLE = (
    "measure", "AUC, wrong", "AUC, own wrong", "AUC, hot", "rank corr., frames", "rank corr., energies",
    "rank corr., test atoms", "error / measure", "within 2", "largest error / measure, test", "the same, outside",
    "p999, train / valid", "own wrong above all test", "test / wrong / own above 1.5 p999", "the same, 3 p999", "cost",
)  # fmt: skip


def shallow_measure(folder: Path, start: str, first: Path, frames: dict[str, list[Frame]], steps: int) -> Measure:
    """Of a shallow ensemble, with its own errors; its cost in PyTorch's evaluations of one model."""
    file = folder / f"shallow-{HEADS}-{steps}.pt"
    net = shallow(file, start, first, frames["train"], frames["valid"], steps)
    everything = [frame for part in frames.values() for frame in part]
    graphs = [graph_of(frame, net.model) for frame in everything]
    seconds, started = [], time.perf_counter()
    for graph in graphs:
        evaluate(net.model, graph._replace(vectors=graph.vectors.float()))
    seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    found = [tuple(part.detach() for part in net(graph)) for graph in graphs]
    seconds.append(time.perf_counter() - started)
    errors, energies = [], []
    for (energy, forces), frame in zip(found, everything, strict=True):
        errors.append(np.linalg.norm(forces.mean(0).numpy() - frame.forces, axis=1))
        energies.append((float(energy.mean()) - frame.energy) / len(frame))
    values = [deviations(forces).numpy() for _, forces in found]
    return Measure(values, errors, np.array(energies), seconds[1] / seconds[0])


def measures(
    folder: Path, files: dict[str, Path], frames: dict[str, list[Frame]], start: str, asked: argparse.Namespace
) -> dict[str, Measure]:
    """Every measure whose name holds one of the words of `only`, or all; the first is that of tl-finetune."""
    everything, only = [frame for part in frames.values() for frame in part], asked.only
    first = members(folder, files, start, "readout")
    committee = Committee(first, backend=asked.backend)
    graphs = [committee.graph(frame) for frame in everything]
    started = time.perf_counter()
    predictions = [committee.predictors[0](graph) for graph in graphs]
    once = time.perf_counter() - started
    pairs = list(zip(predictions, everything, strict=True))
    errors = [np.linalg.norm(a.forces.numpy() - b.forces, axis=1) for a, b in pairs]
    energies = np.array([(float(a.energy) - b.energy) / len(b) for a, b in pairs])
    rows = {}
    for variant in VARIANTS:
        if variant != "readout" and only and not any(word in variant for word in only):
            continue
        committee = Committee(members(folder, files, start, variant), backend=asked.backend)
        started = time.perf_counter()
        found = [torch.stack([each.forces for each in committee.predict(graph)]) for graph in graphs]
        cost = (time.perf_counter() - started) / once
        for k in (2, MEMBERS) if variant == "readout" else (MEMBERS,):
            values = [deviations(each[:k]).numpy() for each in found]
            rows[f"{variant}, K = {k}"] = Measure(values, errors, energies, cost * k / MEMBERS)
    if not only or any("shallow" in word for word in only):
        rows[f"shallow, K = {HEADS}"] = shallow_measure(folder, start, first[0], frames, asked.shallow_steps)
    if not only or any("layer" in word or "distance" in word for word in only):
        train = list(np.flatnonzero([name == "train" for name, part in frames.items() for _ in part]))
        alone, seconds = one_model(first[0], graphs, train)
        rows |= {name: Measure(found, errors, energies, seconds[name] / once) for name, found in alone.items()}
    return rows


def table_of_errors(measure: Measure, kinds: np.ndarray) -> None:
    """Print the errors of each kind of frames."""
    print("| frames | number | largest force error, eV/A: median | least | most | force RMSE, meV/A |")
    print("|---" * 6 + "|")
    for name in dict.fromkeys(kinds):
        largest = np.array([each.max() for each, kind in zip(measure.errors, kinds, strict=True) if kind == name])
        cells = [f"{value:.2f}" for value in (np.median(largest), largest.min(), largest.max())]
        rmse = 1e3 * np.sqrt(np.mean(flat(measure.errors, kinds == name) ** 2) / 3)
        print("| " + " | ".join([str(name), str(len(largest)), *cells, f"{rmse:.0f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--system", choices=SYSTEMS, default="water")
    parser.add_argument("--start", help="another start: a shipped model, a file; liquid is --system liquid")
    parser.add_argument("--only", nargs="*", default=[], help="measures: parts of names")
    parser.add_argument("--shallow-steps", type=int, default=STEPS, help="of the shallow ensemble")
    parser.add_argument("--backend", choices=("native", "torch"), default="native", help="of evaluations")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    system = SYSTEMS["liquid" if asked.start == "liquid" else asked.system]
    start = asked.start if asked.start not in (None, "liquid") else start_of(folder, system)
    files = frames_of(folder, system)
    first = members(folder, files, start, "readout")[0]
    for kelvin in (300, system.hot):
        own = own_frames(folder, first, read_frames(files["test"])[0], kelvin, asked.backend)
        files[f"own{kelvin}"] = xtb(folder, f"own{kelvin}-labels", own, 1)
    frames = {name: read_frames(file) for name, file in files.items()}
    kinds = np.array([name for name, part in frames.items() for _ in part])
    rows = measures(folder, files, frames, start, asked)
    table_of_errors(next(iter(rows.values())), kinds)
    for name in (name for name in rows if name.startswith("shallow")):
        print(f"\n{name}:\n")
        table_of_errors(rows[name], kinds)
    print("\n| " + " | ".join(HEADS_OF_TABLE) + " |\n" + "|---" * len(HEADS_OF_TABLE) + "|")
    for name, measure in rows.items():
        print("| " + " | ".join([name, *row(measure, kinds)]) + " |")


if __name__ == "__main__":
    main()
