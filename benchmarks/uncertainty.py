"""What tells that a fine-tuned model is wrong? Committees of several kinds, its last layer, distances of features.

    python benchmarks/uncertainty.py FOLDER [--start water-spcfw-f64]

Labels are GFN1-xTB's (teacher xtb), which stands in for DFT: liquid water of SPC/Fw, 32 molecules, 20 frames to train
on, 10 to validate and 30 to test, all at 300 K and 1 g/cm3. `--start liquid` pretrains a start that knows such frames
alone, without close contacts and stretched bonds. Judged are the largest force errors of a frame, on the test frames
and on: the liquid at 600 K (hot), at 0.67 and 1.27 g/cm3 (wide), with stretched bonds, with molecules turned into each
other, and frames of the model's own MD. A frame is wrong if its largest error is twice that of all test frames.
Everything is kept in FOLDER; the same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sysconfig
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from scipy.spatial import cKDTree
from scipy.stats import rankdata, spearmanr

from tlmd.calculator import TLCalculator
from tlmd.committee import Committee, deviations
from tlmd.engine import Engine
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.modelfile import load_model, load_sample, save_model
from tlmd.run.config import load_config, to_toml
from tlmd.train.config import FinetuneConfig
from tlmd.train.finetune import finetune

BIN = Path(sysconfig.get_path("scripts"))
COLD, ONE = {"temperature_K": [295, 305]}, {"density_g_cm3": [0.98, 1.02], "spacing_ps": 0.2, "equilibrate_ps": 1.0}
LIQUID = {"kind": "bulk", "equilibrate_ps": 2.0, "spacing_ps": 0.3, "density_g_cm3": [0.98, 1.02]} | COLD
SETS = {  # seed; frames, frames of one trajectory and state of each system
    "train": (1, {"ambient": (20, 5, LIQUID)}),
    "valid": (2, {"ambient": (10, 5, LIQUID)}),
    "test": (3, {"ambient": (30, 5, LIQUID)}),
    "hot": (4, {"hot": (16, 4, {"kind": "bulk"} | ONE | {"temperature_K": [590, 610]})}),
    "wide": (
        5,
        {
            "dense": (8, 2, {"kind": "bulk"} | COLD | ONE | {"density_g_cm3": [1.25, 1.3]}),
            "thin": (8, 2, {"kind": "bulk"} | COLD | ONE | {"density_g_cm3": [0.65, 0.7]}),
        },
    ),
    "stretched": (6, {"stretched": (16, 4, {"kind": "stretched"} | COLD | ONE)}),
    "turned": (7, {"turned": (16, 4, {"kind": "turned"} | COLD | ONE)}),
}
OWN = {300: (4.0, 0.4), 600: (4.0, 0.4)}  # K of the model's MD: length and spacing of frames, ps
VARIANTS = ("readout", "seed", "frames0.8", "noise0.2", "readout+frames0.8")
STEPS, MEMBERS, WRONG = 800, 4, 2.0
RIDGE = 1e-8  # of the mean diagonal element


def run(*words: object) -> None:
    """A command of tlmd; its output if it fails."""
    done = subprocess.run([BIN / str(words[0]), *map(str, words[1:])], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


def xtb(folder: Path, name: str, file: Path, seed: int) -> Path:
    """Frames of a file with labels of GFN1-xTB."""
    table = {"kind": "file", "file": str(file), "frames": len(read_frames(file)), "frames_per_item": 2}
    settings = {"seed": seed, "max_force": 200.0, "recheck": 0.05, "teacher": {"name": "xtb"}, "systems": {"a": table}}
    if not (folder / name / "frames.extxyz.xz").exists():
        (folder / f"{name}-x.toml").write_text(to_toml(settings))
        run("tl-generate", folder / f"{name}-x.toml", "--out", folder / name)
    return folder / name / "frames.extxyz.xz"


def spcfw(folder: Path, name: str, seed: int, systems: dict) -> Path:
    """SPC/Fw's frames of a set."""
    tables = {
        key: {"molecules": 32, "frames": n, "frames_per_item": each} | state
        for key, (n, each, state) in systems.items()
    }
    config = {"seed": seed, "max_force": 100.0, "teacher": {"name": "spcfw"}, "systems": tables}
    if not (folder / f"{name}-spcfw" / "frames.extxyz.xz").exists():
        (folder / f"{name}.toml").write_text(to_toml(config))
        run("tl-generate", folder / f"{name}.toml", "--out", folder / f"{name}-spcfw")
    return folder / f"{name}-spcfw" / "frames.extxyz.xz"


def liquid_start(folder: Path) -> Path:
    """A start pretrained for 3000 steps on 160 frames of SPC/Fw's liquid near 300 K and 1 g/cm3."""
    out = folder / "start" / "model.pt"
    if not out.exists():
        wider = {"temperature_K": [280, 320], "density_g_cm3": [0.96, 1.04], "spacing_ps": 0.1, "equilibrate_ps": 1.0}
        frames = spcfw(folder, "s", 21, {"a": (160, 20, {"kind": "bulk"} | wider)})
        training = {"max_steps": 3000, "batch_frames": 1, "valid_every": 500, "threads": 1, "plots": False}
        data = {"train": str(frames), "valid_fraction": 0.125}
        (folder / "p.toml").write_text(to_toml({"data": data, "optimizer": {"lr": 2e-3}, "training": training}))
        run("tl-pretrain", folder / "p.toml", "--out", folder / "start")
    return out


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


