"""Conductivity of ions that walk at random, alone and in pairs, and of a molten salt by lmp."""

import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.properties.conductivity import conductivity
from tlmd.analysis.registry import Lacking, measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError

LMP = Path(sysconfig.get_path("scripts")) / "lmp"
DATA = Path(__file__).parents[1] / "data"
E, KT = 1.602176634e-19, 1.380649e-23 * 300.0
D = 2e-9  # m^2/s
# Molten NaCl at 1300 K: Tosi and Fumi's potential (J. Phys. Chem. Solids 25, 45, 1964) as born/coul/long.
SALT = """
log salt.log
units metal
atom_style charge
lattice custom 6.4 a1 1 0 0 a2 0 1 0 a3 0 0 1 &
  basis 0 0 0 basis 0.5 0.5 0 basis 0.5 0 0.5 basis 0 0.5 0.5 &
  basis 0.5 0 0 basis 0 0.5 0 basis 0 0 0.5 basis 0.5 0.5 0.5
region box block 0 2 0 2 0 2
create_box 2 box
create_atoms 1 box basis 5 2 basis 6 2 basis 7 2 basis 8 2
mass 1 22.98977
mass 2 35.453
set type 1 charge 1.0
set type 2 charge -1.0
pair_style born/coul/long 6.3
pair_coeff 1 1 0.2637 0.317 2.340 1.0486 -0.4993
pair_coeff 1 2 0.2110 0.317 2.755 6.9906 -8.6758
pair_coeff 2 2 0.1582 0.317 3.170 72.4022 -145.4285
kspace_style pppm 1e-4
velocity all create 2600 7 mom yes dist gaussian
timestep 0.002
fix 1 all nvt temp 1300 1300 0.1
thermo 500
run 1500
reset_timestep 0
thermo_style custom step temp press vol
dump 1 all custom 10 salt.dump id element q xu yu zu
dump_modify 1 element Na Cl sort id format float %.4f
run 8000
"""


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def walk(rng, frames, ions, interval_fs):
    """(T, n, 3) in A of diffusion coefficient D."""
    step = np.sqrt(2 * D * 1e5 * interval_fs)
    return np.cumsum(rng.normal(scale=step, size=(frames, ions, 3)), axis=0)


def both(rng, paired, frames=4000):
    """20 ions of charge 1 and 20 of -1 in a cube of 30 A: independent, or each two of them together."""
    centres = walk(rng, frames, 40, 1000.0)
    if paired:
        centres[:, 20:] = centres[:, :20] + rng.normal(scale=0.3, size=(frames, 20, 3))
    charges, kinds = np.repeat([1.0, -1.0], 20), np.repeat(["Na", "Cl"], 20)
    return conductivity(centres, charges, kinds, 1000.0, 27000.0, 300.0)


def test_independent_ions_are_nernst_einstein(rng):
    """sigma = sum q^2 D / (V kT), by hand in SI."""
    by_hand = 40 * E**2 * D / (27000e-30 * KT)
    results = [both(rng, paired=False) for _ in range(12)]
    for name in ("collective", "independent"):
        values = [getattr(result, name) for result in results]
        assert values[0].unit == "S/m"
        scores = np.array([(value.value - by_hand) / value.standard_error for value in values])
        assert abs(scores.mean()) < 4 / np.sqrt(12) and 0.4 < np.sqrt(np.mean(scores**2)) < 1.7
    assert 0.02 < results[0].collective.standard_error / by_hand < 0.1


def test_pairs_of_ions_carry_no_current(rng):
    """The dipole of a pair is bounded: no collective conductivity, whatever Nernst-Einstein says."""
    result = both(rng, paired=True)
    by_hand = 40 * E**2 * D / (27000e-30 * KT)
    assert result.independent.value == pytest.approx(by_hand, rel=0.3)
    assert result.collective.value < 0.01 * by_hand


@pytest.fixture(scope="module")
def salt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("salt")
    (folder / "salt.in").write_text(SALT)
    subprocess.run([LMP, "-in", "salt.in", "-log", "none", "-screen", "none"], cwd=folder, check=True, timeout=300)
    return Simulation(folder / "salt.dump", folder / "salt.log")


def test_molten_salt(salt):
    """Experiment near 1300 K: 4.2 S/cm, D of Na 12e-9 and of Cl 9e-9 m2/s; 64 ions at a guessed density here."""
    collective, independent = measure("conductivity", salt).records
    assert 200 < collective["value"] < 700
    assert collective["standard_error"] < 0.3 * collective["value"]
    assert independent["value"] == pytest.approx(collective["value"], rel=0.6)
    assert "D of Na " in independent["source"] and "D of Cl " in independent["source"]
    (given, _) = measure("conductivity", salt, charges="Na=1 Cl=-1").records
    assert given["value"] == pytest.approx(collective["value"], rel=1e-9)


def test_wrong_charges_are_refused(salt):
    for charges, words in (
        ("Na=1", r"got a box of charge 32 e; wanted a neutral one"),
        ("K=1 Cl=-1", r"got --charges of K; wanted Cl or Na"),
        ("Na", r"got --charges Na; wanted such as Na=1 Cl=-1"),
    ):
        with pytest.raises(InputError, match=words):
            measure("conductivity", salt, charges=charges)
    water = Simulation(DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz")
    with pytest.raises(Lacking, match="without charges; wanted q"):
        measure("conductivity", water)
    with pytest.raises(Lacking, match="neutral molecules; wanted ions"):
        measure("conductivity", water, charges="H2O=0")
