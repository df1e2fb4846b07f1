"""Does MD with a model stay alive, with and without its repulsion? Runs of LAMMPS from one frame with several seeds.

python benchmarks/stability.py model.pt START.extxyz --out runs --ps 200 --runs 10 --temperature 600

A run ends where a pair is nearer than 0.9 of its smallest distance in training (`closest halt`), where LAMMPS fails, or
well. Rows go to OUT/stability.csv as runs end; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sysconfig
from pathlib import Path

from ase.io import read, write

from tlmd.export import export_model
from tlmd.modelfile import load_model, load_sample, save_model
from tlmd.run.collective import alone
from tlmd.run.installed import plugin_folder

DECK = """
units metal
atom_style atomic
read_data {data}
pair_style {style} closest halt
pair_coeff * * {model} {elements}
velocity all create {temperature} {seed} loop geom
fix nve all nve
fix bath all temp/csvr {temperature} {temperature} 0.1 {seed}
timestep {timestep}
thermo 1000
thermo_style custom step temp pe press
run {steps}
print "ENDED $(step) $(temp)"
"""
VARIANTS = ("with repulsion", "without repulsion")
FIELDS = ("variant", "seed", "ps", "end")


def exported(model: Path, variant: str, out: Path) -> tuple[Path, str]:
    """The exported model of a variant (as it is, or without its repulsion) in the folder, and its pair style."""
    potential, card = load_model(model)
    if variant == "without repulsion":
        potential.repulsion.radius.zero_()
    name = out / f"{variant.replace(' ', '_')}.pt"
    if not name.with_name(f"{name.stem}-lammps.pt").exists():
        save_model(name, potential, card, load_sample(model))
        export_model(name)
    return name.with_name(f"{name.stem}-lammps.pt"), card.kind


def run(deck: str, folder: Path, timestep: float) -> tuple[float, str]:
    """ps until the end, and what it was: "survived", the contact, or LAMMPS' error."""
    (folder / "in.lmp").write_text(deck)
    lmp = Path(sysconfig.get_path("scripts")) / "lmp"
    environment = alone() | {"LAMMPS_PLUGIN_PATH": str(plugin_folder())}
    environment.setdefault("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    command = [lmp, "-in", "in.lmp", "-log", "log.lammps"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    text = done.stdout + done.stderr
    steps = re.findall(r"^ +(\d+) +[-\d.]+ +[-\d.e+]+ +[-\d.e+]+ *$", text, re.M)
    if contact := re.search(
        r"(\S+ at [\d.]+ A), .* at step (\d+); (in training at least [\d.]+ A): the run ends", text
    ):
        return int(contact[2]) * timestep, f"{contact[1]} ({contact[3]})"
    if ended := re.search(r"^ENDED (\d+)", text, re.M):
        return int(ended[1]) * timestep, "survived"
    error = re.search(r"ERROR[^\n]*", text)
    return (int(steps[-1]) if steps else 0) * timestep, error[0] if error else f"exit code {done.returncode}"


def main() -> None:
    """The benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("start", help="a file that ASE reads; its last frame")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ps", type=float, default=200.0)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=600.0)
    parser.add_argument("--timestep-fs", type=float, default=0.5)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    atoms, table = read(given.start), given.out / "stability.csv"
    elements = sorted(set(atoms.get_chemical_symbols()))
    data = (given.out / "start.data").absolute()
    write(data, atoms, format="lammps-data", specorder=elements, masses=True)
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    timestep = 1e-3 * given.timestep_fs
    for seed in range(1, given.runs + 1):
        for variant in given.variants:
            if any((row["variant"], row["seed"]) == (variant, str(seed)) for row in rows):
                continue
            model, style = exported(given.model, variant, given.out)
            deck = DECK.format(
                data=data, style=style, model=model.absolute(), elements=" ".join(elements), seed=seed,
                temperature=given.temperature, timestep=timestep, steps=round(given.ps / timestep),
            )  # fmt: skip
            ps, end = run(deck, given.out, timestep)
            rows.append({"variant": variant, "seed": str(seed), "ps": f"{ps:.4g}", "end": end})
            with open(table, "w", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                writer.writerows(rows)
            print(f"{variant}, seed {seed}: {ps:.4g} ps, {end}", flush=True)


if __name__ == "__main__":
    main()
