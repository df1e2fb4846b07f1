"""What is known of water, methanol and the liquids of a user's file."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from iapws import IAPWS95

from tlmd.analysis.molecules import molecules
from tlmd.analysis.peaks import first_maximum, minimum_after
from tlmd.analysis.reference import SAME_MASS, given_references, liquid_of_mass, liquid_of_molecules, liquids, water
from tlmd.analysis.reference.liquid import Known
from tlmd.analysis.reference.table import read_references
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.trajectory import Trajectory
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"
WATER = water.Water()


@pytest.mark.parametrize(
    ("temperature", "density", "viscosity", "diffusion"),
    [  # IAPWS SR6-08 and Holz 2000, as tabulated by their authors' formulas to these digits
        (273.15, 0.999842, 1.79178e-3, 1.0990e-9),
        (298.15, 0.997047, 0.89000e-3, 2.2995e-9),
        (330.00, 0.984786, 0.48915e-3, 4.4908e-9),
        (373.15, 0.958348, 0.28158e-3, 8.6673e-9),
    ],
)
def test_experimental_values_of_water(temperature, density, viscosity, diffusion):
    assert WATER.known("density", temperature).value == pytest.approx(density, abs=1.1e-6)
    assert WATER.known("viscosity", temperature).value == pytest.approx(1000 * viscosity, rel=1e-4)
    assert WATER.known("diffusion coefficient", temperature).value == pytest.approx(diffusion, rel=1e-4)


def test_the_formulas_agree_with_iapws95():
    """SR6-08 is a fit to IAPWS-95 (density) and to the viscosity release: 1e-6 and 1e-3 (0.1 MPa)."""
    for temperature in (275.0, 298.15, 340.0, 372.0):
        truth = IAPWS95(T=temperature, P=0.1)
        assert water.density(temperature).value == pytest.approx(truth.rho / 1000, rel=2e-6)
        assert water.viscosity(temperature).value == pytest.approx(1000 * truth.mu, rel=1e-3)


def test_no_experiment_outside_its_range():
    assert WATER.known("density", 400.0) is None
    assert WATER.known("viscosity", 200.0) is None
    assert WATER.known("diffusion coefficient", 260.0) is None
    assert WATER.known("O-O first peak height", 330.0) is None
    assert WATER.known("Cu-O first peak height", 298.15) is None
    assert WATER.known("enthalpy", 298.15) is None
    assert WATER.coordination(("O", "O"), 3.39, 330.0) is None


def test_soper_2013():
    """First peak of g_OO at 2.79 A, height 2.49, 4.67 neighbours (Soper 2013, text); both orders of a pair."""
    assert WATER.known("O-O first peak position", 298.15).value == pytest.approx(2.79, abs=0.01)
    height = WATER.known("O-O first peak height", 298.15)
    assert height.value == pytest.approx(2.49, abs=0.02) and height.error == pytest.approx(0.06, abs=0.01)
    assert WATER.coordination(("O", "O"), 3.39, 298.15).value == pytest.approx(4.67, abs=0.1)
    around_oxygen = WATER.coordination(("O", "H"), 2.46, 298.15).value
    assert around_oxygen == pytest.approx(1.9, abs=0.1)
    assert WATER.coordination(("H", "O"), 2.46, 298.15).value == pytest.approx(around_oxygen / 2)
    curve = WATER.curve(("H", "O"), 298.15)
    assert np.array_equal(curve.g, WATER.curve(("O", "H"), 298.15).g)
    assert len(curve.r_A) == len(curve.g) == len(curve.error) < 100
    assert curve.g[-1] == pytest.approx(1.0, abs=0.01)
    assert WATER.coordination(("O", "O"), 10.5, 298.15) is None


@pytest.mark.parametrize(
    ("pair", "position", "height", "neighbours"),
    [("O-O", 2.792, 2.481, 4.719), ("O-H", 1.849, 1.042, 1.918), ("H-H", 2.416, 1.338, 5.171)],
)
def test_the_chosen_rows_give_what_the_whole_table_gives(pair, position, height, neighbours):
    """The numbers are those of all 815 rows of Soper's table, 0.03 A apart."""
    for name, whole in (("position", position), ("height", height)):
        known = WATER.known(f"{pair} first peak {name}", 298.15)
        assert abs(known.value - whole) < 0.3 * known.error
    known = WATER.coordination(tuple(pair.split("-")), water.FIRST_MINIMUM[pair], 298.15)
    assert abs(known.value - neighbours) < 0.3 * known.error


