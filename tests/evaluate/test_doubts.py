"""Wrong units and signs of labels are told by a model that knows better; right ones are left alone."""

import numpy as np
import pytest

from tlmd.evaluate.doubts import doubts
from tlmd.evaluate.errors import Parity
from tlmd.units import BAR_PER_EV_A3, BOHR_A, EV_PER_HARTREE

EMPTY = np.zeros((0, 2))


def pairs(scale: float, seed: int = 0) -> np.ndarray:
    """Label and prediction of another level of theory: alike, not equal."""
    label, noise = np.random.default_rng(seed).normal(size=(2, 306)) * scale
    return np.stack([label, 0.8 * label + 0.4 * noise], axis=1)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.5, 5.0])
def test_right_labels(noise):
    force, stress = pairs(1.0), pairs(0.01, 1)
    force[:, 1] += np.random.default_rng(2).normal(scale=noise, size=306)
    assert doubts(Parity(EMPTY, force, stress)) == []
    assert doubts(Parity(EMPTY, EMPTY, EMPTY)) == [] == doubts(Parity(EMPTY, np.zeros((30, 2)), EMPTY))


@pytest.mark.parametrize(
    ("force", "stress", "words"),
    [
        (BOHR_A / EV_PER_HARTREE, 1.0, r"forces 0\.02\d* times .* are they in hartree/bohr\? wanted eV/A$"),
        (1000.0, 1.0, r"forces 1\.\d+e\+03 times .* are they in meV/A\?"),
        (23.06, 1.0, r"forces 2\d\.?\d* times .* are they in kcal/mol/A\?"),
        (-1.0, 1.0, r"forces against those of the pretrained model \(correlation -0\.\d+\); .*not gradients"),
        (1.0, -1.0, r"stresses against .* wanted ASE's sign, tension positive$"),
        (1.0, BAR_PER_EV_A3 / 1e4, r"stresses .* are they in GPa\?"),
    ],
)
def test_wrong_labels(force, stress, words):
    parity = Parity(EMPTY, pairs(1.0) * [force, 1.0], pairs(0.01, 1) * [stress, 1.0])
    found = doubts(parity)
    assert len(found) == 1
    import re

    assert re.search(words, found[0]) and found[0].startswith("doubtful labels: ")


def skew(values: np.ndarray) -> np.ndarray:
    """(B, 3, 3) symmetric."""
    return values + values.swapaxes(1, 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_pressure_of_the_molecules_own_is_no_sign(sign):
    """Start and labels that differ inside the molecule have pressures that differ by a constant, here larger than all
    changes and of the other sign; the sign is judged by the changes."""
    rng = np.random.default_rng(3)
    changes, noise = skew(rng.normal(0, 0.002, (40, 3, 3))), skew(rng.normal(0, 0.001, (40, 3, 3)))
    label, predicted = sign * (changes + 0.01 * np.eye(3)), changes + noise - 0.01 * np.eye(3)
    pairs_ = np.stack([label.ravel(), predicted.ravel()], axis=1)
    assert sign * np.mean(pairs_[:, 0] * pairs_[:, 1]) < 0  # what a comparison of whole stresses would take for it
    found = doubts(Parity(EMPTY, EMPTY, pairs_))
    assert len(found) == (sign < 0) and all("stresses against" in line for line in found)


def test_outliers_do_not_decide():
    """One bad frame with huge forces of the other sign."""
    force = pairs(1.0)
    force[:12] = [[200.0, -150.0]]
    assert np.mean(force[:, 0] * force[:, 1]) < 0
    assert doubts(Parity(EMPTY, force, EMPTY)) == []


def test_two_frames_are_not_enough_for_a_sign():
    stress = skew(np.random.default_rng(5).normal(0, 0.01, (2, 3, 3))).reshape(-1, 1)
    assert doubts(Parity(EMPTY, EMPTY, np.hstack([stress, -stress]))) == []
