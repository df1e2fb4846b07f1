"""What the size of a periodic box does to diffusion, and the viscosity that this needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlmd.analysis.records import read_records
from tlmd.analysis.reference.liquid import Known
from tlmd.run.errors import InputError
from tlmd.units import BOLTZMANN_J_K

YEH_HUMMER = 2.837297  # cubic box, periodic (Yeh and Hummer, J. Phys. Chem. B 108, 15873, 2004)
SAME_TEMPERATURE_K = 5.0  # difference above which a recorded viscosity is another state's


def finite_size_correction(temperature_K: float, viscosity_Pa_s: float, edge_A: float) -> float:
    """D_inf - D_periodic = 2.837297 kT / (6 pi eta L) in m^2/s for a cubic box of edge L (Yeh and Hummer 2004)."""
    return YEH_HUMMER * BOLTZMANN_J_K * temperature_K / (6 * np.pi * viscosity_Pa_s * edge_A * 1e-10)


def cubic_edge(cell: np.ndarray) -> float | None:
    """Edge in A of a cubic cell (3, 3), None for any other shape."""
    edges = np.linalg.norm(cell, axis=1)
    cosines = (cell @ cell.T) / np.outer(edges, edges)
    cubic = np.ptp(edges) < 1e-3 * edges.mean() and np.allclose(cosines, np.eye(3), atol=1e-6)
    return float(edges.mean()) if cubic else None


def given_viscosity(given: str, temperature_K: Callable[[], float]) -> Known:
    """The viscosity in mPa s of a number, or of a JSON file of `tl-analyze viscosity` at the run's temperature.

    Raises InputError for anything else, and for a value that is not above 0.
    """
    try:
        known = Known(float(given), None, "mPa s", "given")
    except ValueError:
        known = _recorded(given, temperature_K())
    if not np.isfinite(known.value):
        raise InputError(f"--viscosity {known.value:g}", "finite numbers", "correct it")
    if known.value <= 0:
        raise InputError(f"--viscosity {known.value:g}", "mPa s above 0", "correct it")
    return known


def _recorded(path: str, temperature_K: float) -> Known:
    """The viscosity in a JSON file of tl-analyze. Raises InputError where there is none, or of another temperature."""
    if not Path(path).is_file():
        raise InputError(f"--viscosity {path}", "a number in mPa s, or a file by --json", "correct it")
    found = [one for one in read_records(path) if one["quantity"] == "viscosity" and one["unit"] == "mPa s"]
    if len(found) != 1:
        raise InputError(f"{path}: {len(found)} viscosities", "one", "give the --json of tl-analyze viscosity")
    (record,) = found
    then = record["temperature_K"]
    if then is not None and abs(then - temperature_K) > SAME_TEMPERATURE_K:
        do = "run both at one temperature"
        raise InputError(f"{path}: a viscosity at {then:.1f} K", f"at the run's {temperature_K:.1f} K", do)
    return Known(record["value"], record["standard_error"], "mPa s", f"this model's, {Path(path).name}")