@pytest.mark.parametrize("pair", [("O", "O"), ("O", "H"), ("H", "H")])
def test_neighbours_are_counted_to_the_first_minimum_of_experiment(pair):
    """To the grid of the rows that are kept."""
    curve = WATER.curve(pair, 298.15)
    peak = first_maximum(curve.r_A, curve.g, WATER.beyond_bonds(pair))
    assert WATER.first_minimum(pair) == pytest.approx(minimum_after(curve.r_A, curve.g, peak), abs=0.04)


def box_of(*names: str, edge: float = 8.0) -> Trajectory:
    """Molecules of ASE's g2 set by name, each in a cube of its own, across the boundaries of the box."""
    ones = [molecule(name) for name in names]
    positions = np.concatenate([one.positions + np.array([edge * i, 3.0, 3.0]) for i, one in enumerate(ones)])
    species = np.array([symbol for one in ones for symbol in one.get_chemical_symbols()])
    masses = np.concatenate([one.get_masses() for one in ones])
    cell = np.diag([edge * len(ones), edge, edge])
    return Trajectory(
        Path("x"), np.zeros(1), None, species, masses, positions[None], cell[None], np.ones(3, bool), "metal"
    )


@pytest.mark.parametrize(
    ("names", "liquid"),
    [
        (["H2O"] * 3, "water"),
        (["CH3OH"] * 2, "methanol"),
        (["CH3CH2OH"] * 2, "ethanol"),
        (["CH3OCH3"] * 2, None),  # dimethyl ether, of ethanol's composition
        (["CH3CN"], "acetonitrile"),
        (["C6H6"], "benzene"),
        (["CH3OH", "H2O"], None),
        (["H2O2", "H2"], None),  # of water's composition, as two molecules
        (["OH", "H2O", "H"], None),
        (["Na", "H2O"], None),
    ],
)
def test_liquids_are_known_by_composition_and_bonds(names, liquid):
    found = liquid_of_molecules(molecules(box_of(*names)))
    assert (found and found.name) == liquid


def test_liquids_are_known_by_mass():
    assert liquid_of_mass(18.0154 / 3).name == "water"
    assert liquid_of_mass(18.0154 / 3, ["O", "H"]).name == "water"
    assert liquid_of_mass(18.0154 / 3, ["C", "H"]) is None
    assert liquid_of_mass(20.0276 / 3) is None  # heavy water
    assert liquid_of_mass(32.042 / 6).name == "methanol"


def test_no_two_liquids_are_alike_and_bonds_are_those_of_their_molecules():
    masses = sorted(liquid.mean_mass for liquid in liquids())
    assert np.min(np.diff(masses) / masses[:-1]) > 10 * SAME_MASS
    valences = {"H": 1, "C": 4, "N": 3, "O": 2}
    for liquid in liquids():
        ends = Counter()
        for pair, n in liquid.bonds.items():
            assert list(pair.split("-")) == sorted(pair.split("-"))
            for end in pair.split("-"):
                ends[end] += n
        assert set(ends) == set(liquid.formula)
        assert all(ends[name] <= valences[name] * n for name, n in liquid.formula.items())
        assert ends["H"] == liquid.formula["H"]


def test_methanol_is_known_at_298_K_only():
    (methanol,) = [liquid for liquid in liquids() if liquid.name == "methanol"]
    assert methanol.known("density", 298.15).value == pytest.approx(0.7866)
    assert methanol.known("viscosity", 299.0).value == pytest.approx(0.544)
    assert methanol.known("diffusion coefficient", 297.0).value == pytest.approx(2.4e-9)
    assert methanol.known("density", 305.0) is None
    for liquid in liquids():
        assert all(known.source and known.unit for known in getattr(liquid, "values", {}).values())


def test_a_reference_is_a_liquid_a_file_or_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("water", "benzene", "none", None):
        assert given_references(name).experiment.known("density", "g/cm3", "") is None
    with pytest.raises(InputError, match=r"--reference watr \(did you mean 'water'\?\); wanted one of water, "):
        given_references("watr")
    (tmp_path / "watr").write_text("[experiment]\ndensity = 0.9\n")
    assert given_references("watr").experiment.known("density", "g/cm3", "").value == 0.9


