"""Regularised least squares of labels, frame by frame: the strength of the prior is chosen by leaving out frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tlmd.run.errors import InputError

SETTLED, STEPS = 1e-9, 100  # of the coefficients that enter squared


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


def products(c: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of coefficients (Q,) whose last `count` enter squared: (Q + count (count + 1) / 2,) they and the products of
    those k <= l; the derivatives of that."""
    k, j = np.triu_indices(count)
    last = c[len(c) - count :]
    turn = np.zeros((len(k), len(c)))
    np.add.at(turn, (np.arange(len(k)), len(c) - count + k), last[j])
    np.add.at(turn, (np.arange(len(k)), len(c) - count + j), last[k])
    return np.concatenate([c, last[k] * last[j]]), np.concatenate([np.eye(len(c)), turn])


def solved(total: Normal, penalty: np.ndarray, count: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coefficients (Q,) with penalty (Q, Q), the last `count` of which enter squared too (Gauss and Newton, halved
    steps); the turn and start with which `Normal.linear` gives the equations about them."""
    c = np.zeros(len(penalty))
    for _ in range(STEPS if count else 1):
        z, turn = products(c, count)
        start = z - turn @ c
        new = direct(total.linear(turn, start) if count else total, penalty)
        step, now = new - c, total.residual(z) + c @ penalty @ c
        for _ in range(20 if count else 0):
            trial = c + step
            if total.residual(products(trial, count)[0]) + trial @ penalty @ trial <= now + 1e-12 * abs(now):
                break
            step = step / 2
        c = c + step
        if np.abs(step[len(step) - count :]).max(initial=0.0) < SETTLED:
            break
    z, turn = products(c, count)
    return c, turn, z - turn @ c


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
    count: int = 0,
) -> tuple[float, np.ndarray]:
    """The strength that predicts left-out frames best, and the change of the coefficients (P,) by all frames.

    penalty, fixed (P, P): of which only the first is multiplied by the strength; count: of coefficients, the last ones,
    that enter squared too, left out about the solution of all frames. A larger strength is taken where the change of
    the best one is not `stable`.
    """
    total = sum(equations[1:], equations[0])
    found, left_out = {}, {}
    for strength in strengths if len(equations) > 1 else [1.0]:
        whole = strength * penalty + fixed
        found[strength], turn, start = solved(total, whole, count)
        parts = [part.linear(turn, start) for part in equations] if count else equations
        all_parts = sum(parts[1:], parts[0])
        if len(equations) > 1:
            left_out[strength] = sum(part.residual(direct(all_parts - part, whole)) for part in parts)
    best = min(left_out, key=left_out.get, default=1.0)
    for strength in [best, *(larger for larger in sorted(strengths) if larger > best)]:
        change = found.get(strength)
        if change is None:
            change = solved(total, strength * penalty + fixed, count)[0]
        if stable(change):
            return strength, change
    raise InputError(
        "a fit without a stable molecule", "labels that bind molecules", "give more frames, or larger strengths"
    )
