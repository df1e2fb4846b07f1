"""The decks of inputs/water with a shipped model: the temperature asked for, time for recorded steps, any elements."""

import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from tlmd.analysis.simulation import mean_temperature
from tlmd.analysis.thermo import match, read_log
from tlmd.analysis.trajectory import read_dump
from tlmd.export import export_model
from tlmd.run.installed import plugin_folder

INPUTS = Path(__file__).parents[1] / "inputs" / "water"
LMP = Path(sysconfig.get_path("scripts")) / "lmp"
EDGE = 9.32  # A, of 27 molecules at 1 g/cm^3


def write_data(path: Path, order: str) -> None:
    """27 molecules on a lattice, turned at random; types 1 and 2 are `order`."""
    rng = np.random.default_rng(4)
    water = Atoms(cell=[EDGE] * 3, pbc=True)
    for site in np.ndindex(3, 3, 3):
        one = molecule("H2O")
        one.rotate(*rng.uniform(0, 180, size=1), rng.normal(size=3))
        one.translate((np.array(site) + 0.5) * EDGE / 3 - one.get_center_of_mass())
        water += one
    types = [order.split().index(symbol) + 1 for symbol in water.get_chemical_symbols()]
    masses = {"O": 15.9994, "H": 1.008}
    head = f"water\n\n{len(water)} atoms\n2 atom types\n" + "".join(f"0 {EDGE} {x}lo {x}hi\n" for x in "xyz")
    head += "\nMasses\n\n" + "".join(f"{i + 1} {masses[name]}\n" for i, name in enumerate(order.split()))
    rows = (f"{i + 1} {t} {x} {y} {z}\n" for i, (t, (x, y, z)) in enumerate(zip(types, water.positions, strict=True)))
    path.write_text(f"{head}\nAtoms # atomic\n\n{''.join(rows)}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Exported shipped model, and the box with both orders of types."""
    path = tmp_path_factory.mktemp("decks")
    export_model("water-revpbed3-f64", path / "model-lammps.pt")
    write_data(path / "oh.data", "O H")
    write_data(path / "ho.data", "H O")
    return path


def run_deck(folder: Path, deck: str, name: str, **variables: object) -> Path:
    """Run a deck of inputs/water in `folder`; returns its log."""
    variables = {"name": name, "data": "oh.data", "timestep": 1.0} | variables
    command = [LMP, "-in", INPUTS / f"{deck}.in", "-log", "none"]
    for key, value in variables.items():
        command += ["-var", key, str(value)]
    environment = {**os.environ, "LAMMPS_PLUGIN_PATH": str(plugin_folder()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return folder / f"{name}.log"


def test_the_mean_temperature_is_the_target(folder):
    """From a lattice that is far from equilibrium: without a thermostat the recorded run keeps what it began with."""
    log = run_deck(folder, "diffusion", "weak", equilibrate=200, steps=12000, coupling=1.0)
    rows = match(read_dump(folder / "weak.dump.gz").after(300), read_log(log))  # after 6 ps
    mean = mean_temperature(rows)
    assert rows.target_K == pytest.approx(298.15)
    assert mean.standard_error < 20
    assert mean.value == pytest.approx(298.15, abs=4 * mean.standard_error)


def test_nve_begins_at_the_mean_energy_of_nvt(folder):
    log = run_deck(folder, "diffusion", "micro", ensemble="nve", equilibrate=1600, steps=400)
    nvt, nve = (run.columns["TotEng"] for run in read_log(log).runs)
    half = nvt[len(nvt) // 2 :]
    assert nve[0] == pytest.approx(half.mean(), abs=0.3 * half.std())
    assert abs(nve - nve[0]).max() < 0.2 * half.std()  # conserved
    assert abs(nvt[-1] - nve[0]) > 1e-6  # scaled
    deck = (INPUTS / "diffusion.in").read_text()
    assert "velocity all scale" in deck


def test_recorded_steps_get_half_of_the_wall_time(folder):
    """Steps that are not recorded would take for ever; they end at their limit, and the others begin."""
    for deck in ("density", "diffusion"):
        endless = {"equilibrate": 10**8, "steps": 10**8, "limit": 12, "equilibrate_limit": 6}
        equilibration, recorded = read_log(run_deck(folder, deck, f"{deck}-busy", **endless)).runs
        assert equilibration.steps[0] == 0 and recorded.steps[0] >= equilibration.steps[-1]
        assert recorded.steps[-1] > recorded.steps[0]


def test_another_order_of_types_needs_no_edit(folder):
    """The same energies and the same dumped elements for data files of types O H and H O."""
    one = run_deck(folder, "diffusion", "oh", equilibrate=10, steps=40)
    other = run_deck(folder, "diffusion", "ho", data="ho.data", elements="H O", equilibrate=10, steps=40)
    for first, second in zip(read_log(one).runs, read_log(other).runs, strict=True):
        assert second.columns["PotEng"] == pytest.approx(first.columns["PotEng"], abs=1e-3)
    first, second = (read_dump(folder / f"{name}.dump.gz") for name in ("oh", "ho"))
    assert first.species.tolist() == second.species.tolist() == ["O", "H", "H"] * 27
    assert second.positions == pytest.approx(first.positions, abs=1e-3)
    volumes = read_log(run_deck(folder, "density", "npt", data="ho.data", elements="H O", equilibrate=10, steps=40))
    assert np.ptp(volumes.runs[-1].volumes()) > 0


@pytest.mark.filterwarnings("ignore:.*closest")
def test_another_liquid_needs_no_edit(folder):
    """Methanol, types C H O, with the data file by the README's line, and the model of another system with C, H, O: a
    few steps, whose dump has the elements of the data file."""
    box = Atoms(cell=[9.0] * 3, pbc=True)
    for site in np.ndindex(2, 2, 2):
        one = molecule("CH3OH")
        one.translate((np.array(site) + 0.5) * 4.5 - one.positions.mean(axis=0))
        box += one
    write(folder / "methanol.data", box, format="lammps-data", specorder=["C", "H", "O"], masses=True)
    export_model("malonaldehyde-gfn1-f64", folder / "cho.pt")
    variables = {"model": "cho.pt", "data": "methanol.data", "elements": "C H O", "equilibrate": 10, "steps": 20}
    read_log(run_deck(folder, "diffusion", "cho", **variables, timestep=0.1))
    assert read_dump(folder / "cho.dump.gz").species.tolist() == box.get_chemical_symbols()
    assert read_log(run_deck(folder, "density", "cho-npt", **variables, timestep=0.1)).runs[-1].n_atoms == 48


def test_decks_say_what_they_give():
    decks = sorted(INPUTS.parent.glob("*/*.in"))
    assert len(decks) >= 3
    for deck in decks:
        head = deck.read_text().splitlines()[0]
        assert head.startswith("# ") and len(head) > 30, deck
