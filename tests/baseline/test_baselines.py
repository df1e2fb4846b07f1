"""Baselines alone: slopes of the energy, any orientation of the cell, known values, what is refused."""

import numpy as np
import pytest
from ase.build import bulk

from tlmd.baseline.d3 import D3Config
from tlmd.baseline.kinds import BASELINES, open_baseline, same_baseline
from tlmd.baseline.lammps import LammpsBaselineConfig, overlaid
from tlmd.run.errors import InputError
from tlmd.units import COULOMB_EV_A

LJ = """pair_style lj/cut 6.0   # r^-6 by pairs of elements
pair_modify shift yes
pair_coeff * * 0.002 1.6
pair_coeff 1 1 &
    0.006 3.0
"""
CHARGES = """
set type 1 charge 1.0
set type 2 charge -1.0
if "${periodic} == yes" then "pair_style coul/long 8.0" else "pair_style coul/cut 50.0"
pair_coeff * *
if "${periodic} == yes" then "kspace_style pppm 1e-6"
"""


def described(tmp_path, kind: str, text: str = LJ, **changes) -> dict:
    """A baseline of O and H as cards have it."""
    if kind == "d3":
        pytest.importorskip("dftd3")
        return D3Config(
            **{"kind": "d3", "functional": "revpbe0", "cutoff_A": 8.0, "cn_cutoff_A": 6.0} | changes
        ).described()
    (tmp_path / "base line").mkdir(exist_ok=True)
    include = tmp_path / "base line" / "include.in"
    include.write_text(text)
    return LammpsBaselineConfig(**{"kind": "lammps", "include": include, "elements": ["O", "H"]} | changes).described()


@pytest.fixture
def water():
    """12 molecules, as good as, in a tilted cell that is not lower triangular."""
    rng = np.random.default_rng(1)
    cell = np.array([[7.0, 0.6, -0.4], [-0.5, 8.0, 0.7], [0.9, -0.6, 7.5]])
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3)[:36] / 4
    return np.tile([8, 1, 1], 12), sites @ cell + rng.normal(scale=0.1, size=(36, 3)), cell, np.ones(3, bool)


