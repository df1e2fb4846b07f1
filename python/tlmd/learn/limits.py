"""Above which deviation a frame of MD is unsure: where its largest force error is expected to be too large.

Errors of forces are taken as proportional to deviations. The factor follows from frames of the model's own MD that were
labelled after it, before any member learnt them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlmd.calculator import TLCalculator
from tlmd.frames.frame import Frame
from tlmd.learn.config import WatchConfig
from tlmd.modelfile import read_card

LAST = 2  # rounds whose frames give the factor: that of later committees may be another
FEWEST = 4  # frames, without which there is none


class Known(NamedTuple):
    """Of a labelled frame: the largest deviation and the largest force error of its atoms, eV/A."""

    deviation: float
    error: float


def compare(models: Sequence[Path], frames: Sequence[Frame]) -> list[Known]:
    """Deviations of a committee, and errors of its first model, on the frames with forces."""
    calculator, found = TLCalculator(list(models)), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of contacts, for which frames are labelled
        for frame in frames:
            if frame.forces is not None and np.isfinite(frame.forces).all():
                atoms = frame.atoms()
                error = np.linalg.norm(calculator.get_forces(atoms) - frame.forces, axis=1).max()
                found.append(Known(calculator.deviations(atoms)[0], float(error)))
    return found


def factor(known: Sequence[Known]) -> float | None:
    """Error by deviation, of root mean squares over the frames; None where they are fewer than FEWEST or not finite."""
    if len(known) < FEWEST:
        return None
    deviation, error = np.sqrt(np.mean(np.square(known), axis=0))
    return float(error / deviation) if 0 < deviation < np.inf and 0 < error < np.inf else None


def limits(watch: WatchConfig, model: Path, by: float | None) -> WatchConfig:
    """`watch` with a number in place of `dump` = auto: the limit of the model's card, or the deviation at which an
    error of `watch.error` is expected, if that is smaller. As it is where neither is known. by: error by deviation."""
    if watch.dump != "auto":
        return watch
    card = read_card(model).deviation.get("dump_eV_A")
    found = [value for value in (card, watch.error / by if by else None) if value is not None]
    return watch.model_copy(update={"dump": float(f"{min(found):.4g}")}) if found else watch
