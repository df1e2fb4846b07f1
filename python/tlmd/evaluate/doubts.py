"""Labels beside the predictions of a model that should be near them: wrong units and signs.

The two may describe a molecule differently: other bond lengths and angles at rest make forces of the molecule that are
large and alike in all frames, and with them a pressure of its own. So correlations are of ranks, units are told by
medians, and stresses are compared by their changes: the deviators, and the traces less their mean.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from tlmd.evaluate.errors import Parity
from tlmd.units import BAR_PER_EV_A3, BOHR_A, EV_PER_HARTREE, EV_PER_KCAL_MOL, EV_PER_KJ_MOL

LIKE = 0.3  # rank correlation from which labels and predictions are taken to be of the same thing
FAR = 5.0  # ratio of the median sizes beyond which the unit is doubted
FEW = 12  # values below which nothing is said
SIGMAS = 4.0  # standard errors that a correlation is away from zero, at least
_FORCE_UNITS = {
    "hartree/bohr": BOHR_A / EV_PER_HARTREE,
    "Ry/bohr": 2 * BOHR_A / EV_PER_HARTREE,
    "hartree/A": 1 / EV_PER_HARTREE,
    "kcal/mol/A": 1 / EV_PER_KCAL_MOL,
    "kJ/mol/A": 1 / EV_PER_KJ_MOL,
    "meV/A": 1000.0,
}
_STRESS_UNITS = {
    "GPa": BAR_PER_EV_A3 / 1e4,
    "kbar": BAR_PER_EV_A3 / 1e3,
    "bar": BAR_PER_EV_A3,
    "hartree/bohr^3": BOHR_A**3 / EV_PER_HARTREE,
    "Ry/bohr^3": 2 * BOHR_A**3 / EV_PER_HARTREE,
}


def doubts(parity: Parity) -> list[str]:
    """What seems to be wrong with labels, one line each, judged by a model that knows another level of theory."""
    found = [
        _doubt("forces", parity.forces, "eV/A", _FORCE_UNITS, "forces, not gradients"),
        _doubt("stresses", stress_changes(parity.stress), "eV/A^3", _STRESS_UNITS, "ASE's sign, tension positive"),
    ]
    return [line for line in found if line]


def stress_changes(pairs: np.ndarray) -> np.ndarray:
    """Pairs (9 B, 2) of label and prediction as changes (6 B, 2): each less the mean pressure of all frames.

    Of a component and its transpose one is kept.
    """
    stress = pairs.reshape(-1, 3, 3, 2)
    if not len(stress):
        return pairs
    mean = np.einsum("biip->p", stress) / (3 * len(stress))
    return (stress - mean * np.eye(3)[..., None])[:, *np.triu_indices(3)].reshape(-1, 2)


def _doubt(what: str, pairs: np.ndarray, unit: str, units: dict[str, float], sign: str) -> str | None:
    """pairs (n, 2) of label and prediction in `unit`; units: 1 `unit` in others; sign: that of tlmd."""
    label, predicted = pairs.T
    if len(pairs) < FEW or not (np.ptp(label) and np.ptp(predicted)):
        return None
    correlation = float(spearmanr(label, predicted).statistic)
    if abs(correlation) < max(LIKE, SIGMAS / np.sqrt(len(pairs) - 1)):
        return None
    if correlation < 0:
        return (
            f"doubtful labels: {what} against those of the pretrained model (correlation {correlation:.2f}); "
            f"is the sign wrong? wanted {sign}"
        )
    label_size, predicted_size = np.median(np.abs(pairs), axis=0)
    if label_size and predicted_size and not 1 / FAR <= (ratio := float(label_size / predicted_size)) <= FAR:
        near = min(units, key=lambda name: abs(np.log(ratio / units[name])))
        return (
            f"doubtful labels: {what} {ratio:.3g} times those of the pretrained model (median); "
            f"are they in {near}? wanted {unit}"
        )
    return None
