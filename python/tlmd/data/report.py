"""The summary of frames as tables, as a picture, and as a file for chemiscope."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tlmd.data.summary import REACH_A, Summary
from tlmd.evaluate.plots import save
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

MOST = 20  # rows of compositions and outliers that are shown


def show(found: Summary, console: Console) -> None:
    """Tables and lines on the terminal."""
    content = found.to_json()
    table = Table(title=f"{content['n_frames']} frames")
    for column in ("", "smallest", "median", "largest", "frames"):
        table.add_column(column, justify="right" if column else "left")
    for name, (unit, values) in found.columns.items():
        known = values[np.isfinite(values)]
        if len(known):
            numbers = [f"{x:.4g}" for x in np.quantile(known, [0, 0.5, 1])]
            table.add_row(f"{name} ({unit})", *numbers, str(len(known)))
    console.print(table)
    labels, n = content["labels"], content["n_frames"]
    lacking = [f"{name} ({n - count} of {n})" for name, count in labels.items() if count < n]
    lines = [
        "files: " + ", ".join(f"{file} {count}" for file, count in content["files"].items()),
        "compositions: " + shortened([f"{name} {count}" for name, count in content["compositions"].items()]),
        "labels missing: " + (", ".join(lacking) or "none"),
    ]
    if found.references:
        only = " (one composition: only their sum over a frame is fixed)" if len(content["compositions"]) == 1 else ""
        energies = ", ".join(f"{element} {energy:.4f}" for element, energy in found.references.items())
        lines.append(
            f"reference energies by least squares: {energies} eV{only}; energies about them: "
            f"{content['energy_spread_mev_per_atom']:.3g} meV/atom"
        )
    nearest = ", ".join(f"{pair} {value:.3f}" for pair, value in content["shortest_A"].items())
    lines.append(f"nearest distances: {nearest or f'none below {REACH_A:g}'} A")
    texts = {
        key: f"{v} words" if isinstance(v, int) else f"{v[0]:.6g} to {v[1]:.6g}" for key, v in found.info().items()
    }
    lines += ["info: " + shortened([f"{key} {text}" for key, text in texts.items()])] if texts else []
    pairs = content["duplicates"]
    lines.append(f"duplicates: {len(pairs)}" + (f", the first frames {pairs[0][0]} and {pairs[0][1]}" if pairs else ""))
    if found.model:
        lines.append(
            f"features of {found.model['name']}: the nearest other frame is {found.model['mean_nearest']:.2f} away on "
            f"average, {found.model['largest_nearest']:.2f} at most, in units of the typical distance of two frames"
        )
    for i, reasons in list(found.reasons.items())[:MOST]:
        lines.append(f"outlier: frame {found.files[i][1]} of {found.files[i][0]}: {'; '.join(reasons)}")
    lines += [f"and {len(found.reasons) - MOST} outliers more (--json)"] if len(found.reasons) > MOST else []
    lines += found.notes + ([f"a training stage would refuse these frames: {found.refusal}"] if found.refusal else [])
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def shortened(words: list[str]) -> str:
    """A list of words of bearable length."""
    return ", ".join(words[:MOST]) + (f", and {len(words) - MOST} more" if len(words) > MOST else "")


def plot(path: Path, found: Summary, points: np.ndarray | None, parts: np.ndarray | None) -> None:
    """Histograms of what the frames have, and with a model the map of the frames, coloured by energy.

    points (n, 2), parts (2,): principal components and their parts of the variance.
    """
    known = {name: (unit, v[np.isfinite(v)]) for name, (unit, v) in found.columns.items() if np.isfinite(v).any()}
    panels = len(known) + (points is not None)
    figure = Figure(figsize=(4.0 * min(3, panels), 3.2 * -(-panels // 3)), layout="constrained")
    for k, (name, (unit, values)) in enumerate(known.items(), start=1):
        axes = figure.add_subplot(-(-panels // 3), min(3, panels), k)
        axes.hist(values, bins=40, color="#1f5fa8")
        axes.set_xlabel(f"{name} ({unit})")
        axes.set_ylabel("frames")
    if points is not None:
        axes = figure.add_subplot(-(-panels // 3), min(3, panels), panels)
        colour = found.columns["energy over the references"][1]
        drawn = axes.scatter(*points.T, c=np.nan_to_num(colour), s=6, rasterized=True)
        odd = list(found.reasons)
        axes.plot(*points[odd].T, "o", color="#c0392b", markerfacecolor="none", label=f"outliers ({len(odd)})")
        axes.set_xlabel(f"first principal component ({parts[0]:.0%})")
        axes.set_ylabel(f"second ({parts[1]:.0%})")
        axes.legend(frameon=False, fontsize=8)
        figure.colorbar(drawn, ax=axes, label="energy over the references (eV/atom)")
    save(figure, path)


def write_chemiscope(path: Path, found: Summary, points: np.ndarray | None) -> None:
    """The frames with their quantities and the map, for chemiscope.org. InputError if chemiscope is not installed."""
    try:
        import chemiscope
    except ImportError:
        do = "pip install 'tlmd[chemiscope]'"
        raise InputError("--chemiscope without the package chemiscope", "it", do) from None
    properties = {
        name.replace(" ", "_"): {"target": "structure", "values": np.nan_to_num(values), "units": unit}
        for name, (unit, values) in found.columns.items()
        if np.isfinite(values).any()
    }
    if points is not None:
        properties["map"] = {"target": "structure", "values": points, "description": "principal components"}
    if not path.name.endswith((".json", ".json.gz")):
        raise InputError(f"--chemiscope {path}", "a name that ends in .json or .json.gz", "correct it")
    atoms = [frame.atoms() for frame in found.frames]
    suffix = ".json.gz" if path.name.endswith(".gz") else ".json"

    def write(temporary: Path) -> None:
        named = temporary.with_name(temporary.name + suffix)
        chemiscope.write_input(str(named), structures=atoms, properties=properties)
        named.replace(temporary)

    write_atomic(path, write)
