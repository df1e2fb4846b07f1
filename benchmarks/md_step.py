"""The cost of one step of molecular dynamics of liquid water: tlmd's engine, its other paths, and other codes.

    python benchmarks/md_step.py [--codes ...] [--atoms 192 648 1536 20577] [--width 64 128] [--rounds 3] [--csv FILE]

eager        tlmd's potential in torch           torchscript, compile   the same, exported or through torch.compile
native       tlmd's engine called from Python    lammps                 pair_style tpainn, 1 rank and thread; also
                                                                        lammps-omp2: 2 threads, lammps-mpi2: 2 ranks
schnetpack   its PaiNN, same F, layers, basis, cutoff; TorchScript
mace         MACE 64x0e, 2 layers; TorchScript
deepmd       se_e2_a, compressed, in its own LAMMPS; sizes in codes.py

Without --codes those run whose packages are there (each may be installed beside tlmd, deepmd apart from it):

    pip install --no-deps schnetpack==2.1.1 torch-ema tensorboardX && pip install h5py hydra-core pytorch-lightning \\
        matscipy torchmetrics fasteners dirsync hydra-colorlog progressbar protobuf
    pip install mace-torch  # its e3nn needs TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1, which is set here
    python -m venv dp && dp/bin/pip install 'deepmd-kit[cpu,lmp]'  # then: md_step.py --deepmd-venv dp

float32, random weights, one thread unless stated. LAMMPS codes are timed in real dynamics, neighbour lists (rebuilt
every 20 steps) and integration included; the others evaluate energy and forces of the frame with neighbours given, made
by the same search. Each measurement is a process of its own, codes in turn, best of all rounds; glibc malloc tuned for
all (no mmap, no trim). Memory: resident maximum less that after imports and inputs (compile: with the compiler); in
LAMMPS what the pair style states. Error: the largest force error over the rms force, against float64. `x lammps`: times
slower than lammps. Codes in torch are left out beyond 5000 atoms unless --big: they need tens of GiB; schnetpack takes
18 GiB of 1536 atoms with F=128.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from codes import EAGER_FITS, ELEMENTS, LAMMPS, LAYERS, N_RADIAL, STEPS, prepare, time_lammps

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "200000000000", "MALLOC_TOP_PAD_": "268435456"}
OTHERS = ("schnetpack", "mace", "deepmd")  # whose weights are their own: no force error
ONE_WIDTH = ("mace", "deepmd")  # measured once for each number of atoms
COLUMNS = ("us", "kib", "error")


def highest_memory() -> int:
    """The resident maximum of this process in KiB since the last call of count_memory."""
    return next(int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))


def count_memory() -> int:
    """Give free memory back, start a new maximum, and return the KiB that are resident now."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return highest_memory()


def measure(code: str, folder: Path, n_atoms: int) -> dict[str, float]:
    """us/atom/step and peak KiB/atom of a code in this process, which is to do nothing else, and its force error."""
    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    step = STEPS[code](folder, n_atoms)
    before = count_memory()
    for _ in range(4):
        forces = step()
    times = []
    while len(times) < 5 or (sum(times) < 3 and len(times) < 200):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = highest_memory() - before
    error = math.nan if code in OTHERS else force_error(folder, np.asarray(forces))
    return {"us": min(times) / n_atoms * 1e6, "kib": peak / n_atoms, "error": error}


def measure_lammps(code: str, folder: Path, n_atoms: int, deepmd_venv: str) -> dict[str, float]:
    """The same of a code in LAMMPS."""
    import numpy as np

    result = time_lammps(code, folder, n_atoms, deepmd_venv)
    if code in OTHERS:
        return {**result, "error": math.nan}
    return {**result, "error": force_error(folder, np.loadtxt(folder / f"{code}.dump", skiprows=9))}


def force_error(folder: Path, forces) -> float:
    """max |F - F64| / rms(F64) against the reference in `folder`."""
    import numpy as np

    reference = np.load(folder / "reference.npy")
    return float(np.abs(forces - reference).max() / np.sqrt((reference**2).mean()))


