"""Regularised least squares of labels, frame by frame: the strength of the prior is chosen by leaving out frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tlmd.run.errors import InputError

SETTLED, STEPS, HALVED = 1e-10, 50, 20  # decrease of the sum of squares, in its unit, that ends the steps

Turn = tuple[np.ndarray, np.ndarray]  # (P, Q), (P,)
Curve = Callable[[np.ndarray], Turn]  # coefficients (Q,) -> those of the equations (P,), their derivatives (P, Q)


class Normal(NamedTuple):
    """Normal equations of labels: matrix (P, P), right side (P,), sum of squares of what is to be explained."""

    matrix: np.ndarray
    right: np.ndarray
    square: float

    def __add__(self, other: Normal) -> Normal:
        return Normal(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: Normal) -> Normal:
        return Normal(*(a - b for a, b in zip(self, other, strict=True)))

    @classmethod
    def of(cls, rows: np.ndarray, values: np.ndarray) -> Normal:
        """Of equations rows (R, P) @ coefficients = values (R,)."""
        return cls(rows.T @ rows, rows.T @ values, float(values @ values))

    def residual(self, change: np.ndarray) -> float:
        """Weighted sum of squared errors with the coefficients moved by `change` (P,)."""
        return float(self.square - 2 * change @ self.right + change @ self.matrix @ change)

    def linear(self, turn: np.ndarray, start: np.ndarray) -> Normal:
        """Where the coefficients are start (P,) + turn (P, Q) @ others: equations for these."""
        pushed = self.matrix @ start
        return Normal(turn.T @ self.matrix @ turn, turn.T @ (self.right - pushed), self.residual(start))


def products(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The products k <= l (K (K + 1) / 2,) of coefficients (K,), and their derivatives."""
    k, j = np.triu_indices(len(c))
    slopes = np.zeros((len(k), len(c)))
    np.add.at(slopes, (np.arange(len(k)), k), c[j])
    np.add.at(slopes, (np.arange(len(k)), j), c[k])
    return c[k] * c[j], slopes


def solved(total: Normal, penalty: np.ndarray, curve: Curve | None = None) -> tuple[np.ndarray, Turn | None]:
    """The coefficients (Q,) with a penalty (Q, Q) by equations for them, or for what `curve` makes of them (Gauss and
    Newton, halved steps); the turn and start with which `Normal.linear` gives equations about them."""
    if curve is None:
        return direct(total, penalty), None
    c = np.zeros(len(penalty))
    z, turn = curve(c)
    now = total.residual(z)
    for _ in range(STEPS):
        step = direct(total.linear(turn, z - turn @ c), penalty) - c
        for _ in range(HALVED):
            trial, (z, turn) = c + step, curve(c + step)
            new = total.residual(z) + trial @ penalty @ trial
            if new <= now:
                break
            step = step / 2
        settled, c, now = now - new <= SETTLED * abs(now), trial, new
        if settled:
            break
    return c, (turn, z - turn @ c)


def direct(part: Normal, penalty: np.ndarray) -> np.ndarray:
    """The solution (P,) of normal equations with a penalty (P, P). InputError if there is none."""
    try:
        return np.linalg.solve(part.matrix + penalty, part.right)
    except np.linalg.LinAlgError:
        wanted, do = "regularised terms", "raise strengths, terms.ridge"
        raise InputError("a singular fit", wanted, do) from None


def fit(
    equations: Sequence[Normal],
    penalty: np.ndarray,
    fixed: np.ndarray,
    strengths: Sequence[float],
    stable: Callable[[np.ndarray], bool],
    curve: Curve | None = None,
) -> tuple[float, np.ndarray]:
    """The strength that predicts left-out frames best, and the change of the coefficients (Q,) by all frames.

    penalty, fixed (Q, Q): of which only the first is multiplied by the strength; curve: where the equations are not for
    the coefficients themselves; frames are left out along its tangent. A larger strength is taken where the change of
    the best one is not `stable`.
    """
    total = sum(equations[1:], equations[0])
    found, left_out = {}, {}
    for strength in strengths if len(equations) > 1 else [1.0]:
        whole = strength * penalty + fixed
        found[strength], about = solved(total, whole, curve)
        parts = [part.linear(*about) for part in equations] if about else equations
        everything = sum(parts[1:], parts[0])
        if len(equations) > 1:
            left_out[strength] = sum(part.residual(direct(everything - part, whole)) for part in parts)
    best = min(left_out, key=left_out.get, default=1.0)
    for strength in [best, *(larger for larger in sorted(strengths) if larger > best)]:
        change = found[strength] if strength in found else solved(total, strength * penalty + fixed, curve)[0]
        if stable(change):
            return strength, change
    raise InputError(
        "a fit without a stable molecule", "labels that bind molecules", "give more frames, or larger strengths"
    )
