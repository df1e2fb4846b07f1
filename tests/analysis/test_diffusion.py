"""Diffusion coefficients against closed forms, a naive sum, pymatgen and MDAnalysis."""

import warnings
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from ase.build import molecule
from MDAnalysis.analysis.msd import EinsteinMSD
from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
from pymatgen.core import Lattice, Structure

from tlmd.analysis.properties.diffusion import (
    cubic_edge,
    diffusion_coefficient,
    finite_size_correction,
    fit_window,
    mean_squared_displacement,
    remove_drift,
    uniform_interval,
)
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.trajectory import read_dump
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"


def naive_msd(positions):
    """(T, N): the definition, O(T^2)."""
    frames = len(positions)
    rows = [np.sum((positions[lag:] - positions[: frames - lag]) ** 2, axis=2).mean(axis=0) for lag in range(frames)]
    return np.array(rows)


def random_walk(rng, frames, particles, step=1.0):
    """D = step^2 / (2 interval)."""
    return np.cumsum(rng.normal(scale=step, size=(frames, particles, 3)), axis=0)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def oxygens():
    """(160, 64, 3) drift-free oxygen positions of the SPC/Fw run, 1 ps apart."""
    trajectory = read_dump(DATA / "spcfw64.dump.xz")
    return remove_drift(trajectory.positions, trajectory.masses)[:, trajectory.species == "O"]


@pytest.mark.parametrize(("frames", "particles"), [(2, 1), (37, 5), (64, 300)])
def test_fft_msd_equals_the_definition(rng, frames, particles):
    positions = random_walk(rng, frames, particles) + 1000.0
    assert mean_squared_displacement(positions) == pytest.approx(naive_msd(positions), rel=1e-9, abs=1e-9)


def test_msd_equals_the_definition_for_water(oxygens):
    assert mean_squared_displacement(oxygens) == pytest.approx(naive_msd(oxygens), rel=1e-9, abs=1e-9)


def test_msd_equals_pymatgen_for_water(oxygens):
    """pymatgen subtracts the drift of a framework: one atom at rest here, for ours is subtracted already."""
    frames, particles = oxygens.shape[:2]
    positions = np.concatenate([oxygens, np.zeros((frames, 1, 3))], axis=1)
    structure = Structure(
        Lattice.cubic(100.0), ["O"] * particles + ["He"], positions[0], coords_are_cartesian=True, to_unit_cell=True
    )
    displacements = (positions - positions[0]).transpose(1, 0, 2)
    reference = DiffusionAnalyzer(structure, displacements, "O", 298.15, time_step=1, step_skip=1000, smoothed="max")
    lags = np.rint(np.asarray(reference.dt) / 1000).astype(int)
    assert len(lags) > 50
    assert mean_squared_displacement(oxygens).mean(axis=1)[lags] == pytest.approx(reference.msd, rel=1e-8)


