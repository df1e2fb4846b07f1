"""What is refused in frames: cells that cannot be searched, atoms at one place, units, duplicates; equal frames."""

import itertools

import numpy as np
import pytest

from tlmd.frames.checks import CLOSEST_A, check_frames, nearest_atoms, same_frames
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.graph import neighbour_pairs
from tlmd.run.errors import InputError
from tlmd.units import BOHR_A, EV_PER_HARTREE

ATOMS = "O 0 0 0\nH 1 0 0\nH 0 1 0\n"


def water(seed: int = 0, **changes) -> Frame:
    rng = np.random.default_rng(seed)
    positions = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.3, 0.9, 0]]) + rng.normal(scale=0.03, size=(3, 3))
    forces = rng.choice([-1, 1], (3, 3)) * rng.uniform(0.8, 1.2, (3, 3))
    values = {"energy": -470.0 + rng.normal(), "forces": forces, "cell": np.eye(3) * 8, "pbc": np.ones(3, bool)}
    return Frame(np.array([8, 1, 1]), positions, **(values | changes))


@pytest.mark.parametrize(
    ("lattice", "pbc", "words"),
    [
        ("1e6 0 0 0 2 0 0 0 2", "T T T", r"frame 0: a cell vector of 1e\+06 A; wanted at most 100000 A"),
        ("5 0 0 0 5 0 0 0 .1", "T T T", r"frame 0: a cell 0\.1 A high; wanted at least 0\.5 A"),
        ("5 0 0 5 .01 0 0 0 5", "T T T", r"frame 0: a cell 0\.01 A high"),
        ("5 0 0 10 0 0 0 0 5", "T T T", r"frame 0: pbc without a cell: vectors that are zero or linearly dependent"),
        ("5 0 0 0 0 0 0 0 5", "F T F", r"frame 0: pbc without a cell"),
        (None, "T T F", r"frame 0: pbc without a cell"),
        (None, "T T T", r"frame 0: pbc without a cell"),
    ],
)
def test_cells_that_cannot_be_searched(tmp_path, lattice, pbc, words):
    head = f'Lattice="{lattice}" ' if lattice else ""
    path = tmp_path / "set.extxyz"
    path.write_text(f'3\n{head}pbc="{pbc}" Properties=species:S:1:pos:R:3 energy=-1.0\n{ATOMS}')
    with pytest.raises(InputError, match=words):
        read_frames(path)
    unchecked = read_frames(path, check=False)[0]
    with pytest.raises(InputError, match=words.removeprefix("frame 0: ")):  # the search itself, for the calculator
        neighbour_pairs(unchecked.positions, unchecked.cell, unchecked.pbc, 5.0)


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (False, True, False), (False, False, False)])
@pytest.mark.parametrize("third", [0.0, 7.0])
def test_partly_periodic_cells_give_the_pairs_of_all_images(pbc, third):
    """Vectors of directions that are not periodic may be zero or long: they play no part."""
    rng = np.random.default_rng(4)
    pbc = np.array(pbc)
    cell = np.where(pbc[:, None], np.diag([4.0, 5.0, 4.5]) + rng.normal(scale=0.3, size=(3, 3)), np.eye(3) * third)
    positions = rng.uniform(0, 5, (9, 3))
    vectors = neighbour_pairs(positions, cell, pbc, 4.0)[2]
    images = itertools.product(*[range(-3, 4) if periodic else (0,) for periodic in pbc])
    lengths = [np.linalg.norm(positions - positions[:, None] + np.array(n) @ cell, axis=-1) for n in images]
    truth = np.sort([d for length in lengths for d in length.ravel() if 0 < d < 4.0])
    np.testing.assert_allclose(np.sort(np.linalg.norm(vectors, axis=1)), truth, atol=1e-12)


def test_a_long_thin_cell_works():
    cell = np.diag([1e4, 2.5, 2.5])
    i, _, vectors = neighbour_pairs(np.zeros((1, 3)), cell, np.ones(3, bool), 3.0)
    assert len(i) == 4 and np.linalg.norm(vectors, axis=1) == pytest.approx(2.5)


