"""Spectra of oscillators of known frequency, by lmp and from closed forms."""

import json
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers

from tlmd.analysis.properties.spectrum import power_spectra, spectrum
from tlmd.analysis.registry import Lacking, measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.trajectory import read_dump
from tlmd.run.errors import InputError

LMP = Path(sysconfig.get_path("scripts")) / "lmp"
DATA = Path(__file__).parents[1] / "data"
C = 2.99792458e-5  # cm/fs
K, MASSES = 1180.0, {"C": 12.011, "O": 15.999}  # kcal/mol/A^2: half the force constant of the bond
# 64 harmonic molecules of CO, which do not see one another.
MOLECULES = f"""
log co.log
units real
atom_style bond
region box block 0 40 0 40 0 40
create_box 2 box bond/types 1 extra/bond/per/atom 1 extra/special/per/atom 1
mass 1 {MASSES["C"]}
mass 2 {MASSES["O"]}
molecule co co.mol
create_atoms 0 random 64 5 box mol co 3
bond_style harmonic
bond_coeff 1 {K} 1.128
pair_style zero 3.0
pair_coeff * *
velocity all create 3 7 mom yes rot no
timestep 0.5
fix 1 all nve
thermo 400
thermo_style custom step temp press vol
dump 1 all custom 4 co.dump id type element q mass x y z vx vy vz
dump_modify 1 element C O sort id
run 16000
"""
MOL = """CO

2 atoms
1 bonds

Coords

1 0.0 0.0 0.0
2 1.128 0.0 0.0

Types

1 1
2 2

Bonds

1 1 1 2
"""


@pytest.fixture(scope="module")
def carbon_monoxide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("co")
    (folder / "co.in").write_text(MOLECULES.replace(" q ", " "))
    (folder / "co.mol").write_text(MOL)
    subprocess.run([LMP, "-in", "co.in", "-log", "none", "-screen", "none"], cwd=folder, check=True, timeout=120)
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_a_harmonic_molecule_has_its_frequency(carbon_monoxide, tl_analyze, tmp_path):
    """sqrt(k / mu) / 2 pi c; half the vibration's energy is carbon's by the ratio of masses."""
    reduced = MASSES["C"] * MASSES["O"] / sum(MASSES.values()) * 1e-3 / 6.02214076e23
    wavenumber = np.sqrt(2 * K * 4184 / 6.02214076e23 * 1e20 / reduced) / (2 * np.pi * 2.99792458e10)
    assert 2000 < wavenumber < 2200
    dump, log = carbon_monoxide / "co.dump", carbon_monoxide / "co.log"
    out = {name: tmp_path / f"o.{name}" for name in ("json", "csv", "png")}
    arguments = ["--resolution", "40", "--json", out["json"], "--csv", out["csv"], "--plot", out["png"]]
    code, _, errors = tl_analyze("spectrum", dump, "--log", log, *arguments)
    assert code == 0, errors
    records = {record["quantity"]: record for record in json.loads(out["json"].read_text())}
    for name in ("C", "O"):
        peak = min((r for q, r in records.items() if q.startswith(name)), key=lambda r: abs(r["value"] - wavenumber))
        assert peak["unit"] == "1/cm"
        # a turning molecule's line is two, at 3 K 5 cm-1 apart
        assert peak["value"] == pytest.approx(wavenumber, abs=8)
        assert 0 < peak["standard_error"] < 10
    table = np.genfromtxt(out["csv"], delimiter=",", names=True, deletechars="")
    place, carbon, oxygen = (table[name] for name in table.dtype.names)
    spacing = place[1] - place[0]
    assert spacing * carbon.sum() == pytest.approx(3) == spacing * oxygen.sum()
    # equal and opposite momenta: of the vibration's kinetic energy carbon has the more, as oxygen is the heavier
    high, v = place > 1500, read_dump(dump).velocities
    squares = {name: MASSES[name] * np.mean(v[:, k::2] ** 2) for k, name in enumerate(("C", "O"))}
    ratio = carbon[high].sum() * squares["C"] / (oxygen[high].sum() * squares["O"])
    assert ratio == pytest.approx(MASSES["O"] / MASSES["C"], rel=0.02)


def test_a_line_at_any_place_is_found(rng):
    for wavenumber in (301.3, 1777.7, 3400.0):
        t = np.arange(8000) * 1.0
        phases = rng.uniform(0, 2 * np.pi, size=(20, 3))
        v = np.cos(2 * np.pi * C * wavenumber * t[:, None, None] + phases)
        species = np.array(["O"] * 10 + ["H"] * 10)
        result = spectrum(v, species, np.ones(20), 1.0, 40.0)
        (peak,) = result.peaks["H"]
        assert peak.value == pytest.approx(wavenumber, abs=3 * peak.standard_error)
        assert peak.standard_error < 10


def test_power_is_that_of_the_velocities(rng):
    """Parseval: white velocities have their mean square, spread evenly."""
    v = rng.normal(size=(4000, 5, 3))
    power = power_spectra(v, np.full(5, 2.0), 0.5, 200).mean(axis=0)
    spacing = 1 / (200 * 0.5)
    assert power.sum() * spacing == pytest.approx(5 * 3 * 2.0, rel=0.05)
    assert power[1:-1] == pytest.approx(np.full(99, 2 * 30 * 0.5), rel=0.5)


def test_what_has_no_spectrum_is_refused(rng, carbon_monoxide):
    with pytest.raises(Lacking, match="without velocities; wanted vx vy vz"):
        measure("spectrum", Simulation(DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz"))
    run = Simulation(carbon_monoxide / "co.dump", carbon_monoxide / "co.log")
    with pytest.raises(
        InputError, match=r"got 8 ps of velocities at a resolution of 1 cm-1; wanted 5 segments of 48 ps"
    ):
        measure("spectrum", run, resolution_cm=1.0)
    with pytest.raises(InputError, match=r"got velocities each 8 fs, .* above 2085 cm-1 .*; dump each 4.1 fs at most"):
        spectrum(rng.normal(size=(4000, 2, 3)), np.array(["O", "H"]), np.ones(2), 8.0, 30.0)


def test_velocities_and_charges_of_a_dump(carbon_monoxide):
    """Kinetic energy of the dump is the log's temperature; positions follow the velocities."""
    run = Simulation(carbon_monoxide / "co.dump", carbon_monoxide / "co.log")
    trajectory, rows = run.trajectory, run.rows
    assert trajectory.charges is None
    joules = 0.5 * np.einsum("tnk,n->t", trajectory.velocities**2, trajectory.masses) * 1e10 / 6.02214076e26
    freedom = 3 * len(trajectory.masses) - 3
    assert 2 * joules[::100] / freedom / 1.380649e-23 == pytest.approx(rows.columns["Temp"], rel=1e-4)
    assert atomic_masses[atomic_numbers["C"]] == pytest.approx(MASSES["C"])
    step = trajectory.positions[2] - trajectory.positions[0]
    assert step == pytest.approx(4.0 * trajectory.velocities[1], abs=5e-3)
