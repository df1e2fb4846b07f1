"""What is in files of frames: compositions, labels and their ranges, distances, duplicates, outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.symbols import Symbols

from tlmd.frames.checks import check_frames, same_frames
from tlmd.frames.density import is_filled
from tlmd.frames.frame import Frame
from tlmd.frames.labels import doubtful
from tlmd.frames.read import read_frames
from tlmd.frames.references import compositions, elements_of, energy_labels, least_squares
from tlmd.frames.shortest import shortest_distances
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3, density_g_cm3

REACH_A = 4.0  # to which nearest distances are looked for
ODD = 6.0  # standard deviations (by the median absolute deviation) from the median: an outlier
FEW = 10  # frames below which nothing is called an outlier
LABELS = ("energy", "forces", "stress")
JSON_KEYS = {  # docs/reference is written from it
    "tl-data": {
        "n_frames": "number of frames",
        "files": "frames of each file",
        "notes": "what was said in reading: energy that is taken, labels that are missing, doubtful columns",
        "refusal": "why a training stage would refuse the frames; null if it would not",
        "compositions": "frames of each composition",
        "labels": "frames with energy, with forces, with stress",
        "ranges": "smallest, median and largest of each quantity over the frames that have it, with its unit",
        "references": "eV, least-squares energy of each element; frames of one composition fix only their sum",
        "energy_spread_mev_per_atom": "meV/atom, standard deviation of the energies about those references",
        "shortest_A": "A, nearest distance of each pair of elements; those beyond 4 A are left out",
        "duplicates": "pairs of frames that agree to 1e-4 A",
        "info": "values of each info key: smallest and largest number, or the number of different words",
        "outliers": "frame (of all files, from 0), file, index in it, and the reasons",
        "model": "with --model: name, mean and largest distance of a frame to its nearest other one, in units of the "
        "typical distance of two frames",
    }
}


@dataclass
class Summary:
    """Frames of some files and what is known of them. files: where each frame is, (file, index)."""

    frames: list[Frame]
    files: list[tuple[Path, int]]
    notes: list[str]
    refusal: str | None
    elements: list[str] = field(init=False)
    columns: dict[str, tuple[str, np.ndarray]] = field(init=False)  # unit and value of each frame, nan without
    distances: dict[str, np.ndarray] = field(init=False)  # A, by pair of elements
    reasons: dict[int, list[str]] = field(init=False)  # of outliers
    model: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.elements = elements_of(self.frames)
        self.references, self.spread, above = self._references()
        self.columns = columns_of(self.frames, above)
        tables = [shortest_distances([frame], self.elements, REACH_A) for frame in self.frames]
        self.distances = {name: np.array([table[name] for table in tables]) for name in tables[0]}
        self.reasons = self._outliers()

    def _references(self) -> tuple[dict[str, float], float, np.ndarray]:
        """Energies of the elements (eV), the spread about them (eV/atom), and how far each frame lies above (n,)."""
        above = np.full(len(self.frames), np.nan)
        counts, energies = energy_labels(self.frames, self.elements)
        if not len(energies):
            return {}, 0.0, above
        fitted = least_squares(counts, energies)
        sizes = compositions(self.frames, self.elements)
        labels = np.array([np.nan if frame.energy is None else frame.energy for frame in self.frames])
        above = (labels - sizes @ fitted) / sizes.sum(axis=1)
        return dict(zip(self.elements, map(float, fitted), strict=True)), float(np.nanstd(above)), above

    def _outliers(self) -> dict[int, list[str]]:
        """Frames far from the median of all: energies, largest forces, pressures, and pairs that are too near. Not
        densities, which are chosen."""
        found: dict[int, list[str]] = {}
        for name, (unit, values) in self.columns.items():
            if name == "density":
                continue
            logs = np.log(values) if name == "largest force" else values
            for i in far_from_median(logs, both=name != "largest force"):
                middle = np.nanmedian(values)
                found.setdefault(i, []).append(f"{name} {values[i]:.4g} {unit}, median {middle:.4g}")
        for pair, values in self.distances.items():
            near = np.where(values < REACH_A, values, np.nan)
            for i in far_from_median(-near, both=False):
                found.setdefault(i, []).append(f"{pair} at {values[i]:.3f} A, median {np.nanmedian(near):.3f}")
        return dict(sorted(found.items()))

    def duplicates(self) -> list[tuple[int, int]]:
        """Pairs of frames that are the same."""
        return same_frames(self.frames, self.frames)

    def formulas(self) -> dict[str, int]:
        """Frames of each composition."""
        return dict(Counter(str(Symbols(frame.numbers).formula.format("hill")) for frame in self.frames).most_common())

    def info(self) -> dict[str, Any]:
        """The keys of info: range of numbers, or how many words."""
        found = {}
        for key in dict.fromkeys(key for frame in self.frames for key in frame.info):
            values = [frame.info[key] for frame in self.frames if key in frame.info]
            if all(isinstance(value, int | float) for value in values):
                found[key] = [float(min(values)), float(max(values))]
            else:
                found[key] = len({str(value) for value in values})
        return found

    def to_json(self) -> dict[str, Any]:
        """The keys of JSON_KEYS."""
        files = Counter(str(file) for file, _ in self.files)
        nearest = {pair: float(values.min()) for pair, values in self.distances.items() if values.min() < REACH_A}
        ranges = {
            name: {"unit": unit, "smallest": low, "median": middle, "largest": high}
            for name, (unit, values) in self.columns.items()
            if np.isfinite(values).any()
            for low, middle, high in [map(float, np.nanquantile(values, [0, 0.5, 1]))]
        }
        outliers = [
            {"frame": i, "file": str(self.files[i][0]), "index": self.files[i][1], "reasons": reasons}
            for i, reasons in self.reasons.items()
        ]
        found = {
            "n_frames": len(self.frames),
            "files": dict(files),
            "notes": self.notes,
            "refusal": self.refusal,
            "compositions": self.formulas(),
            "labels": {name: sum(getattr(frame, name) is not None for frame in self.frames) for name in LABELS},
            "ranges": ranges,
            "references": self.references,
            "energy_spread_mev_per_atom": 1000 * self.spread,
            "shortest_A": nearest,
            "duplicates": [list(pair) for pair in self.duplicates()],
            "info": self.info(),
            "outliers": outliers,
            "model": self.model,
        }
        return {key: found[key] for key in JSON_KEYS["tl-data"]}


def summary(paths: Sequence[Path]) -> Summary:
    """What is in some files. Frames that a training stage would refuse are read, and why is said. InputError for
    files that cannot be read."""
    frames, files, notes, refusal = [], [], [], None
    for path in paths:
        read = read_frames(path, check=False)
        frames += read
        files += [(Path(path), index) for index in range(len(read))]
        notes += read.notes
        odd = doubtful(dict.fromkeys(name for frame in read for name in (*frame.unused, *frame.info)))
        notes += [f"{path}: columns and keys not used, which may be labels: {', '.join(odd)}"] if odd else []
        try:
            check_frames(read, path)
        except InputError as error:
            refusal = refusal or str(error)
    return Summary(frames, files, notes, refusal)


def columns_of(frames: Sequence[Frame], above: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    """Unit and value (n,) of each quantity of a frame, nan where it has none. above: eV/atom over the references."""

    def of(values: list[float | None]) -> np.ndarray:
        return np.array([np.nan if value is None else value for value in values], dtype=float)

    forces = [None if frame.forces is None else np.linalg.norm(frame.forces, axis=1) for frame in frames]
    density = [
        float(density_g_cm3(frame.atoms().get_masses().sum(), abs(np.linalg.det(frame.cell))))
        if is_filled(frame)
        else None
        for frame in frames
    ]
    pressure = [None if f.stress is None else -np.trace(f.stress) / 3 * BAR_PER_EV_A3 for f in frames]
    return {
        "energy over the references": ("eV/atom", above),
        "rms force": ("eV/A", of([None if f is None else float(np.sqrt((f**2).mean() / 3)) for f in forces])),
        "largest force": ("eV/A", of([None if f is None else float(f.max()) for f in forces])),
        "pressure of the labels": ("bar", of(pressure)),
        "density": ("g/cm3", of(density)),
    }


def far_from_median(values: np.ndarray, both: bool = True) -> list[int]:
    """Indices of values that lie ODD deviations from the median, by 1.48 times the median absolute deviation; both: not
    above it alone. None among FEW values or fewer."""
    known = values[np.isfinite(values)]
    if len(known) < FEW:
        return []
    middle = np.median(known)
    width = 1.4826 * np.median(np.abs(known - middle))
    if not width:
        return []
    far = (values - middle) / width
    return [int(i) for i in np.flatnonzero((np.abs(far) if both else far) > ODD)]
