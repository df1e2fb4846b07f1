"""Ensembles of inputs/decks/md.in, judged by physical-validation (Merz and Shirts, PLoS ONE 13, e0202764, 2018).

python benchmarks/ensembles.py --out runs --ps 70

32 molecules of water, one core. NVT at two temperatures and NPT at two pressures, as far apart as its estimate_interval
says after the first run. Boltzmann statistics give ln(P2(x)/P1(x)) for x = energy or volume: a line whose slope is
known. The kinetic energy has a known mean and width. Numbers are the distance from these in standard errors; below 3
passes. The control is weak coupling (Berendsen), known to be wrong: its kinetic energy must not pass. The exit code
says whether all is as it must be. A run that has ended is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from tlmd.analysis.thermo import Run, read_log
from tlmd.export import export_model
from tlmd.lammps_job import program
from tlmd.run.collective import alone
from tlmd.run.installed import plugin_folder
from tlmd.units import BOLTZMANN_EV_K, EV_PER_KJ_MOL

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import physical_validation as pv

INPUTS = Path(__file__).parents[1] / "inputs"
BATH = '"fix move all nvt temp ${temperature} ${temperature} 0.1"'
WEAK = '"fix move all nve" "fix bath all temp/berendsen ${temperature} ${temperature} 0.1"'
TIMESTEP_FS, LIMIT, SEED = 0.5, 3.0, 1
METAL = pv.data.UnitData(
    kb=BOLTZMANN_EV_K, energy_str="eV", energy_conversion=1 / EV_PER_KJ_MOL, length_str="A", length_conversion=0.1,
    volume_str="A^3", volume_conversion=1e-3, temperature_str="K", temperature_conversion=1, pressure_str="bar",
    pressure_conversion=1, time_str="ps", time_conversion=1,
)  # fmt: skip


class State(NamedTuple):
    """kind: nvt, npt, or weak (NVT by weak coupling); K; bar (of npt)."""

    kind: str
    temperature: float
    pressure: float


def table(given: argparse.Namespace, state: State) -> Run:
    """The thermo table of a run of the deck."""
    folder = given.out / "_".join(f"{part:g}" if isinstance(part, float) else part for part in state)
    folder.mkdir(exist_ok=True)
    log = folder / "md.log"
    if not (log.exists() and "Total wall time" in log.read_text()):
        deck = (INPUTS / "decks" / "md.in").read_text()
        assert BATH in deck
        (folder / "md.in").write_text(deck.replace(BATH, WEAK) if state.kind == "weak" else deck)
        length_ps = given.ps / 4 if state.kind == "weak" else given.ps
        variables = {
            "ensemble": "npt" if state.kind == "npt" else "nvt", "temperature": state.temperature,
            "pressure": state.pressure, "model": "../model.pt", "data": given.data.absolute(), "timestep": TIMESTEP_FS,
            "equilibrate": round(1000 * given.equilibrate_ps / TIMESTEP_FS),
            "steps": round(1000 * length_ps / TIMESTEP_FS),
        }  # fmt: skip
        words = [str(word) for name, value in variables.items() for word in ("-var", name, value)]
        environment = alone() | {"OMP_NUM_THREADS": "1", "LAMMPS_PLUGIN_PATH": str(plugin_folder())}
        with open(folder / "screen.txt", "w") as screen:
            command = [*program(), "-in", "md.in", *words]
            subprocess.run(command, cwd=folder, env=environment, stdout=screen, check=True)
    return read_log(log).runs[-1]


def simulation(run: Run, state: State) -> pv.data.SimulationData:
    """The run as physical-validation takes it; 3 degrees of freedom are those of the centre of mass at rest."""
    columns, n = run.columns, run.n_atoms
    system = pv.data.SystemData(
        natoms=n, nconstraints=0, ndof_reduction_tra=3, ndof_reduction_rot=0, mass=np.ones(n),
        molecule_idx=np.arange(n), nconstraints_per_molecule=np.zeros(n),
    )  # fmt: skip
    held = {"pressure": state.pressure} if state.kind == "npt" else {"volume": columns["Volume"][0]}
    ensemble = "NPT" if state.kind == "npt" else "NVT"
    observables = pv.data.ObservableData(
        kinetic_energy=columns["TotEng"] - columns["PotEng"], potential_energy=columns["PotEng"],
        total_energy=columns["TotEng"], volume=columns["Volume"],
    )  # fmt: skip
    return pv.data.SimulationData(
        units=METAL, system=system, observables=observables,
        ensemble=pv.data.EnsembleData(ensemble, natoms=n, temperature=state.temperature, **held),
    )  # fmt: skip


def pair(given: argparse.Namespace, kind: str, step: float | None) -> tuple[list[pv.data.SimulationData], float]:
    """Two runs of a kind, and how far apart they are in K (npt: bar): `step`, or what the first run says."""
    state = State(kind, given.temperature, given.pressure)
    first = simulation(table(given, state), state)
    if step is None:
        intervals = pv.ensemble.estimate_interval(first, verbosity=0)
        step = float(f"{intervals['dP' if kind == 'npt' else 'dT']:.2g}")
    name = "pressure" if kind == "npt" else "temperature"
    state = state._replace(**{name: getattr(state, name) + step})
    return [first, simulation(table(given, state), state)], step


def main() -> int:
    """The benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="water-spcfw-f64")
    parser.add_argument("--data", type=Path, default=INPUTS / "water" / "oracle" / "water32-atoms.data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ps", type=float, default=70.0, help="ps, each run; the control has a quarter")
    parser.add_argument("--equilibrate-ps", type=float, default=10.0)
    parser.add_argument("--temperature", type=float, default=298.15)
    parser.add_argument("--pressure", type=float, default=1.0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if not (given.out / "model.pt").exists():
        export_model(given.model, given.out / "model.pt")
    shown = Table("runs", "states", "kinetic energy: mean, width", "ratio of", "slope", title="off by, standard errors")
    good, dT = True, None
    for kind in ("nvt", "npt", "weak"):
        simulations, step = pair(given, kind, dT if kind == "weak" else None)
        dT = dT or step  # K, of the nvt runs
        kinetic = [pv.kinetic_energy.distribution(each, bootstrap_seed=SEED) for each in simulations]
        slope = pv.ensemble.check(*simulations, verbosity=2)[0]
        good &= np.max(kinetic) > LIMIT if kind == "weak" else max(np.max(kinetic), slope) < LIMIT
        start, unit = (given.pressure, "bar") if kind == "npt" else (given.temperature, "K")
        each = "; ".join(f"{mean:.1f}, {width:.1f}" for mean, width in kinetic)
        shown.add_row(
            kind,
            f"{start:g} and {start + step:g} {unit}",
            each,
            "volumes" if kind == "npt" else "energies",
            f"{slope:.1f}",
        )
    Console().print(shown)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
