"""What a choice covers: table, JSON and a map of the pool with the chosen frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from tlmd.evaluate.plots import save
from tlmd.run.files import write_text
from tlmd.select.choose import Choice, Distances
from tlmd.select.config import SelectConfig
from tlmd.select.features import Pool

DRAWS = 5  # of random choices of as many frames, with which a choice is compared
POINTS = 5000  # of a map, at most


class Coverage(NamedTuple):
    """Distances of the frames of the pool to the nearest chosen or excluded one, in units of the typical distance: mean
    and largest, and the same of random choices; strata: (name, frames of the pool, chosen)."""

    mean: float
    largest: float
    random_mean: float
    random_largest: float
    strata: list[tuple[str, int, int]]


def coverage(
    distances: Distances, excluded: Pool | None, choice: Choice, strata: np.ndarray, names: list[str], seed: int
) -> Coverage:
    """How near the frames of the pool of `distances` are to those chosen."""
    pool = distances.pool
    known = distances.to_nearest(excluded)

    def covered(chosen: np.ndarray | list[int]) -> tuple[float, float]:
        closest = known
        for i in chosen:
            closest = np.minimum(closest, distances.to(pool.take("descriptor", int(i))))
        return float(closest.mean()), float(closest.max())

    rng = np.random.default_rng(seed)
    draws = [covered(rng.choice(len(pool), len(choice.chosen), replace=False)) for _ in range(DRAWS)]
    counted = [
        (name, int((strata == k).sum()), int((strata[choice.chosen] == k).sum())) for k, name in enumerate(names)
    ]
    return Coverage(*covered(choice.chosen), *np.mean(draws, axis=0).tolist(), counted)


def table(found: Coverage, config: SelectConfig) -> tuple[Table, str]:
    """A row for each stratum, and a line on distances."""
    shown = Table(title=f"{config.n_frames} frames, {config.method}")
    for column in ("frames", "pool", "chosen"):
        shown.add_column(column, justify="left" if column == "frames" else "right")
    for name, count, chosen in found.strata:
        shown.add_row(name or "all", str(count), str(chosen))
    return shown, (
        f"distance of a frame of the pool to the nearest chosen or excluded one, in units of the typical distance of "
        f"two frames: mean {found.mean:.2f}, largest {found.largest:.2f} (random frames: {found.random_mean:.2f}, "
        f"{found.random_largest:.2f})"
    )


def write_json(path: Path, config: SelectConfig, pool: Pool, choice: Choice, found: Coverage) -> None:
    """selection.json: file, index and distance of each chosen frame, and the coverage."""
    frames: list[dict[str, Any]] = [
        {
            "file": str(config.pool[pool.files[i]]),
            "index": int(pool.index[i]),
            "distance": distance if np.isfinite(distance) else None,
        }
        for i, distance in zip(choice.chosen, choice.distances, strict=True)
    ]
    strata = [dict(zip(("frames", "pool", "chosen"), row, strict=True)) for row in found.strata]
    content = {"frames": frames, "coverage": {**found._asdict(), "strata": strata}}
    write_text(path, json.dumps(content, indent=1) + "\n")


class Map(NamedTuple):
    """The plane of most variance: mean (D,), directions (2, D), their parts of the variance (2,)."""

    mean: np.ndarray
    directions: np.ndarray
    parts: np.ndarray

    def points(self, distances: Distances, pool: Pool | None = None) -> np.ndarray:
        """The frames of a pool in the plane, (n, 2)."""
        return np.concatenate([(part - self.mean) @ self.directions.T for part in distances.rows(pool)])


def principal(distances: Distances) -> Map:
    """The two principal components of a pool's descriptors, by POINTS of its frames at most."""
    step = -(-len(distances.pool) // POINTS)
    rows = np.concatenate([part[::step] for part in distances.rows()])
    mean = rows.mean(axis=0)
    _, values, directions = np.linalg.svd(rows - mean, full_matrices=False)
    directions = np.vstack([directions, np.zeros((2, rows.shape[1]))])[:2]
    parts = np.append(values**2, [0.0, 0.0])[:2] / max(float((values**2).sum()), 1e-300)
    return Map(mean, directions, parts)


def plot(path: Path, distances: Distances, excluded: Pool | None, choice: Choice) -> None:
    """The pool, the excluded and the chosen frames in the plane of its two principal components."""
    plane = principal(distances)
    points = plane.points(distances)
    shown = points[:: -(-len(points) // POINTS)]
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*shown.T, ".", color="#b8c4d0", markersize=3, label=f"pool ({len(points)})", rasterized=True)
    if excluded is not None:
        known = plane.points(distances, excluded)
        axes.plot(*known.T, "x", color="#c0392b", markersize=5, label=f"labelled already ({len(known)})")
    axes.plot(*points[choice.chosen].T, "o", color="#1f5fa8", markersize=5, label=f"chosen ({len(choice.chosen)})")
    describe_axes(axes, plane.parts)
    save(figure, path)


def describe_axes(axes: Axes, parts: np.ndarray) -> None:
    """Labels of a map by principal components, `parts` (2,) of the variance."""
    axes.set_xlabel(f"first principal component ({parts[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({parts[1]:.0%})")
    axes.legend(frameon=False, fontsize=8)
