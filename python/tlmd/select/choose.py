"""Which frames of a pool: one after the other, each the best of those that are left of the strata that have least.

Farthest points (Gonzalez, Theor. Comput. Sci. 38, 293, 1985): the frame whose nearest chosen or excluded frame is
farthest. D-optimal (Fedorov 1972): the frame that adds most to log det of the normal equations of a model that is
linear in the network's features, with a row for its energy and rows for its forces; det(A + R^T R) = det(A) det(I + R
A^-1 R^T).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tlmd.run.errors import InputError
from tlmd.select.features import Pool

PRIOR = 1e-6  # of the mean diagonal of a frame's normal equations: keeps the first determinants finite


@dataclass
class Choice:
    """Indices into the pool in the order of the choice; the distance of each to the nearest frame before it (inf for
    the first without others), in units of the typical distance."""

    chosen: list[int] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)


class Distances:
    """Distances between frames by their descriptors, each column in units of how atoms differ in it; 1 is the rms
    distance of two frames of the pool."""

    def __init__(self, pool: Pool, seed: int = 0):
        total, squares, n = 0.0, 0.0, 0
        for part in pool.each("descriptor"):
            half = part.shape[1] // 2
            total = total + part.astype(float).sum(0)
            squares = squares + (part[:, :half].astype(float) ** 2).sum(0) + (part[:, half:].astype(float) ** 2).sum(0)
            n += len(part)
        mean = total / n
        spread = np.sqrt(np.maximum(squares / n - mean[:half] ** 2, 0.0))  # of atoms, over the pool
        spread = np.where(spread > 1e-8 * max(1e-300, spread.max()), spread, np.inf)
        self.pool, self.mean = pool, mean
        self.scale = np.concatenate([spread, spread])
        variance = sum((((part - mean) / self.scale) ** 2).sum() for part in pool.each("descriptor")) / n
        self.typical = float(np.sqrt(2 * variance)) or 1.0

    def rows(self, pool: Pool | None = None) -> Iterator[np.ndarray]:
        """Descriptors (m, D) of each piece of a pool in these units."""
        for part in (self.pool if pool is None else pool).each("descriptor"):
            yield (part - self.mean) / (self.scale * self.typical)

    def to(self, descriptor: np.ndarray) -> np.ndarray:
        """(n,) of all frames of the pool to one descriptor."""
        found = [
            np.sqrt((((part - descriptor) / self.scale) ** 2).sum(1)) / self.typical
            for part in self.pool.each("descriptor")
        ]
        return np.concatenate(found)

    def to_nearest(self, others: Pool | None) -> np.ndarray:
        """(n,) of all frames of the pool to the nearest of some others; inf without others."""
        closest = np.full(len(self.pool), np.inf)
        for part in others.each("descriptor") if others else ():
            for descriptor in part:
                closest = np.minimum(closest, self.to(descriptor))
        return closest


def choose(
    distances: Distances,
    excluded: Pool | None,
    n_frames: int,
    method: str,
    strata: np.ndarray,
    nearest: float,
    seed: int,
) -> Choice:
    """n_frames of the pool of `distances` (fewer if there are no more that differ). Deterministic.

    strata (n,): a number for each frame; equally many are taken of each. InputError if nothing is left to choose.
    """
    pool, rng = distances.pool, np.random.default_rng(seed)
    closest = distances.to_nearest(excluded)
    lots = rng.permutation(len(pool)).astype(float)
    information = Information(pool, excluded) if method == "d-optimal" else None
    counts, choice = np.zeros(strata.max() + 1, dtype=int), Choice()
    while len(choice.chosen) < n_frames:
        left = closest >= max(nearest, 1e-9)
        if not left.any():
            break
        open_ = np.unique(strata[left])
        mask = left & np.isin(strata, open_[counts[open_] == counts[open_].min()])
        if information is not None:
            score = information.gains(mask)
        else:
            score = closest if method == "farthest" and np.isfinite(closest).any() else lots
        best = int(np.flatnonzero(mask)[np.argmax(score[mask])])
        choice.chosen.append(best)
        choice.distances.append(float(closest[best]))
        counts[strata[best]] += 1
        closest = np.minimum(closest, distances.to(pool.take("descriptor", best)))
        closest[best] = 0.0
        if information is not None:
            information.add(pool.take("rows", best))
    if not choice.chosen:
        got = "no frame of the pool that differs from the excluded ones"
        raise InputError(got, "new configurations", "run MD at other temperatures or densities, or lower `nearest`")
    return choice


class Information:
    """Normal equations of the frames so far; gains of those of the pool in log det."""

    def __init__(self, pool: Pool, excluded: Pool | None):
        self.pool = pool
        width = next(pool.each("rows")).shape[2]
        squares = sum((part.astype(float) ** 2).sum(axis=(0, 1)) for part in pool.each("rows")) / len(pool)
        self.matrix = np.diag(np.maximum(squares, 1e-12 * squares.max())) * PRIOR
        assert self.matrix.shape == (width, width)
        for part in excluded.each("rows") if excluded else ():
            for rows in part:
                self.add(rows)

    def add(self, rows: np.ndarray) -> None:
        """Take in a frame, rows (K, F)."""
        self.matrix += rows.T.astype(float) @ rows

    def gains(self, mask: np.ndarray) -> np.ndarray:
        """(n,) log det(I + R A^-1 R^T), -inf outside of `mask`."""
        root = np.linalg.cholesky(np.linalg.inv(self.matrix))
        found, at = np.full(len(self.pool), -np.inf), 0
        for part in self.pool.each("rows"):
            here = np.flatnonzero(mask[at : at + len(part)])
            if len(here):
                along = part[here].astype(float) @ root  # (m, K, F)
                small = np.eye(part.shape[1]) + along @ along.swapaxes(1, 2)
                found[at + here] = np.linalg.slogdet(small)[1]
            at += len(part)
        return found


def strata_of(keys: dict[str, np.ndarray], bins: int, n: int) -> tuple[np.ndarray, list[str]]:
    """A stratum (n,) for each frame, and the names of the strata: ranges of equal width of each key, or its words.

    Frames without a key are a stratum of their own.
    """
    labels = [""] * n
    for key, values in keys.items():
        labels = [
            f"{label}, {part}".removeprefix(", ")
            for label, part in zip(labels, parts_of(key, values, bins), strict=True)
        ]
    names = sorted(set(labels))
    return np.array([names.index(label) for label in labels]), names


def parts_of(key: str, values: np.ndarray, bins: int) -> Sequence[str]:
    """The range or word of each value, by name."""
    if values.dtype.kind != "f":
        return [f"{key} {value or 'unknown'}" for value in values]
    known = values[np.isfinite(values)]
    if not len(known):
        raise InputError(f'balance = ["{key}"], which no frame has', "an info key of the pool", "correct it")
    edges = np.linspace(known.min(), known.max(), bins + 1)
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return [
        f"{key} {edges[k]:.4g} to {edges[k + 1]:.4g}" if np.isfinite(value) else f"{key} unknown"
        for k, value in zip(which, values, strict=True)
    ]