def test_a_liquid_that_the_run_is_not_is_warned_of():
    files = (DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz")
    with pytest.warns(UserWarning, match="compared with benzene, the run is of water"):
        assert Simulation(*files, references="benzene").known("density", "g/cm3", 298.15).value == 0.8736
    with pytest.warns(UserWarning, match="compared with benzene, the run is of water"):
        assert Simulation(None, files[1], references="benzene").liquid.name == "benzene"
    named = Simulation(*files, references="water")
    assert named.known("density", "g/cm3", 298.15).value == pytest.approx(0.99705, abs=1e-5)
    with pytest.warns(UserWarning, match="no density of water is known at 400 K"):
        assert named.known("density", "g/cm3", 400.0) is None
    assert Simulation(*files, references="none").known("density", "g/cm3", 298.15) is None
    other = Simulation(*files, references="water", elements=["S", "H"])
    with pytest.warns(UserWarning, match="compared with water, the run holds 64 H2S"):
        assert other.liquid.name == "water"


@pytest.mark.parametrize(("mass", "liquid"), [(1.0, "water"), (2.014, None)])
def test_heavy_water_is_not_water_by_its_masses_either(tmp_path, mass, liquid):
    """Masses rounded to 16 and 1 are those of water."""
    dump = tmp_path / "one.dump"
    dump.write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n3\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id element mass x y z\n"
        f"1 O 16.0 0 0 0\n2 H {mass} 0.96 0 0\n3 H {mass} -0.24 0.93 0\n"
    )
    found = Simulation(dump).liquid
    assert (found and found.name) == liquid


def test_a_file_of_references(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[experiment]\nsource = "CRC"\ndensity = 0.79\n"diffusion coefficient" = {value = 2.4e-9, error = 1e-10}\n'
        '[level_of_theory]\nsource = "revPBE0-D3, 582 frames"\ndensity = {value = 0.94, error = 0.003}\n'
    )
    given = read_references(path)
    assert given.experiment.known("density", "g/cm3", "") == Known(0.79, None, "g/cm3", "CRC")
    assert given.experiment.known("diffusion coefficient", "m2/s", "").error == 1e-10
    assert given.level_of_theory.known("density", "g/cm3", "") == Known(0.94, 0.003, "g/cm3", "revPBE0-D3, 582 frames")
    assert given.level_of_theory.known("viscosity", "mPa s", "") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("density = 1.0", "unknown key 'density'"),
        ("[experiment]\ndensity = 'x'", "density"),
        ("[experiment]\ndensity = nan", "density"),
        ("[experiment]\ndensity = {value = 1.0, error = -1}", "density.error"),
        ("[experiment]\ndensity = {error = 1}", "density"),
        ("[experiment", "wanted a TOML file"),
    ],
)
def test_bad_files_of_references_are_refused(tmp_path, text, words):
    (tmp_path / "bad.toml").write_text(text + "\n")
    with pytest.raises(InputError, match=words) as refused:
        read_references(tmp_path / "bad.toml")
    assert "\n" not in str(refused.value)


def test_fluctuations_steam_and_surface_of_water():
    """Against IAPWS-95 at 0.1 MPa (derivatives) and at saturation; surface tension as R1-76 tabulates it."""
    for temperature in (280.0, 298.15, 350.0):
        truth = IAPWS95(T=temperature, P=0.1)
        assert water.compressibility(temperature).value == pytest.approx(1000 * truth.kappa, rel=2e-3)
        assert water.expansion(temperature).value == pytest.approx(truth.alfav, rel=5e-3, abs=1e-7)
        steam, liquid = (IAPWS95(T=temperature, x=x).h for x in (1, 0))
        assert water.vaporisation(temperature).value == pytest.approx((steam - liquid) * 18.0153e-3, rel=1e-3)
    for celsius, tension in ((25.0, 71.97), (50.0, 67.94), (100.0, 58.91)):
        assert water.surface_tension(273.15 + celsius).value == pytest.approx(tension, abs=0.01)
    for formula in (water.compressibility, water.expansion, water.vaporisation, water.surface_tension):
        assert formula(200.0) is None
