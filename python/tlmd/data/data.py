"""tl-data: what is in files of frames."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlmd.data.report import plot, show, write_chemiscope
from tlmd.data.split import part_files, split
from tlmd.data.summary import Summary, far_from_median, summary
from tlmd.evaluate.plots import refuse_format
from tlmd.run.console import console, say
from tlmd.run.errors import InputError
from tlmd.run.files import refuse_input, write_text
from tlmd.run.installed import SHIPPED
from tlmd.select.choose import Distances
from tlmd.select.features import Describer, describe_files
from tlmd.select.report import principal

NEIGHBOURS_AT_MOST = 5000  # frames whose nearest neighbours are looked for


def data(
    paths: Sequence[Path],
    model: str | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    chemiscope_path: Path | None = None,
    folder: Path | None = None,
    key: str = "source",
) -> Summary:
    """Summary of some files on the terminal, and in files if asked for.

    model: its features give the map and the distances of frames
    folder: to write train, valid and test frames to, divided by the info key `key`

    Raises InputError for files that cannot be read, a model that does not fit, outputs that would replace what is read,
    and frames that cannot be divided.
    """
    sets = part_files(folder).values() if folder is not None else ()
    for path in (json_path, plot_path, chemiscope_path, *sets):
        refuse_input(path, [*paths, model])
    refuse_format(plot_path)
    found, points, parts = summary(paths), None, None
    if model is not None:
        points, parts = by_features(found, model)
    show(found, console())
    if json_path is not None:
        write_text(json_path, json.dumps(found.to_json(), indent=1) + "\n")
    if plot_path is not None:
        plot(plot_path, found, points, parts)
    if chemiscope_path is not None:
        write_chemiscope(chemiscope_path, found, points)
    if folder is not None:
        counts = split(found.frames, folder, key)
        say(console(), f"{folder}: " + ", ".join(f"{count} frames in {name}" for name, count in counts.items()))
    return found


def by_features(found: Summary, model: str) -> tuple[np.ndarray, np.ndarray]:
    """The map (n, 2) of the frames by a model's features and the parts of the variance (2,); adds to the summary how
    far frames are from their nearest, and the outliers of that."""
    describer = Describer(SHIPPED.get(model) or Path(model), [-1])
    missing = [element for element in found.elements if element not in describer.backbone.elements]
    if missing:
        known = ", ".join(describer.backbone.elements)
        raise InputError(f"element {', '.join(missing)}", f"those of {model}: {known}", "choose another model")
    with tempfile.TemporaryDirectory() as folder:
        pool = describe_files([Path("frames")], lambda _: found.frames, describer, Path(folder))
        distances = Distances(pool)
        plane, rows = principal(distances), np.concatenate(list(distances.rows()))
        points = plane.points(distances)
    looked = np.linspace(0, len(rows) - 1, min(len(rows), NEIGHBOURS_AT_MOST)).astype(int)
    nearest = np.full(len(rows), np.nan)
    for i in looked:
        away = np.linalg.norm(rows[looked] - rows[i], axis=1)
        away[looked == i] = np.inf
        nearest[i] = away.min() if len(looked) > 1 else np.nan
    for i in far_from_median(np.log(np.where(nearest > 0, nearest, np.nan)), both=False):
        found.reasons.setdefault(i, []).append(f"features far from those of every other frame ({nearest[i]:.2f})")
    found.reasons = dict(sorted(found.reasons.items()))
    known = nearest[np.isfinite(nearest)]
    summed = (float(known.mean()), float(known.max())) if len(known) else (0.0, 0.0)
    found.model = {"name": model, "mean_nearest": summed[0], "largest_nearest": summed[1]}
    return points, plane.parts