def own_frames(folder: Path, model: Path, start: Frame, temperature: int) -> Path:
    """Frames of NVT with the model, from one frame."""
    out = folder / f"own{temperature}.extxyz"
    if not out.exists():
        warnings.simplefilter("ignore")  # of contacts
        ps, spacing = OWN[temperature]
        atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True, calculator=TLCalculator(model))
        rng, found = np.random.default_rng(temperature), []
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
        dynamics = Bussi(atoms, 0.5 * units.fs, temperature, 50 * units.fs, rng=rng)
        for step, _ in enumerate(dynamics.irun(round(2000 * ps))):
            if step and step % round(2000 * spacing) == 0:
                found.append(Frame(atoms.numbers, atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc))
        write_frames(out, found)
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
    """Probability that one of `high` is above one of `low`."""
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def row(found: list[np.ndarray], errors: list[np.ndarray], kinds: np.ndarray, cost: float) -> list[str]:
    """The cells of a measure."""
    largest, error = (np.array([each.max() for each in part]) for part in (found, errors))
    test, seen = kinds == "test", np.isin(kinds, ["train", "valid"])
    wrong = ~seen & ~test & (error > WRONG * error[test].max())
    own = wrong & np.char.startswith(kinds, "own")
    limits = {name: np.quantile(flat(found, kinds == name), 0.999) for name in ("train", "valid")}
    limit, scale = limits["valid"], np.sqrt(np.mean(flat(errors, test) ** 2) / np.mean(flat(found, test) ** 2))
    cells = [auc(largest[wrong], largest[test]), auc(largest[own], largest[test])]
    cells += [auc(largest[kinds == "hot"], largest[test]), spearmanr(largest[~seen], error[~seen]).statistic]
    cells += [spearmanr(flat(found, test), flat(errors, test)).statistic]
    text = [f"{cell:.3f}" for cell in cells]
    text += [f"{scale:.2g}", f"{100 * np.mean(flat(errors, test) < 2 * scale * flat(found, test)):.0f} %"]
    text += [f"{limits['train'] / limit:.2f}", f"{100 * np.mean(largest[own] > largest[test].max()):.0f} %"]
    for factor in (1.5, 3.0):
        text.append(" / ".join(f"{100 * np.mean(largest[part] > factor * limit):.0f}" for part in (test, wrong, own)))
    return [*text, f"{cost:.2f}"]


def flat(parts: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """The atoms of the chosen frames."""
    return np.concatenate([part for part, take in zip(parts, chosen, strict=True) if take])


HEADS = (
    "measure", "AUC, wrong", "AUC, own wrong", "AUC, hot", "rank corr., frames", "rank corr., test atoms",
    "error / measure", "within 2", "p999, train / valid", "own wrong above all test",
    "test / wrong / own above 1.5 p999, %", "the same, 3 p999, %", "cost",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", default="water-spcfw-f64", help="a shipped model, a file, or liquid")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    start = str(liquid_start(folder)) if asked.start == "liquid" else asked.start
    files = {}
    for name, (seed, systems) in SETS.items():
        files[name] = xtb(folder, name, spcfw(folder, name, seed, systems), seed)
    first = members(folder, files, start, "readout")[0]
    for kelvin in OWN:
        own = own_frames(folder, first, read_frames(files["test"])[0], kelvin)
        files[f"own{kelvin}"] = xtb(folder, f"own{kelvin}-labels", own, 1)
    frames = {name: read_frames(file) for name, file in files.items()}
    kinds = np.array([name for name, part in frames.items() for _ in part])
    everything = [frame for part in frames.values() for frame in part]
    rows: dict[str, tuple[list[np.ndarray], float]] = {}
    for variant in VARIANTS:
        committee = Committee(members(folder, files, start, variant))
        if variant == "readout":
            graphs = [committee.graph(frame) for frame in everything]
            started = time.perf_counter()
            forces = [committee.predictors[0](graph).forces for graph in graphs]
            once = time.perf_counter() - started
            errors = [np.linalg.norm(a.numpy() - b.forces, axis=1) for a, b in zip(forces, everything, strict=True)]
        started = time.perf_counter()
        found = [torch.stack([each.forces for each in committee.predict(graph)]) for graph in graphs]
        seconds = time.perf_counter() - started
        for k in (2, MEMBERS) if variant == "readout" else (MEMBERS,):
            rows[f"{variant}, K = {k}"] = [deviations(each[:k]).numpy() for each in found], seconds * k / MEMBERS / once
    alone, seconds = one_model(first, graphs, list(np.flatnonzero(kinds == "train")))
    rows |= {name: (found, seconds[name] / once) for name, found in alone.items()}
    print(
        "| frames | number | largest force error, eV/A: median | least | most | force RMSE, meV/A |\n"
        + "|---" * 6
        + "|"
    )
    for name, part in frames.items():
        largest = np.array([each.max() for each, kind in zip(errors, kinds, strict=True) if kind == name])
        cells = [f"{value:.2f}" for value in (np.median(largest), largest.min(), largest.max())]
        rmse = 1e3 * np.sqrt(np.mean(flat(errors, kinds == name) ** 2) / 3)
        print("| " + " | ".join([name, str(len(part)), *cells, f"{rmse:.0f}"]) + " |")
    print("\n| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    for name, (found, cost) in rows.items():
        print("| " + " | ".join([name, *row(found, errors, kinds, cost)]) + " |")


if __name__ == "__main__":
    main()