def worker(task: str, folder: Path, n_atoms: int, width: int, deepmd_venv: str) -> None:
    """What a process of its own does: print one JSON value."""
    if task == "prepare":
        print(json.dumps(prepare(folder, n_atoms, width)))
    elif task in STEPS:
        print(json.dumps(measure(task, folder, n_atoms)))
    else:
        print(json.dumps(measure_lammps(task, folder, n_atoms, deepmd_venv)))


def start_worker(task: str, folder: Path, n_atoms: int, width: int, deepmd_venv: str):
    """The value of a worker, or None if it failed: why goes to stderr."""
    command = [sys.executable, __file__, "--worker", task, str(folder), str(n_atoms), str(width), deepmd_venv]
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    why = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
    print(f"{task}, F={width}, {n_atoms} atoms: {why}", file=sys.stderr)
    return None


def best_of_rounds(codes: list[str], rounds: int, *where) -> dict[str, dict[str, float]]:
    """The least of every number of every code; a code that failed is left out and not tried again."""
    best: dict[str, dict[str, float]] = {}
    failed = set()
    for _ in range(rounds):
        for code in codes:
            if code in failed:
                continue
            result = start_worker(code, *where)
            if result is None:
                failed.add(code)
                continue
            old = best.setdefault(code, result)
            best[code] = {key: min(old[key], result[key]) for key in result}
    return best


def peaks(folder: Path) -> tuple[float, ...] | None:
    """GFLOP/s of one core, GB/s of its L2 and of DRAM, by peaks.cpp; None without a compiler."""
    program = folder / "peaks"
    source = Path(__file__).with_name("peaks.cpp")
    try:
        subprocess.run(["g++", "-std=c++17", "-O3", "-march=native", str(source), "-o", str(program)], check=True)
        return tuple(map(float, subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()))
    except (OSError, subprocess.CalledProcessError):
        return None


def work_per_atom(width: int, pairs: float) -> tuple[float, float, float, float]:
    """Flops of the engine's dense layers and of its sums over pairs, bytes that these load and store (from L1 or L2)
    and bytes of the state kept for the reverse pass (from DRAM if it fits no cache), of one atom and step.
    """
    f, basis = width, N_RADIAL + 1
    moments = len(ELEMENTS) * basis
    dense = 10 * moments * f  # layer 1: moments to q (F), mu (3 F) and V, U (3 x 2F)
    dense += (LAYERS - 1) * (2 + 3 + 1 + 3) * f * f  # update0, update2, context0, context2
    dense += (2 + 2 + 0.5) * f * f  # last layer: update0, two thirds of update2, readout
    dense += (LAYERS - 1) * 6 * f * f  # mix, from layer 2
    # message.h, a pair and channel: forward 36 for three filters of six weights, 2 x 15 for both directions; backward
    # 72 for filters and slopes, 26 + 32 for both directions, 9 for the sums over channels.
    # moments.h, a pair and basis function: forward 12 + 2 x 7, backward 24 + 18.
    sums = pairs * ((LAYERS - 1) * f * (36 + 30 + 72 + 58 + 9) + basis * (26 + 42))
    # Numbers: 18 of the table, 5 of a neighbour's inputs, 4 of its sums (read and written) forward; 18, 5, 4 and 5
    # adjoints (read and written) backward; a pair's geometry and slopes, 40 numbers, for every 16 channels.
    moved = 4 * pairs * (LAYERS - 1) * f * (18 + 5 + 8 + 18 + 5 + 4 + 10 + 40 / 16)
    state = 2 * 4 * (f * (15 * LAYERS + 5 * LAYERS) + 8 * moments)  # written and read once
    return 4 * dense, sums, moved, state


