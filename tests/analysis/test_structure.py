"""Radial distribution functions against closed forms, a naive count and MDAnalysis."""

import warnings
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.analysis.rdf import InterRDF

from tlmd.analysis.peaks import first_maximum, minimum_after, top_of_peak
from tlmd.analysis.properties.structure import first_peak
from tlmd.analysis.radial import Radial, largest_cutoff, radial_distributions, species_pairs
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.trajectory import read_dump
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture(scope="module")
def water():
    return read_dump(DATA / "spcfw64.dump.xz")


def naive_counts(positions, cell, first, second, edges):
    """Ordered pairs first -> second in each bin over all 27 images."""
    counts = np.zeros(len(edges) - 1)
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ cell
    for i in first:
        vectors = positions[second][:, None] - positions[i] + shifts
        distance = np.linalg.norm(vectors, axis=-1).ravel()
        counts += np.histogram(distance[distance > 1e-9], edges)[0]
    return counts


def test_ideal_gas_is_one(rng):
    """g = 1 within its counting error in every bin, also for few atoms (pairs are N(N-1)/2)."""
    cell = np.array([[10.0, 0, 0], [2.0, 9.0, 0], [-1.0, 1.5, 11.0]])
    positions = rng.random((4000, 12, 3)) @ cell
    radials = radial_distributions(
        positions, np.repeat(cell[None], 4000, axis=0), np.array(["A"] * 4 + ["B"] * 8), bin_A=0.5
    )
    assert [radial.pair for radial in radials] == [("A", "A"), ("A", "B"), ("B", "B")]
    for radial in radials:
        outer = radial.r_A > 1.5
        assert np.mean(radial.g[outer]) == pytest.approx(1.0, abs=0.04)
        assert np.all(np.abs(radial.g - 1)[outer] < 6 * radial.error[outer])


@pytest.mark.parametrize("cell", [np.diag([8.0, 9.0, 10.0]), np.array([[9.0, 0, 0], [2.5, 9.0, 0], [-1.0, 1.5, 8.0]])])
def test_counts_equal_the_naive_count(rng, cell):
    positions = rng.random((5, 30, 3)) @ cell + 50.0  # far outside the box: unwrapped positions are allowed
    species = np.array(["A"] * 10 + ["B"] * 20)
    cutoff = largest_cutoff(cell[None])
    radials = radial_distributions(positions, np.repeat(cell[None], 5, axis=0), species, bin_A=0.25)
    edges = 0.25 * np.arange(len(radials[0].r_A) + 1)
    assert edges[-1] <= cutoff < edges[-1] + 0.25
    first, second = np.flatnonzero(species == "A"), np.flatnonzero(species == "B")
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    volume = np.linalg.det(cell)
    for radial, (a, b), pairs in zip(
        radials, [(first, first), (first, second), (second, second)], [90, 200, 380], strict=True
    ):
        counts = np.mean([naive_counts(frame, cell, a, b, edges) for frame in positions], axis=0)
        assert radial.g == pytest.approx(counts / (pairs * shell / volume), rel=1e-12)
        assert radial.neighbours.mean(axis=0) == pytest.approx(np.cumsum(counts) / len(a), rel=1e-12)


