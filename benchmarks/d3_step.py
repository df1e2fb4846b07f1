"""The cost of Grimme's D3 beside a model in LAMMPS: one step of MD of 64 molecules of water.

    python benchmarks/d3_step.py [--cutoffs 12 8] [--every 1 4 10] [--rounds 5] [--steps 40] [--drift 0]

model            water-revpbed3-f64 alone
dispersion/d3    LAMMPS' own style in hybrid/overlay with it
d3 every N       ours
d3 tail yes      ours with the tail
... respa        every 4th step, by run_style respa

All are dynamics (inputs/water/water64.data, NVE, 0.5 fs, neighbour lists included) in one process and thread, which
take turns of --steps steps: processor time in us/atom/step, the least of all rounds; the ratio to the model alone; what
D3 adds. No D3 was taken off the labels of this model: times mean something, and the energy's drift.

--drift STEPS: instead, NVE of STEPS steps at about 300 K with each: the slope of the total energy in time, its standard
deviation about that line, and the largest force error of `every N` at the end against every 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"
from tlmd.baseline.d3 import D3Config
from tlmd.baseline.d3_file import write_d3
from tlmd.export import export_model
from tlmd.run.installed import plugin_folder

DATA = Path(__file__).parents[1] / "inputs" / "water" / "water64.data"
CN_CUTOFF, FUNCTIONAL, ATOMS = 8.0, "revpbe", 192


def lines(case: str, cutoff: float, folder: Path) -> str:
    """The commands of a pair style."""
    model = f"{folder}/model.pt O H"
    if case == "model":
        return f"pair_style tpainn\npair_coeff * * {model}\ntimestep 0.0005"
    if case.startswith("dispersion/d3"):
        style = f"dispersion/d3 original {FUNCTIONAL} {cutoff} {CN_CUTOFF}"
        own = "pair_coeff * * dispersion/d3 O H"
    else:
        style, own = case.removesuffix(" respa"), f"pair_coeff * * d3 {folder}/{cutoff:g}-d3.json O H"
    respa = "timestep 0.002\nrun_style respa 2 4 hybrid 1 2" if case.endswith("respa") else "timestep 0.0005"
    return f"pair_style hybrid/overlay tpainn {style}\npair_coeff * * tpainn {model}\n{own}\n{respa}"


def start(case: str, cutoff: float, folder: Path):
    """A LAMMPS that has run its first steps."""
    from tlmd.lammps_serial import SerialLammps

    one = SerialLammps("metal")
    one.commands(f"""
units metal
atom_style atomic
atom_modify map array
read_data {DATA}
{lines(case, cutoff, folder)}
neighbor 1.0 bin
velocity all create 300 1 mom yes rot no dist gaussian
fix 1 all nve
thermo 1000000
run 8
""")
    return one


def seconds(one, command: str) -> float:
    """Processor time of a command."""
    begun = time.process_time()
    one.commands(command)
    return time.process_time() - begun


def measure(cases: list[tuple[str, float]], folder: Path, rounds: int, steps: int) -> list[float]:
    """us/atom for each 0.5 fs."""
    running, least = [start(*case, folder) for case in cases], [np.inf] * len(cases)
    for _ in range(rounds):
        for k, ((name, _), one) in enumerate(zip(cases, running, strict=True)):
            if name.endswith("respa"):  # which cannot do without its first evaluation
                taken = seconds(one, f"run {steps // 4} post no") - seconds(one, "run 0 post no")
            else:
                taken = seconds(one, f"run {steps} pre no post no")
            least[k] = min(least[k], taken / steps / ATOMS * 1e6)
    for one in running:
        one.close()
    return least


def drift(case: str, cutoff: float, folder: Path, steps: int) -> tuple[float, float, float]:
    """Slope of the total energy in meV/atom/ns, its standard deviation about the line in meV/atom, largest error of a
    force component at the end in eV/A."""
    one, outer = start(case, cutoff, folder), 4 if case.endswith("respa") else 1
    one.commands(f"""
run {2000 // outer} post no
variable e equal etotal
fix e all print {20 // outer} "${{e}}" file {folder}/energies screen no title ""
run {steps // outer} post no
unfix e""")
    energies = np.loadtxt(folder / "energies") / ATOMS * 1e3
    held = np.array(one.lammps.gather_atoms("f", 1, 3))
    one.commands("run 0 post no")
    error = np.abs(np.array(one.lammps.gather_atoms("f", 1, 3)) - held).max()
    one.close()
    t = np.arange(len(energies)) * 20 * 0.5e-6  # ns
    line = np.polyfit(t, energies, 1)
    return float(line[0]), float(np.std(energies - np.polyval(line, t))), float(error)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutoffs", type=float, nargs="+", default=[12.0, 8.0])
    parser.add_argument("--every", type=int, nargs="+", default=[1, 4, 10])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--drift", type=int, default=0)
    args = parser.parse_args()
    os.environ["LAMMPS_PLUGIN_PATH"] = str(plugin_folder())
    ours = [f"d3 every {n}" for n in args.every]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_model("water-revpbed3-f64", folder / "model.pt")
        for cutoff in args.cutoffs:
            config = D3Config(kind="d3", functional=FUNCTIONAL, cutoff_A=cutoff, cn_cutoff_A=CN_CUTOFF)
            write_d3(folder / f"{cutoff:g}-d3.json", config, ["O", "H"])
        if args.drift:
            for case in ["model", *ours, "d3 every 1 respa"]:
                slope, spread, error = drift(case, args.cutoffs[0], folder, args.drift)
                print(f"{case:16s} {slope:9.2f} meV/atom/ns, {spread:.4f} meV/atom, {error:.1e} eV/A", flush=True)
            return
        names = ["dispersion/d3", "dispersion/d3 respa", *ours, "d3 tail yes", "d3 every 1 respa"]
        cases = [("model", 0.0)] + [(case, cutoff) for cutoff in args.cutoffs for case in names]
        times = measure(cases, folder, args.rounds, args.steps)
    for (case, cutoff), us in zip(cases, times, strict=True):
        print(f"{case:20s} {cutoff:5.1f} A {us:8.2f} us/atom  x {us / times[0]:.2f}  + {us - times[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