@pytest.mark.parametrize("kind", BASELINES)
def test_forces_and_stress_are_slopes_of_the_energy(tmp_path, water, kind):
    numbers, positions, cell, pbc = water
    baseline, h = open_baseline(described(tmp_path, kind)), 1e-3
    found = baseline.values(*water)

    def energy(moved, box=cell) -> float:
        return baseline.values(numbers, moved, box, pbc).energy

    for i, k in ((0, 0), (7, 2)):
        step = np.zeros_like(positions)
        step[i, k] = h
        slope = (energy(positions + step) - energy(positions - step)) / (2 * h)
        assert found.forces[i, k] == pytest.approx(-slope, rel=2e-3, abs=2e-4)
    h = 1e-5  # so small that no pair crosses D3's sharp cutoff
    for a, b in ((0, 0), (2, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] += h / 2
        strain[b, a] += h / 2
        ahead, behind = (energy(positions @ m, cell @ m) for m in (np.eye(3) + strain, np.eye(3) - strain))
        slope = (ahead - behind) / (2 * h) / np.linalg.det(cell)
        assert found.stress[a, b] == pytest.approx(slope, rel=1e-3, abs=1e-6)
    np.testing.assert_allclose(found.forces.sum(0), 0, atol=1e-7)
    np.testing.assert_allclose(found.stress, found.stress.T, atol=1e-9)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = baseline.values(numbers, positions @ turn, cell @ turn, pbc)
    assert turned.energy == pytest.approx(found.energy, rel=1e-9)
    np.testing.assert_allclose(turned.forces, found.forces @ turn, atol=1e-7)
    np.testing.assert_allclose(turned.stress, turn.T @ found.stress @ turn, atol=1e-8)
    free = baseline.values(numbers, positions, cell, np.zeros(3, bool))
    assert free.stress is None and free.energy != pytest.approx(found.energy)
    with pytest.raises(InputError, match="wanted all directions periodic or none"):
        baseline.values(numbers, positions, cell, np.array([True, True, False]))
    baseline.close()


def test_charges_with_pppm_give_madelungs_constant(tmp_path):
    salt = bulk("HO", "rocksalt", a=5.0, cubic=True) * 2
    baseline = open_baseline(described(tmp_path, "lammps", CHARGES))
    found = baseline.values(salt.numbers, salt.positions, salt.cell.array, salt.pbc)
    assert found.energy / 32 == pytest.approx(-1.747565 * COULOMB_EV_A / 2.5, rel=1e-5)
    pressure = -np.trace(found.stress) / 3
    assert pressure == pytest.approx(found.energy / (3 * salt.get_volume()), rel=1e-4)
    pair = baseline.values(np.array([8, 1]), np.array([[0, 0, 0], [2.0, 0, 0]]), np.zeros((3, 3)), np.zeros(3, bool))
    assert pair.energy == pytest.approx(-COULOMB_EV_A / 2, rel=1e-5)
    np.testing.assert_allclose(pair.forces[0], [COULOMB_EV_A / 4, 0, 0], rtol=1e-5, atol=1e-9)
    units = open_baseline(described(tmp_path, "lammps", CHARGES, units="real"))
    assert units.values(salt.numbers, salt.positions, salt.cell.array, salt.pbc).energy == pytest.approx(found.energy)


def test_hessian(tmp_path):
    baseline, d = open_baseline(described(tmp_path, "lammps")), 3.3
    where = np.array([[0, 0, 0], [d, 0, 0]])
    hessian = baseline.hessian(np.array([8, 8]), where, np.zeros((3, 3)), np.zeros(3, bool))
    second = 4 * 0.006 * (156 * (3.0 / d) ** 12 - 42 * (3.0 / d) ** 6) / d**2
    assert hessian[3, 3] == pytest.approx(second, rel=1e-4) and hessian[0, 3] == pytest.approx(-second, rel=1e-4)


def test_lines_for_lammps(tmp_path):
    assert open_baseline(described(tmp_path, "d3")).lines("tpainn", "m.pt", ["H", "O"]) == [
        "# pip install tad-dftd3 and export again for pair_style d3, which is faster",
        "pair_style hybrid/overlay tpainn dispersion/d3 original revpbe0 8.0 6.0",
        "pair_coeff * * tpainn m.pt H O",
        "pair_coeff * * dispersion/d3 H O",
    ]
    whole = described(tmp_path, "lammps")
    assert whole["styles"] == ["lj/cut"]
    assert open_baseline(whole).lines("mekrr", "m.pt", ["O"]) == [
        "pair_style hybrid/overlay mekrr lj/cut 6.0",
        "pair_coeff * * mekrr m.pt O NULL",
        "pair_modify shift yes",
        "pair_coeff * * lj/cut 0.002 1.6",
        "pair_coeff 1 1 lj/cut 0.006 3.0",
    ]
    assert overlaid(CHARGES, "tpainn", "m.pt O H") == [
        "set type 1 charge 1.0",
        "set type 2 charge -1.0",
        "pair_style hybrid/overlay tpainn coul/long 8.0",
        "pair_coeff * * tpainn m.pt O H",
        "pair_coeff * * coul/long",
        "kspace_style pppm 1e-6",
    ]
    assert described(tmp_path, "lammps", CHARGES)["styles"] == ["coul/long"]
    both = "pair_style hybrid/overlay zbl 3 4 lj/cut 9\npair_coeff * * zbl 8 8\npair_coeff * * lj/cut 1 1\n"
    assert overlaid(both, "tpainn", "m.pt O")[0] == "pair_style hybrid/overlay tpainn zbl 3 4 lj/cut 9"
    assert described(tmp_path, "lammps", both)["styles"] == ["zbl", "lj/cut"]


def test_a_table_beside_the_include_goes_with_it(tmp_path, water):
    table = "# r^-6\n\nPAIR\nN 400 R 0.5 6.0\n\n"
    r = np.linspace(0.5, 6.0, 400)
    table += "\n".join(
        f"{i + 1} {x:.10g} {-1 / (x**6 + 9):.10g} {-6 * x**5 / (x**6 + 9) ** 2:.10g}" for i, x in enumerate(r)
    )
    (tmp_path / "base line").mkdir()
    (tmp_path / "base line" / "pairs.table").write_text(table + "\n")
    card = described(tmp_path, "lammps", "pair_style table linear 400\npair_coeff * * pairs.table PAIR 6.0\n")
    assert set(card["files"]) == {"include.in", "pairs.table"} == set(card["sha256"])
    (tmp_path / "base line" / "pairs.table").unlink()
    baseline = open_baseline(card)
    assert baseline.values(*water).energy < 0
    baseline.close()


def test_refusals(tmp_path, water):
    numbers, *rest = water
    wrong = open_baseline(described(tmp_path, "lammps", "pair_style lj/cut 6.0\npair_coeff 1 1 x\n"))
    for baseline, atoms, words in [
        (wrong, numbers, r"got the baseline lammps \(include.in\): LAMMPS: .*; wanted commands that"),
        (open_baseline(described(tmp_path, "lammps")), numbers + 5, "Al, C with the baseline lammps .* only O, H"),
    ]:
        with pytest.raises(InputError, match=words):
            baseline.values(atoms, *rest)
    for card, words in [
        ({"kind": "d4"}, "a baseline of kind d4; wanted one of d3, lammps"),
        ({"kind": "lammps"}, "a damaged description of a baseline lammps"),
        ({"kind": "d3", "functional": "pbe", "colour": 1}, "a damaged description of a baseline d3"),
        (
            described(tmp_path, "d3", functional="nothing"),
            'functional = "nothing" with zero damping; wanted a functional',
        ),
    ]:
        with pytest.raises(InputError, match=words):
            open_baseline(card)
    with pytest.raises(InputError, match="baseline.elements with Xy"):
        described(tmp_path, "lammps", elements=["O", "Xy"])


def test_a_start_keeps_its_baseline(tmp_path):
    one, other = described(tmp_path, "d3"), described(tmp_path, "lammps")
    assert same_baseline(None, None, "m.pt") is None and same_baseline(one, None, "m.pt") == one
    assert same_baseline(None, one, "m.pt") == one == same_baseline(dict(one), one, "m.pt")
    with pytest.raises(
        InputError, match=r"data.baseline kind lammps.*; wanted data.baseline kind d3.*with which m.pt was"
    ):
        same_baseline(other, one, "m.pt")