def mdanalysis_rdf(water, names, block):
    """g of a pair of names up to 6 A in 60 bins by MDAnalysis."""
    universe = MDAnalysis.Universe.empty(len(water.species), trajectory=True)
    universe.add_TopologyAttr("name", list(water.species))
    edge = water.cells[0, 0, 0]
    box = np.tile([edge, edge, edge, 90.0, 90.0, 90.0], (len(water.steps), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe.load_new(water.positions.astype(np.float32), dimensions=box)
        groups = [universe.select_atoms(f"name {name}") for name in names]
        return InterRDF(*groups, nbins=60, range=(0.0, 6.0), exclusion_block=block).run().results.rdf


@pytest.mark.parametrize("names", [("O", "O"), ("O", "H")])
def test_water_equals_mdanalysis(water, names):
    (radial,) = radial_distributions(water.positions, water.cells, water.species, [names], cutoff_A=6.0, bin_A=0.1)
    block = (1, 1) if names[0] == names[1] else None  # leaves N(N-1) pairs
    assert radial.g == pytest.approx(mdanalysis_rdf(water, names, block), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize(("names", "block"), [(("O", "H"), (1, 2)), (("H", "H"), (2, 2))])
def test_water_between_molecules_equals_mdanalysis(water, names, block):
    """Its exclusion_block leaves out the pairs of one molecule, in the counts and in the normalisation."""
    number = np.repeat(np.arange(64), 3)
    (radial,) = radial_distributions(
        water.positions, water.cells, water.species, [names], cutoff_A=6.0, bin_A=0.1, molecule=number
    )
    assert radial.g == pytest.approx(mdanalysis_rdf(water, names, block), rel=2e-3, abs=2e-3)
    assert radial.within.g[:20].max() > radial.g.max()
    apart, all_pairs = (
        radial.neighbours,
        radial_distributions(water.positions, water.cells, water.species, [names], cutoff_A=6.0, bin_A=0.1)[
            0
        ].neighbours,
    )
    assert apart + radial.within.neighbours == pytest.approx(all_pairs)


def test_an_ideal_gas_of_molecules_is_one(rng):
    """12 dimers at random: 1 between molecules at all distances, one neighbour within, at 0.8 A."""
    centres = rng.random((2000, 12, 3)) * 10
    axis = rng.normal(size=(2000, 12, 3))
    axis *= 0.4 / np.linalg.norm(axis, axis=-1, keepdims=True)
    positions = np.stack([centres - axis, centres + axis], axis=2).reshape(2000, 24, 3)
    cells = np.repeat(np.eye(3)[None] * 10, 2000, axis=0)
    numbers, names = np.repeat(np.arange(12), 2), np.array(["A", "A"] * 12)
    (radial,) = radial_distributions(positions, cells, names, bin_A=0.5, molecule=numbers)
    assert np.all(np.abs(radial.g - 1)[2:] < 6 * radial.error[2:])
    assert radial.within.neighbours[:, 2] == pytest.approx(1.0)
    assert radial.within.neighbours[:, 0] == pytest.approx(0.0)


def test_pairs_that_no_two_molecules_have_are_of_all_atoms(rng):
    positions, cells = rng.random((5, 8, 3)) * 9, np.repeat(np.eye(3)[None] * 9, 5, axis=0)
    names, one = np.array(["A"] * 8), np.zeros(8, int)
    (radial,) = radial_distributions(positions, cells, names, molecule=one)
    (plain,) = radial_distributions(positions, cells, names)
    assert radial.g == pytest.approx(plain.g) and radial.within is None


def test_the_hydrogen_bond_of_methanol(methanol):
    """OPLS-AA: O...HO at 1.8 to 1.95 A with 0.93 hydrogen bonds by donor and acceptor (Jorgensen, JACS 118, 11225)."""
    run = Simulation(methanol / "nvt.dump.gz", methanol / "nvt.log")
    with pytest.warns(UserWarning, match="H-H left out: got a g"):
        records = {record["quantity"]: record for record in measure("structure", run, within=True).records}
    assert 1.78 < records["O-HO first peak position"]["value"] < 1.98
    assert records["O-HO coordination number"]["value"] == pytest.approx(0.93, abs=0.1)
    assert 2.3 < records["O-HO coordination number"]["radius_A"] < 2.9
    assert 1.78 < records["O-H first peak position"]["value"] < 1.98
    assert 2.65 < records["O-O first peak position"]["value"] < 2.95
    assert records["O-H first peak position within molecules"]["value"] == pytest.approx(0.97, abs=0.02)
    assert records["C-H coordination number within molecules"]["value"] == pytest.approx(3.0)
    assert "pairs of different molecules (27 CH4O)" in records["O-O first peak position"]["source"]
    assert "pairs within molecules" in records["O-H first peak position within molecules"]["source"]
    plain = measure("structure", run, pairs="O-H,O-HC", molecules=False).records
    assert plain[0]["value"] == pytest.approx(0.97, abs=0.02)  # the bond
    assert plain[3]["value"] == pytest.approx(2.05, abs=0.1)  # of O to its methyl's hydrogens
    with pytest.raises(InputError, match="got species HN; wanted C or HC or HO or O"):
        measure("structure", run, pairs="O-HN,O-HO")


def test_water_has_its_hydrogens_and_bonds(water):
    oo, oh, hh = radial_distributions(water.positions, water.cells, water.species)
    assert (oo.pair, oh.pair, hh.pair) == (("O", "O"), ("O", "H"), ("H", "H"))
    assert np.interp(1.4, oh.r_A, oh.neighbours.mean(axis=0)) == pytest.approx(2.0, abs=0.01)
    assert np.interp(1.9, hh.r_A, hh.neighbours.mean(axis=0)) == pytest.approx(1.0, abs=0.15)
    peak = first_peak(oo, 2.0)
    assert 2.7 < peak.position.value < 2.8
    assert 2.8 < peak.height.value < 3.5
    assert 3.5 < peak.coordination.value < 5.0
    assert 3.0 < peak.radius_A < 3.6
    assert all(0 < part.standard_error < 0.2 for part in (peak.position, peak.height, peak.coordination))
    assert (peak.position.unit, peak.height.unit) == ("A", "1")


def test_peak_of_a_known_curve():
    """Two Gaussians of width 0.2 A at 2.8 and 4.5 A, the second higher, on a step: the first is the first peak."""
    r = np.arange(0.01, 7, 0.02)
    g = 1 / (1 + np.exp(-(r - 2.5) / 0.02)) * 0.6
    g += 1.9 * np.exp(-((r - 2.8) ** 2) / 0.08) + 2.5 * np.exp(-((r - 4.5) ** 2) / 0.08)
    near = first_maximum(r, g)
    assert near == pytest.approx(2.8, abs=0.04)
    assert top_of_peak(r, g, near) == pytest.approx((2.8, 2.5), abs=0.02)
    assert minimum_after(r, g, 2.8) == pytest.approx(3.62, abs=0.05)
    assert first_maximum(r, g, beyond_A=3.5) == pytest.approx(4.5, abs=0.04)


def test_coordination_is_counted_between_the_bounds():
    r = np.arange(0.05, 5, 0.1)
    g = 3 * np.exp(-((r - 2.0) ** 2) / 0.02)
    neighbours = np.tile(np.cumsum(np.where((r > 1.5) & (r < 2.5), 0.4, 0.1)), (5, 1))
    peak = first_peak(Radial(("A", "A"), r, g, np.tile(g, (5, 1)), neighbours), beyond_A=1.5, radius_A=2.5)
    assert peak.coordination.value == pytest.approx(4.0)


def test_a_flat_curve_has_no_peak():
    r = np.arange(0.01, 6, 0.02)
    with pytest.raises(InputError, match=r"a g\(r\) without a peak beyond 1\.4 A; wanted one;"):
        first_maximum(r, np.ones_like(r), 1.4)


def test_bad_requests_are_refused(water):
    arguments = (water.positions, water.cells, water.species)
    with pytest.raises(InputError, match=r"got cutoff 8 A; wanted at most half the box, 6\.\d+ A"):
        radial_distributions(*arguments, cutoff_A=8.0)
    with pytest.raises(InputError, match="got species Cu; wanted H or O"):
        radial_distributions(*arguments, pairs=[("Cu", "O")])
    with pytest.raises(InputError, match="got 4 frames; wanted at least 5"):
        radial_distributions(water.positions[:4], water.cells[:4], water.species)
    with pytest.raises(InputError, match="got one atom of A; wanted two"):
        radial_distributions(water.positions[:, :2], water.cells, np.array(["A", "B"]), [("A", "A")])


def test_pairs_and_cutoff():
    assert species_pairs(np.array(["O", "H", "H"])) == [("O", "O"), ("O", "H"), ("H", "H")]
    hexagonal = np.array([[[10.0, 0, 0], [5.0, 10.0 * np.sqrt(3) / 2, 0], [0, 0, 20.0]]])
    assert largest_cutoff(hexagonal) == pytest.approx(10.0 * np.sqrt(3) / 4)
