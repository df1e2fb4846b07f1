"""The cost of a committee in LAMMPS: `halt` with four models, looked at every 10 steps, against the first one alone.

    python benchmarks/committee_md.py [--models A-lammps.pt B-lammps.pt ...] [--replicate 1] [--every 10] [--rounds 5]

Molecular dynamics of liquid water (inputs/water/water64.data, 192 atoms, repeated --replicate times along each edge)
on one core, in float32, without the comparison of backends on the first step. Without --models: water-gfn1-f64 four
times, whose cost is that of any four models of its size. Both are run in turn, each in a process of its own, so that
other work on the machine meets both; the least processor time of all rounds.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from tlmd.export import export_model
from tlmd.run.installed import named_or_path, plugin_folder, water_inputs

DECK = """
units metal
atom_style atomic
read_data {data}
replicate {n} {n} {n}
pair_style tpainn backend native check no {words}
pair_coeff * * {models} O H
neighbor 1.0 bin
neigh_modify every 20 delay 0 check no
velocity all create 298.15 1 loop geom
fix nve all nve
timestep 0.0005
thermo 1000000
run 20
run {steps}
"""


def seconds_a_step(deck: str, folder: Path, steps: int) -> float:
    """Processor time of the last run of the deck, in a process of its own."""
    (folder / "in.lmp").write_text(deck)
    environment = {**os.environ, "LAMMPS_PLUGIN_PATH": str(plugin_folder()), "OMP_NUM_THREADS": "1"}
    command = [Path(sysconfig.get_path("scripts")) / "lmp", "-in", "in.lmp", "-log", "none"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(next(line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line))
    wall = float(re.findall(r"Loop time of (\S+)", done.stdout)[-1])
    return wall * float(re.findall(r"(\S+)% CPU use", done.stdout)[-1]) / 100 / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, help="exported, two or more")
    parser.add_argument("--replicate", type=int, default=1)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shipped = [export_model(named_or_path("water-gfn1-f64"), folder / "shipped.pt", "float32")] * 4
        models = [path.absolute() for path in options.models or shipped]
        common = {"data": water_inputs() / "water64.data", "n": options.replicate, "steps": options.steps}
        decks = {
            "one model": DECK.format(**common, words="", models=models[0]),
            f"{len(models)} models, every {options.every}": DECK.format(
                **common, words=f"halt 1e6 every {options.every}", models=" ".join(map(str, models))
            ),
        }
        best = dict.fromkeys(decks, float("inf"))
        for _ in range(options.rounds):
            for what, deck in decks.items():
                best[what] = min(best[what], seconds_a_step(deck, folder, options.steps))
    for what, seconds in best.items():
        print(f"{what:24s} {1e6 * seconds / (192 * options.replicate**3):8.2f} us/atom/step")
    alone, together = best.values()
    print(f"{'ratio':24s} {together / alone:8.2f}")


if __name__ == "__main__":
    main()
