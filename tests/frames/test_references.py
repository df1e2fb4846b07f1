"""Reference energies, scale, and labels carried between reference energies."""

import numpy as np
import pytest

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.references import carry, compositions, elements_of, isolated_atoms, label_scale, least_squares
from tlmd.run.errors import InputError


def test_least_squares_finds_the_energies_that_made_the_labels():
    counts = np.array([[1.0, 2, 0], [2, 2, 1], [0, 4, 3], [5, 1, 1], [2, 9, 4]])
    truth = np.array([-13.6, -2041.3, 7.5])
    assert np.allclose(least_squares(counts, counts @ truth), truth, rtol=1e-10)


def test_fixed_stoichiometry_gives_the_solution_of_least_norm():
    counts = np.array([[2.0, 1.0], [128.0, 64.0], [64.0, 32.0]])
    fit = least_squares(counts, counts @ np.array([-10.0, -440.0]))
    assert np.allclose(counts @ fit, counts @ [-10.0, -440.0], rtol=1e-12)
    assert np.allclose(fit, [-184.0, -92.0])  # along (2, 1): -460 per molecule


def test_element_without_atoms_gets_zero():
    fit = least_squares(np.array([[2.0, 0.0], [3.0, 0.0]]), np.array([-4.0, -6.0]))
    assert fit[0] == pytest.approx(-2.0) and fit[1] == 0.0


def test_isolated_atoms_from_table_and_file(tmp_path):
    file = tmp_path / "atoms.extxyz"
    write_frames(file, [Frame(np.array([z]), np.zeros((1, 3)), energy=e) for z, e in ((1, -13.5), (8, -432.0))])
    assert np.array_equal(isolated_atoms({}, file, ["O", "H"]), [-432.0, -13.5])
    assert np.array_equal(isolated_atoms({"H": 1.0, "O": 2.0}, None, ["O", "H"]), [2.0, 1.0])
    with pytest.raises(InputError, match="wanted an energy for C"):
        isolated_atoms({"H": 1.0}, file, ["C", "H"])


def test_file_of_isolated_atoms_with_a_molecule_is_refused(tmp_path, frames):
    write_frames(tmp_path / "atoms.extxyz", frames[:1])
    with pytest.raises(InputError, match="wanted one atom and an energy"):
        isolated_atoms(None, tmp_path / "atoms.extxyz", ["H"])


def test_carry_moves_energies_by_composition(frames):
    elements, old, new = elements_of(frames), np.array([1.0, 2.0]), np.array([-3.0, 7.0])
    assert elements == ["H", "O"]
    moved = carry([*frames, frames[0].replace(energy=None)], elements, old, new)
    for frame, after in zip(frames, moved, strict=False):
        n_h, n_o = np.sum(frame.numbers == 1), np.sum(frame.numbers == 8)
        assert after.energy == pytest.approx(frame.energy - 4.0 * n_h + 5.0 * n_o)
    assert moved[-1].energy is None
    assert np.array_equal(compositions(frames, elements).sum(1), [len(frame) for frame in frames])


def test_scale_is_the_rms_force_or_the_spread_of_energies(frames):
    forces = np.concatenate([frame.forces for frame in frames])
    assert label_scale(frames, ["H", "O"]) == pytest.approx(np.sqrt(np.mean(forces**2)))
    water = [Frame(np.array([1, 1, 8]), np.zeros((3, 3)), energy=3 * e) for e in (-5.0, -5.2, -4.8)]
    assert label_scale(water, ["H", "O"]) == pytest.approx(np.std([-5.0, -5.2, -4.8]))
    assert label_scale(water[:1], ["H", "O"]) == 1.0
