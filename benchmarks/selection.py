"""Does choosing frames pay? Errors of models fine-tuned on frames of tl-select against those on random frames.

    python benchmarks/selection.py FOLDER [--sizes 10 25] [--seeds 1 2 3] [--steps 1500] \\
        [--methods random farthest farthest+balance d-optimal]

Labels are q-TIP4P/F's (inputs/water/oracle/qtip4pf.in, by LAMMPS), which stands in for DFT; the start is
water-spcfw-f64, and the pool is SPC/Fw's liquid (tl-generate): 400 frames at 300 K and 1 g/cm3 from four trajectories,
as MD gives them, and 200 from 250 to 600 K and 0.8 to 1.25 g/cm3. Test frames: 90 of the same kinds from other
trajectories, and 40 at 550 to 650 K and 1.2 to 1.3 g/cm3, beyond the pool. Everything is kept in FOLDER; the same
command goes on. Mean of the seeds and their standard deviation.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import torch

from tlmd.evaluate.file import evaluate_file
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame, minimum_image
from tlmd.frames.read import read_frames
from tlmd.oracle.simulate import Labels, label
from tlmd.run.config import load_config, to_toml
from tlmd.run.installed import SHIPPED
from tlmd.select.choose import Distances, choose, strata_of
from tlmd.select.features import Describer, describe_files
from tlmd.select.select import frames_of
from tlmd.train.config import FinetuneConfig
from tlmd.train.finetune import finetune

START = "water-spcfw-f64"
WATER = Path(__file__).parents[1] / "inputs" / "water"
BIN = Path(sysconfig.get_path("scripts"))
AMBIENT = {"temperature_K": [290, 310], "density_g_cm3": [0.98, 1.02], "equilibrate_ps": 2.0}
WIDE = {"temperature_K": [250, 600], "density_g_cm3": [0.8, 1.25], "equilibrate_ps": 1.0}
HOT = {"temperature_K": [550, 650], "density_g_cm3": [1.2, 1.3], "equilibrate_ps": 1.0, "spacing_ps": 0.2}
SETS = {  # seed; frames, frames of one trajectory and state of each system
    "pool": (11, {"ambient": (400, 100, AMBIENT), "wide": (200, 10, WIDE)}),
    "held": (13, {"ambient": (60, 15, AMBIENT), "wide": (30, 3, WIDE)}),
    "hot": (12, {"hot": (40, 10, HOT)}),
}
ERRORS = {"force": "force_mae_mev_per_A", "energy": "energy_mae_mev_per_atom", "pressure": "pressure_mae_bar"}


def run(*words: object) -> None:
    """A command of tlmd; its output if it fails."""
    done = subprocess.run([BIN / str(words[0]), *map(str, words[1:])], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


def generate(folder: Path, name: str) -> Path:
    """SPC/Fw's frames of a set."""
    seed, systems = SETS[name]
    tables = {
        system: {"kind": "bulk", "molecules": 32, "frames": n, "frames_per_item": each, "spacing_ps": 0.1} | state
        for system, (n, each, state) in systems.items()
    }
    config = {"seed": seed, "max_force": 60.0, "teacher": {"name": "spcfw"}, "systems": tables}
    (folder / f"{name}.toml").write_text(to_toml(config))
    run("tl-generate", folder / f"{name}.toml", "--out", folder / name)
    return folder / name / "frames.extxyz.xz"