@pytest.mark.parametrize("pbc", list(itertools.product((True, False), repeat=3)))
def test_nearest_atoms_against_all_pairs(pbc):
    rng = np.random.default_rng(1)
    cell = np.array([[3.0, 0.2, 0], [-0.4, 2.5, 0.3], [0.1, 0.7, 4.0]])
    found = 0
    for _ in range(30):
        shifts = rng.integers(-2, 3, (12, 3)) * np.array(pbc)
        frame = Frame(np.ones(12, int), (rng.uniform(size=(12, 3)) + shifts) @ cell, cell, np.array(pbc))
        images = [np.array(n) @ cell for n in itertools.product(*[range(-6, 7) if p else (0,) for p in pbc])]
        lengths = np.min([np.linalg.norm(frame.positions - frame.positions[:, None] + n, axis=-1) for n in images], 0)
        lengths[np.diag_indices(12)] = np.inf
        nearest = nearest_atoms(frame, 0.4)
        assert (nearest is None) == (lengths.min() >= 0.4)
        if nearest is not None:
            found += 1
            assert nearest[2] == pytest.approx(lengths.min(), abs=1e-12) == pytest.approx(lengths[nearest[:2]])
    assert found > 2


@pytest.mark.parametrize("image", [0, 1])
def test_two_atoms_at_one_place(image):
    frame = water()
    frame.positions[2] = frame.positions[1] + 0.02 + image * frame.cell[0]
    with pytest.raises(InputError, match=r"frame 1: two atoms at one place, 1 and 2 are 0\.035 A apart"):
        check_frames([water(1), frame])
    frame.positions[2] = frame.positions[1]
    with pytest.raises(InputError, match=r"got atoms 1 and 2 at one place"):
        neighbour_pairs(frame.positions, frame.cell, frame.pbc, 5.0)
    assert nearest_atoms(water()) is None and CLOSEST_A == 0.1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"energy": -470.0 / EV_PER_HARTREE * 2}, r"frame 2: mixed units.*near that of Ry"),
        ({"energy": -470.0 * 1000}, r"frame 2: mixed units.*near that of meV"),
        ({"energy": -470.0 * 96.485}, r"frame 2: mixed units.*near that of kJ/mol"),
        ({"forces": water(2).forces * BOHR_A / EV_PER_HARTREE * 2}, r"frame 2: mixed units, its rms force.*Ry/bohr"),
        ({"energy": 1e300}, r"frame 2: an energy of 3\.\d+e\+299 eV/atom"),
        ({"positions": np.array([[0, 0, 0], [1.0, 0, 0], [0, 1e200, 0]])}, r"frame 2: atoms 1e\+200 A apart"),
        ({"numbers": np.array([8, 1, 999])}, r"frame 2: atomic number 999"),
    ],
)
def test_absurd_frames_and_units(bad, words):
    frames = [water(i) for i in range(4)]
    check_frames(frames)
    frames[2] = frames[2].replace(**bad)
    with pytest.raises(InputError, match=words):
        check_frames(frames)


def test_same_frames_in_two_sets():
    """A written copy with fewer digits is the same frame; one that has moved on is another."""
    a = [water(i) for i in range(6)]
    b = [water(10), a[4].replace(positions=a[4].positions.round(4)), a[1].replace(positions=a[1].positions + 0.01)]
    assert same_frames(a, b) == [(4, 1)]
    assert same_frames(b, a) == [(1, 4)]
    assert same_frames(a, [f.replace(numbers=np.array([1, 8, 1])) for f in a]) == []
    assert same_frames(a, a) == []
    assert same_frames([*a, a[2]], a) == [(i, i) for i in range(6)] + [(6, 2)]
    with pytest.raises(InputError, match="frame 6: a duplicate of frame 2"):
        check_frames([*a, a[2].replace(positions=a[2].positions + 3e-5)])


def test_frames_of_a_file_are_checked_in_the_same_way(tmp_path):
    write_frames(tmp_path / "set.extxyz", [water(0), water(1), water(0)])
    with pytest.raises(InputError, match=r"set\.extxyz, frame 2: a duplicate of frame 0"):
        read_frames(tmp_path / "set.extxyz")
