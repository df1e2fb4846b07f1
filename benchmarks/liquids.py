"""Densities at 298 K and 1 bar of liquids whose force field and box come from SMILES, beside experiment.

    python benchmarks/liquids.py [--ps 25] [--molecules 48] [--seed 1] [NAME ...]

Each box is packed at 0.9 of the density of experiment, relaxed, kept at constant volume for 2 ps and then at constant
pressure; the first fifth of that is left out. The exit code says whether all stay condensed, within 35 %.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from tlmd.analysis.statistics import block_average
from tlmd.analysis.thermo import read_log
from tlmd.start.boxes import Box, pack, relax
from tlmd.start.forcefield import from_smiles

LIQUIDS = {  # SMILES, density in g/cm3 at 298.15 K and 1 bar, CRC Handbook of Chemistry and Physics
    "methanol": ("CO", 0.7866),
    "ethanol": ("CCO", 0.7852),
    "acetonitrile": ("CC#N", 0.7766),
    "benzene": ("c1ccccc1", 0.8737),
}
DECK = """
log npt.log
include forcefield.in
neighbor 2.0 bin
thermo 50
thermo_style custom step time temp press vol density pe
velocity all create 298.15 {seed} mom yes rot no dist gaussian
timestep 0.5
fix ensemble all nvt temp 298.15 298.15 50
run 4000
unfix ensemble
fix ensemble all npt temp 298.15 298.15 100 iso 1 1 500
run {equilibrate}
run {steps}
"""
WITHIN = 0.35


def simulated(box: Box, ps: float, seed: int) -> Path:
    """The log of NPT in a temporary folder that stays until the process ends."""
    folder = Path(tempfile.mkdtemp())
    (folder / "system.data").write_text(box.data())
    (folder / "forcefield.in").write_text(box.field.include())
    steps = round(ps * 2000)
    deck = DECK.format(seed=seed, equilibrate=steps // 5, steps=steps - steps // 5)
    (folder / "npt.in").write_text(deck)
    lmp = Path(sysconfig.get_path("scripts")) / "lmp"
    subprocess.run([lmp, "-in", "npt.in", "-log", "none", "-screen", "none"], cwd=folder, check=True)
    return folder / "npt.log"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(LIQUIDS))
    parser.add_argument("--ps", type=float, default=25.0)
    parser.add_argument("--molecules", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    passed = True
    for name in given.names or LIQUIDS:
        smiles, known = LIQUIDS[name]
        start = time.perf_counter()
        box = relax(pack(from_smiles([smiles]), [given.molecules], 0.9 * known, given.seed))
        rows = read_log(simulated(box, given.ps, given.seed)).runs[-1]
        found = block_average(rows.columns["Density"], "g/cm3")
        off = found.value / known - 1
        passed &= abs(off) < WITHIN
        seconds = time.perf_counter() - start
        print(f"{name:13}{found.value:.3f} +- {found.standard_error:.3f} g/cm3, experiment {known:.3f} ({off:+.1%}), "
              f"{len(box.positions)} atoms, {seconds:.0f} s", flush=True)  # fmt: skip
    sys.exit(not passed)


if __name__ == "__main__":
    main()