def labelled(folder: Path, name: str) -> Path:
    """The same frames with labels of q-TIP4P/F."""
    out = folder / f"{name}-labels"
    if not (out / "frames.extxyz").exists():
        frames = read_frames(generate(folder, name))
        out.mkdir(exist_ok=True)
        write_data(out / "system.data", frames[0])
        text = "".join(dump_text(step, frame) for step, frame in enumerate(frames))
        (out / "frames.dump.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        settings = {"include": WATER / "oracle" / "qtip4pf.in", "data": out / "system.data", "units": "real"}
        label(
            Labels(**settings, elements=["O", "H"], dump=out / "frames.dump.gz", variables={"accuracy": "1e-6"}),
            out / "run",
        )
        found = read_frames(out / "run" / "frames.extxyz.xz")
        for a, b in zip(found, frames, strict=True):  # LAMMPS wraps
            assert np.abs(minimum_image(a.positions - b.positions, b.cell)).max() < 1e-6
        both = [
            a.replace(energy=b.energy, forces=b.forces, stress=b.stress) for a, b in zip(frames, found, strict=True)
        ]
        write_frames(out / "frames.extxyz", both)
    return out / "frames.extxyz"


def write_data(path: Path, frame: Frame) -> None:
    """A LAMMPS data file of O H H, O H H, ... with bonds and angles."""
    n = len(frame) // 3
    edges = np.diag(frame.cell)
    text = f"water\n\n{3 * n} atoms\n{2 * n} bonds\n{n} angles\n2 atom types\n1 bond types\n1 angle types\n\n"
    text += "".join(f"0 {edge:.10f} {axis}lo {axis}hi\n" for axis, edge in zip("xyz", edges, strict=True))
    text += "\nMasses\n\n1 15.9994\n2 1.008\n\nAtoms # full\n\n"
    for k, (number, place) in enumerate(zip(frame.numbers, frame.positions, strict=True)):
        text += f"{k + 1} {k // 3 + 1} {1 if number == 8 else 2} 0.0 {place[0]:.9f} {place[1]:.9f} {place[2]:.9f}\n"
    text += "\nBonds\n\n" + "".join(
        f"{2 * k + b + 1} 1 {3 * k + 1} {3 * k + 2 + b}\n" for k in range(n) for b in (0, 1)
    )
    text += "\nAngles\n\n" + "".join(f"{k + 1} 1 {3 * k + 2} {3 * k + 1} {3 * k + 3}\n" for k in range(n))
    path.write_text(text)


def dump_text(step: int, frame: Frame) -> str:
    """A step of a LAMMPS dump."""
    text = f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp\n"
    text += "".join(f"0 {edge:.10f}\n" for edge in np.diag(frame.cell)) + "ITEM: ATOMS id x y z\n"
    return text + "".join(f"{k} {x:.9f} {y:.9f} {z:.9f}\n" for k, (x, y, z) in enumerate(frame.positions, start=1))


def chosen(folder: Path, pool: Path, method: str, n: int, seed: int) -> Path:
    """The frames that tl-select chooses, with their labels. A method may end in +balance."""
    out = folder / f"chosen-{method}-{n}-{seed}.extxyz"
    name, _, balanced = method.partition("+")
    if not out.exists():
        keys = ["temperature_K", "density_g_cm3"]
        describer = Describer(SHIPPED[START], [-1], directions=8)
        numbers = describe_files([pool], frames_of, describer, folder / "numbers", keys)
        strata, _ = strata_of(numbers.keys if balanced else {}, 3, len(numbers))
        frames, found = read_frames(pool), choose(Distances(numbers), None, n, name, strata, nearest=0.1, seed=seed)
        write_frames(out, [frames[i] for i in found.chosen])
    return out


def train(folder: Path, frames: dict[str, Path], method: str, n: int, seed: int, steps: int) -> dict[str, float]:
    """Errors of a model fine-tuned on the choice of a method, on both sets of test frames."""
    torch.set_num_threads(1)
    out = folder / f"model-{method}-{n}-{seed}-{steps}"
    if not (out / "errors-select.json").exists():
        config = {
            "seed": seed,
            "data": {"train": str(chosen(folder, frames["pool"], method, n, seed)), "valid_fraction": 0.0},
            "transfer": {"start_from": START},
            "loss": {"stress_error_bar": 300.0},
            "optimizer": {"lr": 1e-3 if steps >= 1500 else 2e-3},
            "training": {"max_steps": steps, "batch_frames": 1, "valid_every": steps, "threads": 1, "plots": False},
            "stability": {"ps": 0},
        }
        (folder / f"{out.name}.toml").write_text(to_toml(config))
        finetune(load_config(FinetuneConfig, folder / f"{out.name}.toml"), out)
        found = {}
        for name in ("held", "hot"):
            errors = evaluate_file(out / "model.pt", frames[name])[0].to_json()
            found |= {f"{name} {what}": errors[key] for what, key in ERRORS.items()}
        (out / "errors-select.json").write_text(json.dumps(found, indent=1) + "\n")
    return json.loads((out / "errors-select.json").read_text())


def table(rows: dict[tuple[str, int], list[dict[str, float]]]) -> str:
    """Markdown: mean ± standard deviation over the seeds."""
    columns = [f"{name} {what}" for name in ("held", "hot") for what in ERRORS]
    units = {"force": "meV/A", "energy": "meV/atom", "pressure": "bar"}
    heads = [f"{column}, {units[column.split()[1]]}" for column in columns]
    lines = [f"| frames | method | seeds | {' | '.join(heads)} |", "|" + "---|" * (3 + len(heads))]
    for (method, n), found in sorted(rows.items(), key=lambda item: (item[0][1], item[0][0])):
        cells = []
        for column in columns:
            values = np.array([row[column] for row in found])
            spread = f" ± {values.std(ddof=1):.3g}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3g}{spread}")
        lines.append(f"| {n} | {method} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=["random", "farthest", "farthest+balance", "d-optimal"])
    parser.add_argument("--steps", type=int, default=1500)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    frames = {name: labelled(folder, name) for name in SETS}
    rows: dict[tuple[str, int], list[dict[str, float]]] = {}
    for seed in asked.seeds:
        for n in asked.sizes:
            for method in asked.methods:
                rows.setdefault((method, n), []).append(train(folder, frames, method, n, seed, asked.steps))
                print(table(rows), flush=True)


if __name__ == "__main__":
    main()
