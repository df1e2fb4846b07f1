"""tl-mekrr against franken: the same water frames, the same MACE backbone, one core; errors and time side by side.

    python benchmarks/mekrr_fit.py [--frames 8] [--held-out 4] [--features 512] [--length 5] [--model FILE] [--out DIR]

Needs mace-torch and franken (`pip install mace-torch franken`). Frames are the first of inputs/water; the held-out ones
choose the hyper-parameters, as many others are the test. Without --model the backbone is a small MACE of random weights
(16x0e, 2 layers, l up to 2, correlation 2, 4 A, float32): times and the comparison hold, but errors are not those of a
foundation model. The two take scalars of both layers, scaled by species, one gaussian length (--length times the median
distance, the same for both: franken scales features by 1 / sqrt(F) more), and the same grid of 10 x 6 force weights and
lambdas. tlmd-painn is tl-mekrr once more, on the shipped network water-gfn1-f64 and the native engine instead of MACE,
and with alpha, which franken lacks, from 0, 0.1 and 1.
Each is its command in a process of its own, start-up included. Seconds: of the wall, and of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from pathlib import Path

WATER = Path(__file__).parents[1] / "inputs" / "water"
WEIGHTS = [0.01 + 0.98 * k / 9 for k in range(10)]
RIDGES = [10.0**k for k in range(-11, -5)]
NAMES = ["tlmd", "tlmd-painn", "franken"]
OWN = {
    "backbone.kind": '"painn"',
    "backbone.model": "water-gfn1-f64",
    "backbone.layers": "[0, 1, 2]",
    "fit.alpha": "[0, 0.1, 1]",
}
PAINN = [word for key, value in OWN.items() for word in ("--set", f"{key}={value}")]
SCRIPTS = Path(sysconfig.get_path("scripts"))
TOML = """
[data]
train = "train.extxyz"
valid = "valid.extxyz"
test = "test.extxyz"
[backbone]
kind = "mace"
model = "{model}"
layers = [0, 1]
[kernel]
n_features = {features}
lengths = [{length}]
[fit]
alpha = [0.0]
force_weight = {weights}
ridge = {ridges}
[training]
threads = 1
plots = false
"""


def random_mace(path: Path) -> None:
    """Write the small MACE of random weights."""
    import numpy as np
    import torch

    from tlmd.models.features.mace import mace_torch

    warnings.simplefilter("ignore")  # of TorchScript, by e3nn
    modules, o3 = mace_torch("mace.modules"), mace_torch("e3nn.o3")
    torch.manual_seed(1)
    block = modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=4.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=2, correlation=2, num_interactions=2,
        interaction_cls=block["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=block["RealAgnosticInteractionBlock"],
        num_elements=2, atomic_numbers=[1, 8], atomic_energies=np.zeros(2), avg_num_neighbors=26.0,
        hidden_irreps=o3.Irreps("16x0e"), MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    torch.save(model, path)


def prepare(folder: Path, n_frames: int, n_held_out: int, model: Path | None, **settings: float) -> None:
    """Write train, valid and test frames, the backbone, and mekrr.toml."""
    from tlmd.frames.extxyz import write_frames
    from tlmd.frames.read import read_frames

    for name, n in (("train", n_frames), ("valid", n_held_out), ("test", n_held_out)):
        frames = read_frames(WATER / f"{name}.extxyz.xz")[:n]
        write_frames(folder / f"{name}.extxyz", [frame.replace(stress=None) for frame in frames])
    if model is None:
        random_mace(folder / "mace.model")
    path = (model or folder / "mace.model").absolute()
    (folder / "mekrr.toml").write_text(TOML.format(model=path, weights=WEIGHTS, ridges=RIDGES, **settings))


def command(name: str, folder: Path, model: Path, features: int, length: float | None) -> list[str]:
    """What a user of tlmd or franken would run in `folder`."""
    if name != "franken":
        fit = [sys.executable, "-c", "from tlmd.cli import mekrr; mekrr()", "mekrr.toml", "--out", name]
        return fit if name == "tlmd" else fit + PAINN
    return [
        str(SCRIPTS / "franken.autotune"), "--train-path", "train.extxyz", "--val-path", "valid.extxyz",
        "--test-path", "test.extxyz", "--backbone", "mace", "--mace.path-or-id", str(model),
        "--mace.interaction-block", "2", "--rf", "gaussian", "--gaussian.num-rf", str(features),
        "--gaussian.length-scale", f"{length:.6g}", "--force-weight", str(WEIGHTS), "--l2-penalty", str(RIDGES),
        "--jac-chunk-size", "16", "--run-dir", str(folder / "franken"),
    ]  # fmt: skip


def timed(arguments: list[str], folder: Path, log: Path) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = {**os.environ, **one, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with open(log, "w") as file:
        subprocess.run(arguments, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, check=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def errors_of(name: str, folder: Path) -> dict[str, float]:
    """MAE on the test frames, meV/atom and meV/A."""
    if name != "franken":
        found = json.loads((folder / name / "errors.json").read_text())["test"]
        return {"energy": found["energy_mae_mev_per_atom"], "forces": found["force_mae_mev_per_A"]}
    best = json.loads(max((folder / "franken").glob("run_*/best.json")).read_text())
    return {kind: best["metrics"]["test"][f"{kind}_MAE"] for kind in ("energy", "forces")}


def franken_length(folder: Path) -> float:
    """The gaussian length of tlmd's fit in franken's units."""
    from tlmd.modelfile import load_model

    model, card = load_model(folder / "tlmd" / "model.pt")
    return card.kernel.length / model.net.head.shift.shape[1] ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--held-out", type=int, default=4)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--length", type=float, default=5.0)
    parser.add_argument("--model", type=Path, help="a MACE model file")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--only", choices=NAMES, help="franken alone needs an --out where tlmd has run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.out or Path(temporary)).absolute()
        (folder / "franken").mkdir(parents=True, exist_ok=True)
        if options.only != "franken":
            prepare(
                folder,
                options.frames,
                options.held_out,
                options.model,
                features=options.features,
                length=options.length,
            )
        model = (options.model or folder / "mace.model").absolute()
        for name in [options.only] if options.only else NAMES:
            length = franken_length(folder) if name == "franken" else None
            arguments = command(name, folder, model, options.features, length)
            wall, processor = timed(arguments, folder, folder / f"{name}.log")
            errors = errors_of(name, folder)
            print(
                f"{name:10} {wall:7.1f} s wall {processor:7.1f} s processor   test MAE: "
                f"{errors['energy']:.2f} meV/atom, {errors['forces']:.1f} meV/A",
                flush=True,
            )


if __name__ == "__main__":
    main()