def test_msd_equals_mdanalysis_for_water(oxygens):
    universe = MDAnalysis.Universe.empty(oxygens.shape[1], trajectory=True)
    universe.load_new(oxygens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = EinsteinMSD(universe, fft=False).run()
    ours = mean_squared_displacement(oxygens).mean(axis=1)
    assert ours == pytest.approx(reference.results.timeseries, rel=1e-4, abs=1e-4)  # MDAnalysis holds float32


def test_random_walk_has_its_diffusion_coefficient(rng):
    """Steps of variance 1 A^2 each 1000 fs: D = 0.5e-3 A^2/fs = 5e-9 m^2/s."""
    results = [diffusion_coefficient(random_walk(rng, 500, 100), 1000.0).estimate for _ in range(30)]
    values = np.array([result.value for result in results])
    errors = np.array([result.standard_error for result in results])
    assert values.mean() == pytest.approx(5e-9, abs=4 * values.std() / np.sqrt(30))
    assert values.std() < 0.1 * 5e-9
    assert errors.mean() == pytest.approx(values.std(), rel=0.5)
    assert results[0].unit == "m2/s"


def test_fit_starts_after_the_cage(rng):
    """Noise about each point adds a constant to the MSD: the slope is 1 within 10 % only where 6Dt > 9 c."""
    walk = random_walk(rng, 3000, 200)
    caged = walk + rng.normal(scale=2.0, size=walk.shape)  # c = 2 * 3 * 4 = 24 A^2, 6D = 3 A^2 a frame
    result = diffusion_coefficient(caged, 100.0)
    start, end = result.window
    assert 30 < start < 80  # the slope over [t, 2t] reaches 0.9 near t = 9 c / (6D sqrt 2) = 51
    assert end == 299
    assert result.estimate.value == pytest.approx(0.5 / 100 * 1e-5, rel=0.05)
    assert result.intercept_A2 == pytest.approx(24, abs=12)


def test_drift_is_removed(rng):
    masses = np.array([16.0, 1.0, 1.0] * 20)
    walk = remove_drift(random_walk(rng, 200, 60), masses)
    drifting = walk + np.linspace([0, 0, 0], [50, -20, 5], 200)[:, None, :]
    assert remove_drift(drifting, masses) == pytest.approx(walk, abs=1e-9)


def test_ballistic_motion_is_refused(rng):
    positions = np.arange(300)[:, None, None] * rng.normal(size=(1, 50, 3))
    with pytest.raises(
        InputError, match=r"got a trajectory of 0\.299 ps whose MSD still grows as t\^2\.00; .*run about"
    ):
        diffusion_coefficient(positions, 1.0)


def test_a_solid_is_refused(rng):
    with pytest.raises(InputError, match=r"t\^-?0\.0\d; wanted t\^1 \(diffusion\); run about"):
        diffusion_coefficient(rng.normal(size=(500, 50, 3)), 10.0)


def test_the_needed_length_is_enough(rng):
    """Of a caged walk that is too short, the error names a length at which the fit succeeds."""
    walk = random_walk(rng, 6000, 200)
    caged = walk + rng.normal(scale=2.0, size=walk.shape)
    with pytest.raises(InputError) as refused:
        diffusion_coefficient(caged[:400], 1000.0)
    needed = float(str(refused.value).split("run about ")[1].split(" ps")[0])  # one frame a ps
    assert 1000 < needed < 6000
    assert diffusion_coefficient(caged[: int(needed)], 1000.0).estimate.value > 0


def test_atoms_at_rest_are_refused():
    with pytest.raises(InputError, match="got atoms that do not move; wanted a moving liquid"):
        diffusion_coefficient(np.ones((300, 5, 3)), 1.0)


def test_a_given_window_is_used(rng):
    walk = random_walk(rng, 400, 100)
    result = diffusion_coefficient(walk, 100.0, (500.0, 4000.0))
    assert result.window == (5, 40)
    lags, msd = np.arange(5, 41) * 100.0, naive_msd(walk).mean(axis=1)[5:41]
    assert result.estimate.value == pytest.approx(np.polyfit(lags, msd, 1)[0] / 6 * 1e-5, rel=1e-9)
    half = diffusion_coefficient(walk, 100.0, (500.0, 19000.0)).estimate  # one block: the error is over particles
    assert half.samples == 100
    for window in ((0.0, 4000.0), (500.0, 600.0), (500.0, 30000.0)):
        with pytest.raises(InputError, match=r"got fit window .*; wanted at least 3 lags between 0\.1 and 19\.9 ps"):
            diffusion_coefficient(walk, 100.0, window)


def test_a_short_run_uses_lags_up_to_a_fifth(rng):
    """c = 24 A^2 and 6D = 3 A^2 a frame: of 1200 frames no window of two octaves ends within 120."""
    caged = random_walk(rng, 1200, 400)
    caged = caged + rng.normal(scale=2.0, size=caged.shape)
    start, end = diffusion_coefficient(caged, 100.0).window
    assert 30 < start < 60 and 4 * start <= end <= 239


def test_the_way_from_ballistic_motion_into_the_cage_is_no_window():
    """As in water: the slope falls from 2 through 1 at 0.2 ps to 0.6, and is 1 within 10 % from 1.5 ps on."""
    lags = np.arange(5001) * 20.0
    msd = 1.5e-3 * (lags - 100 * (1 - np.exp(-lags / 100))) + 0.4 * (1 - np.exp(-((lags / 150) ** 2)))
    slopes = np.gradient(np.log(msd[1:]), np.log(lags[1:]))
    assert slopes[0] > 1.5 and slopes.min() < 0.7
    start, end = fit_window(lags, msd, 5001)
    assert 1000 < lags[start] < 1600 and end == 500
    with pytest.raises(InputError, match=r"still grows as t\^0\.\d+; wanted t\^1"):
        fit_window(lags[:150], msd[:150], 150)


def test_few_frames_are_refused(rng):
    with pytest.raises(InputError, match=r"got 100 frames; wanted at least 101 .*; run longer"):
        diffusion_coefficient(random_walk(rng, 100, 10), 1.0)


def test_fit_window_of_an_exact_line():
    lags = np.arange(1001) * 2.0
    assert fit_window(lags, 3.0 * lags, 1001) == (1, 100)


def test_uneven_frames_are_refused():
    assert uniform_interval(np.array([0.0, 2.0, 4.0])) == 2.0
    with pytest.raises(InputError, match=r"frames 1 to 2 fs apart; wanted frames at one interval"):
        uniform_interval(np.array([0.0, 1.0, 3.0]))
    with pytest.raises(InputError, match="one frame"):
        uniform_interval(np.array([0.0]))


def test_finite_size_correction():
    """xi kT / (6 pi eta L) worked by hand for water at 298.15 K in a box of 20 A."""
    by_hand = 2.837297 * 1.380649e-23 * 298.15 / (6 * 3.141592653589793 * 0.89e-3 * 20e-10)
    assert finite_size_correction(298.15, 0.89e-3, 20.0) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(3.48e-10, rel=1e-3)


def test_only_a_cube_is_cubic():
    assert cubic_edge(12.0 * np.eye(3)) == pytest.approx(12.0)
    assert cubic_edge(np.diag([12.0, 12.0, 13.0])) is None
    assert cubic_edge(np.array([[12.0, 0, 0], [3.0, np.sqrt(135), 0], [0, 0, 12.0]])) is None


@pytest.fixture
def mixture(rng, tmp_path):
    """20 methanol and 30 water molecules that walk at random, one of ethanol, wrapped: D of 1e-9 and 4e-9 m2/s."""
    edge, interval, frames = 40.0, 1000.0, 300
    ones = ["CH3OH"] * 20 + ["H2O"] * 30 + ["CH3CH2OH"]
    steps = np.repeat([1.0, 2.0, 1.0], [20, 30, 1]) * np.sqrt(2 * 1e-4 * interval)  # variance 2 D t, D in A^2/fs
    sites = np.array(list(np.ndindex(4, 4, 4)))[: len(ones)] * edge / 4
    walk = np.cumsum(rng.normal(size=(frames, len(ones), 3)) * steps[None, :, None], axis=0) * 0.3
    walk -= walk[0]
    species = [symbol for one in ones for symbol in molecule(one).get_chemical_symbols()]
    shapes = np.concatenate([molecule(one).positions for one in ones])
    owner = np.repeat(np.arange(len(ones)), [len(molecule(one)) for one in ones])
    positions = (sites[owner] + shapes + walk[:, owner]) % edge
    line = "{} {} {:.4f} {:.4f} {:.4f}\n".format
    rows = [
        "".join(line(k + 1, name, *r) for k, (name, r) in enumerate(zip(species, frame, strict=True)))
        for frame in positions
    ]
    head = f"ITEM: NUMBER OF ATOMS\n{len(species)}\nITEM: BOX BOUNDS pp pp pp\n" + f"0 {edge}\n" * 3
    head += "ITEM: ATOMS id element x y z\n"
    dump, log = tmp_path / "mix.dump", tmp_path / "mix.log"
    dump.write_text("".join(f"ITEM: TIMESTEP\n{1000 * t}\n{head}{row}" for t, row in enumerate(rows)))
    thermo = "".join(f"{1000 * t} {298.15 + rng.normal():.3f} {edge**3}\n" for t in range(frames))
    log.write_text(
        f"units real\ntimestep 1.0\nStep Temp Volume\n{thermo}Loop time of 1 on 1 procs for 1 steps with "
        f"{len(species)} atoms\n"
    )
    return Simulation(dump, log)


def test_molecules_of_a_mixture_diffuse_each_at_its_rate(mixture):
    """Walks scaled by 0.3: D of 0.09e-9 and 0.36e-9 m2/s, of the centres of mass; ethanol has one molecule."""
    with pytest.warns(UserWarning, match="diffusion of COM of C2H6O left out: got a trajectory of 299 ps"):
        result = measure("diffusion", mixture)
    records = {record["quantity"]: record for record in result.records}
    assert len(records) == 2 == len(result.figures["Mean squared displacement"].axes)
    slow = records["diffusion coefficient of CH4O, periodic box"]
    fast = records["diffusion coefficient of H2O, periodic box"]
    assert slow["value"] == pytest.approx(0.09e-9, abs=4 * slow["standard_error"], rel=0.3)
    assert fast["value"] == pytest.approx(0.36e-9, abs=4 * fast["standard_error"], rel=0.3)
    assert "MSD of COM of H2O" in fast["source"]
    assert all(record["experiment"] is None for record in records.values())
    (alone,) = measure("diffusion", mixture, species="H2O").records
    assert alone["quantity"] == "diffusion coefficient, periodic box"
    assert alone["value"] == pytest.approx(fast["value"])
    with pytest.raises(InputError, match="got species CH3; wanted C or H or O or CH4O or H2O or C2H6O or COM"):
        measure("diffusion", mixture, species="CH3")
