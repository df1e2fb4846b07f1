"""Labels beside the predictions of a model that should be near them: wrong units and signs."""

from __future__ import annotations

import numpy as np

from tlmd.evaluate.errors import Parity
from tlmd.units import BAR_PER_EV_A3, BOHR_A, EV_PER_HARTREE, EV_PER_KCAL_MOL, EV_PER_KJ_MOL

LIKE = 0.3  # correlation from which labels and predictions are taken to be of the same thing
FAR = 5.0  # ratio of root mean squares beyond which the unit is doubted
FEW = 12  # values below which nothing is said
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
        _doubt("stresses", parity.stress, "eV/A^3", _STRESS_UNITS, "ASE's sign, tension positive"),
    ]
    return [line for line in found if line]


def _doubt(what: str, pairs: np.ndarray, unit: str, units: dict[str, float], sign: str) -> str | None:
    """pairs (n, 2) of label and prediction in `unit`; units: 1 `unit` in others; sign: that of tlmd."""
    label, predicted = pairs.T
    label_rms, predicted_rms = (float(np.sqrt(np.mean(x**2))) if len(x) else 0.0 for x in (label, predicted))
    if len(pairs) < FEW or not (label_rms and predicted_rms):
        return None
    correlation = float(np.mean(label * predicted)) / (label_rms * predicted_rms)
    if correlation < -LIKE:
        return (
            f"doubtful labels: {what} against those of the pretrained model (correlation {correlation:.2f}); "
            f"is the sign wrong? wanted {sign}"
        )
    ratio = label_rms / predicted_rms
    if correlation > LIKE and not 1 / FAR <= ratio <= FAR:
        near = min(units, key=lambda name: abs(np.log(ratio / units[name])))
        return (
            f"doubtful labels: {what} {ratio:.3g} times those of the pretrained model (rms); "
            f"are they in {near}? wanted {unit}"
        )
    return None
