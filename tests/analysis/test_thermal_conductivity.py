"""Thermal conductivity: a Lennard-Jones fluid by lmp against the literature, currents that are taken out, files."""

import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.greenkubo import green_kubo
from tlmd.analysis.properties.thermal_conductivity import read_flux
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError

from .processes import ornstein_uhlenbeck

LMP = Path(sysconfig.get_path("scripts")) / "lmp"
# Lennard-Jones argon at 0.6 / sigma^3 and 1.35 epsilon / k, 108 atoms of two types that are the same.
ARGON = """
log argon.log
units metal
lattice fcc 6.4083
region box block 0 3 0 3 0 3
create_box 2 box
create_atoms 1 box
mass * 39.948
set group all type/fraction 2 0.5 3
pair_style lj/cut 8.5125
pair_coeff * * 0.0103235 3.405
velocity all create 350 7 mom yes dist gaussian
timestep 0.008
thermo 500
thermo_style custom step temp press vol pe etotal
fix 1 all nvt temp 161.73 161.73 0.4
run 4000
unfix 1
fix 1 all nve
velocity all scale 161.73
velocity all zero linear
reset_timestep 0
compute ke all ke/atom
compute pe all pe/atom
compute s all centroid/stress/atom NULL virial
compute flux all heat/flux ke pe s
group one type 1
compute one one reduce sum vx vy vz
fix f all ave/time 4 1 4 c_flux[1] c_flux[2] c_flux[3] c_one[1] c_one[2] c_one[3] file heat.txt format " %.15g"
run 60000
"""


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("argon")
    (folder / "argon.in").write_text(ARGON)
    subprocess.run([LMP, "-in", "argon.in", "-log", "none", "-screen", "none"], cwd=folder, check=True, timeout=300)
    return folder


def changed(argon, name, change):
    """heat.txt with other columns: change(steps, flux, current) -> columns, and their names."""
    table = np.loadtxt(argon / "heat.txt")
    names, columns = change(table[:, :1], table[:, 1:4], table[:, 4:])
    rows = "\n".join(" ".join(f"{x:.15g}" for x in row) for row in np.hstack(columns))
    (argon / name).write_text(f"# of the tests\n# TimeStep {names}\n{rows}\n")
    return argon / name


def value(argon, flux):
    (record,) = measure("thermal-conductivity", Simulation(log=argon / "argon.log"), flux=flux).records
    return record


def test_a_lennard_jones_fluid(argon):
    """3.4 k sqrt(epsilon / m) / sigma^2 (Evans, Phys. Rev. A 34, 1449, 1986, 108 atoms); three non-equilibrium methods
    in LAMMPS' examples/KAPPA give 3.39 to 3.45."""
    unit = np.sqrt(0.0103235 * 1.602176634e-19 / (39.948e-3 / 6.02214076e23)) * 1.380649e-23 / 3.405e-10**2
    alone = changed(argon, "alone.txt", lambda step, flux, _: ("c_j[1] c_j[2] c_j[3]", (step, flux)))
    for flux in (argon / "heat.txt", alone):
        record = value(argon, flux)
        assert record["unit"] == "W/(m K)" and record["experiment"] is None
        assert 0.02 < record["standard_error"] / record["value"] < 0.12
        assert record["value"] == pytest.approx(3.4 * unit, abs=3 * record["standard_error"])
    assert "1 currents" not in record["source"]


def test_an_energy_of_an_element_changes_nothing(argon):
    """Energies of free atoms, hundreds of eV, are in the flux: of one element they have no effect on the conduction."""
    names = " ".join(f"c_{name}[{k}]" for name in ("flux", "one") for k in (1, 2, 3))
    shifted = changed(argon, "shifted.txt", lambda step, flux, v: (names, (step, flux + 400 * v, v)))
    there, here = value(argon, argon / "heat.txt"), value(argon, shifted)
    assert here["value"] == pytest.approx(there["value"], rel=1e-6)
    assert here["standard_error"] == pytest.approx(there["standard_error"], rel=1e-6)
    assert "less the part of 1 currents of elements" in here["source"]


@pytest.mark.parametrize("others", [1, 2])
def test_what_is_left_of_mixed_fluxes(others):
    """Errors are the spread of the values, which have no bias, with the noise of fewer fluxes."""
    rng, scores, errors = np.random.default_rng(3), [], []
    for _ in range(16):
        currents = np.stack([ornstein_uhlenbeck(rng, 150000, 3, tau)[0] for tau in (5.0, 9.0)[:others]])
        flux, exact = ornstein_uhlenbeck(rng, 150000, 3, 20.0)
        found = green_kubo(flux + 30 * currents.sum(0), 1.0, currents)
        errors.append(found.relative_error)
        scores.append((found.value / exact - 1) / found.relative_error)
    assert abs(np.mean(scores)) < 0.75 and 0.5 < np.std(scores) < 1.5
    assert 0.03 < np.mean(errors) < 0.15


def test_wrong_files_are_refused(argon):
    run = Simulation(log=argon / "argon.log")
    with pytest.raises(InputError, match="got no heat flux; wanted --flux"):
        measure("thermal-conductivity", run)
    both = changed(
        argon,
        "both.txt",
        lambda step, flux, v: ("c_j[1] c_j[2] c_j[3] c_a[1] c_a[2] c_a[3] c_b[1] c_b[2] c_b[3]", (step, flux, v, -v)),
    )
    with pytest.raises(InputError, match="2 currents that are not independent.* leave out those of one element"):
        measure("thermal-conductivity", run, flux=both)
    odd = changed(argon, "odd.txt", lambda step, flux, v: ("c_j[1] c_j[2] c_j[3] c_a[1]", (step, flux, v[:, :1])))
    with pytest.raises(InputError, match="wanted three of compute heat/flux"):
        read_flux(odd, "metal")
    late = changed(argon, "late.txt", lambda step, flux, _: ("c_j[1] c_j[2] c_j[3]", (step + 1e6, flux)))
    with pytest.raises(InputError, match="the log's run .* wanted one run"):
        measure("thermal-conductivity", run, flux=late)