def roofline(width: int, pairs: float, us: float, peak: tuple[float, ...]) -> str:
    """What the engine achieves of the peaks of a core, and what its parts would take at these."""
    dense, sums, moved, state = work_per_atom(width, pairs)
    flops, l2, dram = peak
    achieved = (dense + sums) / us / 1e3
    return (
        f"{achieved:.0f} GFLOP/s of {flops:.0f} ({achieved / flops:.0%}). At the peaks: dense layers "
        f"{dense / 1e6:.2f} MFLOP {dense / flops / 1e3:.1f} us, sums over {pairs:.1f} pairs/atom\n"
        f"    {sums / 1e6:.2f} MFLOP {sums / flops / 1e3:.1f} us, their {moved / 1e6:.2f} MB from L2 "
        f"{moved / l2 / 1e3:.1f} us, state {state / 1e3:.0f} kB from DRAM {state / dram / 1e3:.1f} us"
    )


def table_line(row: dict) -> str:
    """A row as text; "-" where there is no number."""

    def cell(key: str, form: str) -> str:
        value = row.get(key)
        return format("-", f">{form.split('.')[0]}") if value is None or math.isnan(value) else format(value, form)

    numbers = f"{cell('us', '10.2f')} {cell('kib', '10.2f')} {cell('error', '10.1e')} {cell('x lammps', '9.2f')}"
    return f"{row['F']:4d} {row['atoms']:6d}  {row['code']:12s} {numbers}"


def default_codes(deepmd_venv: str) -> list[str]:
    """Those whose packages are there."""
    there = {name: importlib.util.find_spec(name) is not None for name in ("schnetpack", "mace", "lammps")}
    codes = ["eager", "torchscript", "compile", "native"] + (list(LAMMPS) if there["lammps"] else [])
    codes += [name for name in ("schnetpack", "mace") if there[name]]
    return codes + (["deepmd"] if deepmd_venv else [])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", "--rivals", nargs="+", choices=[*STEPS, *LAMMPS, "deepmd"])
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 648, 1536, 20577])
    parser.add_argument("--width", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deepmd-venv", default="", help="virtual environment with deepmd-kit")
    parser.add_argument("--big", action="store_true", help="also what needs more than 12 GiB")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    args = arguments()
    if args.worker:
        task, folder, n_atoms, width, venv = args.worker
        return worker(task, Path(folder), int(n_atoms), int(width), venv)
    codes, rows, once = args.codes or default_codes(args.deepmd_venv), [], {}
    with tempfile.TemporaryDirectory() as name:
        peak = peaks(Path(name))
        print("float32, one thread unless stated, malloc tuned: " + " ".join(f"{k}={v}" for k, v in MALLOC.items()))
        print("peaks of a core: " + ("{} GFLOP/s, L2 {}, DRAM {} GB/s".format(*peak) if peak else "no compiler"))
        print(f"{'F':>4} {'atoms':>6}  {'code':12s} {'us/atom':>10} {'KiB/atom':>10} {'error':>10} {'x lammps':>9}")
        for n_atoms in args.atoms:
            for width in args.width:
                folder = Path(name) / f"{width}-{n_atoms}"
                folder.mkdir()
                where = (folder, n_atoms, width, args.deepmd_venv)
                pairs = start_worker("prepare", *where)
                if pairs is None:
                    continue
                fitting = [r for r in codes if args.big or n_atoms <= EAGER_FITS or r not in STEPS or r == "native"]
                fitting = [r for r in fitting if (r, n_atoms) not in once]
                best = best_of_rounds(fitting, args.rounds, *where)
                once |= {(r, n_atoms): best.get(r, {}) for r in ONE_WIDTH if r in fitting}
                base = best.get("lammps", {}).get("us", math.nan)
                for code in codes:
                    found = best.get(code) or once.get((code, n_atoms), {})
                    row = {"F": width, "atoms": n_atoms, "code": code, **found}
                    row["x lammps"] = found.get("us", math.nan) / base
                    print(table_line(row), flush=True)
                    rows.append({key: "" if x != x else x for key, x in row.items()})  # no number, not NaN
                engine = next((r for r in ("lammps", "native") if r in best), None)
                if peak and engine:
                    print(f"  roofline of {engine}: " + roofline(width, pairs, best[engine]["us"], peak), flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["F", "atoms", "code", *COLUMNS, "x lammps"])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
