"""The inputs of inputs/decks with shipped models, on one and two ranks."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.averages import read_averages
from tlmd.analysis.thermo import read_log
from tlmd.campaign.parts import read_table
from tlmd.export import export_model
from tlmd.run.installed import plugin_folder

INPUTS = Path(__file__).parents[1] / "inputs"
BIN = Path(sysconfig.get_path("scripts"))
RANKS = pytest.mark.parametrize("ranks", [1, 2])
FEW = {"equilibrate": 40, "steps": 60}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The exported models."""
    path = tmp_path_factory.mktemp("models")
    export_model("water-spcfw-f64", path / "model-lammps.pt")
    export_model("malonaldehyde-gfn1-f64", path / "malonaldehyde-lammps.pt")
    return path


@pytest.fixture
def deck(models, tmp_path):
    """A function that runs an input on some ranks, in a folder with all that it needs; the folder."""

    def run(name: str, ranks: int, *words: str, **variables: object) -> Path:
        for path in [*(INPUTS / "decks").iterdir(), INPUTS / "water" / "water64.data", *models.iterdir()]:
            shutil.copy(path, tmp_path)
        if "data" in (tmp_path / f"{name}.in").read_text() and name not in ("metadynamics", "umbrella"):
            variables = {"data": "water64.data"} | variables
        command = [BIN / "mpirun", "-n", str(ranks), BIN / "lmp", "-in", f"{name}.in", "-nocite", *words]
        for key, value in variables.items():
            command += ["-var", key, str(value)]
        environment = {**os.environ, "LAMMPS_PLUGIN_PATH": str(plugin_folder()), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        return tmp_path

    return run


@RANKS
@pytest.mark.parametrize("ensemble", ["npt", "nvt", "nve"])
def test_ensembles(deck, ensemble, ranks):
    if (ensemble, ranks) in (("nvt", 1), ("npt", 2)):
        pytest.skip("the other number of ranks is enough")
    last = read_log(deck("md", ranks, ensemble=ensemble, **FEW) / "md.log").runs[-1]
    assert last.steps[-1] == 60 and np.isfinite(last.columns["TotEng"]).all()
    assert (np.ptp(last.columns["Volume"]) > 0) == (ensemble == "npt")
    if ensemble == "nve":
        assert np.ptp(last.columns["TotEng"]) < 0.05  # eV, of 192 atoms


@RANKS
def test_heat_flux(deck, ranks):
    path = deck("heat", ranks, equilibrate=40, steps=40, every=8)
    names, table = read_averages(path / "heat.txt")
    assert names == ["TimeStep", *(f"c_{name}[{k}]" for name in ("flux", "type1") for k in (1, 2, 3))]
    assert table[:, 0].tolist() == [0, 8, 16, 24, 32, 40] and np.ptp(table, axis=0).all()


@RANKS
def test_minimum_of_atoms_and_box(deck, ranks):
    first, second = read_log(deck("minimise", ranks, steps=40) / "minimise.log").runs
    assert first.columns["PotEng"][-1] < first.columns["PotEng"][0] - 5 and np.ptp(first.columns["Volume"]) == 0
    assert abs(second.columns["Press"][-1]) < 0.5 * abs(second.columns["Press"][0]) and np.ptp(second.columns["Volume"])


@RANKS
def test_heating_and_quench(deck, ranks):
    ensemble = ["nvt", "npt"][ranks - 1]
    path = deck("anneal", ranks, heat=100, hold=60, cool=40, high=1500, timestep=1.0, ensemble=ensemble)
    heat, hold, cool = read_log(path / "anneal.log").runs
    assert hold.columns["Temp"].mean() > heat.columns["Temp"][1] + 25 and cool.steps[-1] == 200
    assert (np.ptp(cool.columns["Volume"]) > 0) == (ensemble == "npt")


@pytest.mark.parametrize("partition", ["4x1", "2x2"])
def test_path_integrals(deck, partition):
    beads = int(partition[0])
    path = deck("pimd", 4, "-partition", partition, steps=60)
    tables = [read_table(path / f"pimd.{bead:02d}.log") for bead in range(1, beads + 1)]
    assert all(table.steps[-1] == 60 for table in tables)
    primitive, centroid = tables[0].column("f_beads[5]"), tables[0].column("f_beads[7]")
    assert (primitive == tables[-1].column("f_beads[5]")).all()  # of the whole ring
    classical = 1.5 * 192 * 8.6173e-5 * 298.15
    assert centroid[-1] > 1.2 * classical, "the nuclei are no more than classical"


@RANKS
def test_metadynamics(deck, ranks):
    path = deck("metadynamics", ranks, steps=200)
    pmf = np.loadtxt(path / "proton.pmf")
    assert len(pmf) == 48 and np.ptp(pmf[:, 1]) > 0
    trajectory = np.loadtxt(path / "proton.colvars.traj")
    assert trajectory[-1, 0] == 200 and (abs(trajectory[:, 1]) < 1.3).all()


@RANKS
def test_umbrella_integration(deck, ranks):
    path = deck("umbrella", ranks, windows=3, first=-0.5, last=0.5, steps=40, equilibrate=20)
    centre, mean, slope, free = np.loadtxt(path / "umbrella.txt").T
    assert centre.tolist() == [-0.5, 0.0, 0.5] and (abs(mean - centre) < 0.4).all()
    assert slope == pytest.approx(10 * (centre - mean))
    assert free == pytest.approx([0, *np.cumsum(np.diff(mean) * (slope[1:] + slope[:-1]) / 2)])


@RANKS
def test_grand_canonical(deck, ranks):
    path = deck("gcmc", ranks, steps=60, every=5, attempts=6, edge=30.0)
    run = read_log(path / "gcmc.log").runs[-1].columns
    assert run["f_exchange[3]"][-1] + run["f_exchange[5]"][-1] > 40 and run["f_exchange[4]"][-1] > 0
    assert (run["Atoms"] % 3 == 0).all() and len(set(run["Atoms"])) > 1
    left = re.search(r"^variable left string (-?[\d.]+)$", (path / "gcmc.log").read_text(), re.M)[1]
    assert abs(float(left)) < 1e-6  # eV, of a molecule by itself
    assert abs(run["PotEng"][0]) < 0.5  # ten molecules, 3 A apart at least


@RANKS
def test_model_beside_a_classical_region(deck, ranks):
    path = deck("hybrid", ranks, minimise=10, steps=60)
    last = read_log(path / "hybrid.log").runs[-1]
    assert last.steps[-1] == 60 and np.isfinite(last.columns["PotEng"]).all()
    assert last.n_atoms > 200
