"""Experimental values of liquid water at 1 bar, and the records that hold a computed value beside them.

Density and viscosity: IAPWS SR6-08 (2011) for 0.1 MPa through the package iapws, 253-383 K.
Diffusion: Holz, Heil, Sacco, Phys. Chem. Chem. Phys. 2, 4740 (2000), 273-373 K, 1 %.
Radial distribution functions: Soper, ISRN Phys. Chem. 2013, 279463, table of g_OO, g_OH, g_HH at ambient conditions.
"""

from __future__ import annotations

import functools
from collections import Counter
from importlib.resources import files

import numpy as np
from iapws._iapws import _Liquid

from tlmd.analysis.statistics import Estimate
from tlmd.analysis.structure import first_maximum, minimum_after, top_of_peak
from tlmd.units import AVOGADRO

WATER_MASS = 18.015268  # g/mol
DENSITY_RELATIVE_ERROR = 1e-6  # IAPWS-95 at atmospheric pressure
HOLZ_RELATIVE_ERROR = 0.01
SOPER_TEMPERATURE = 298.15
SOPER_RANGE = 5.0  # K about it within which a comparison is made
# Distances in A that bonds end at: the first peak of a pair is looked for beyond them.
BEYOND_BONDS = {("O", "O"): 2.0, ("O", "H"): 1.4, ("H", "H"): 1.9}
RECORD_KEYS = {
    "quantity": "what was measured, such as density",
    "value": "the result",
    "standard_error": "its standard error, in the same unit; null if there is none",
    "unit": "of value, standard_error, experiment and experiment_error; 1: a pure number",
    "experiment": "the experimental value at this temperature; null if none is known",
    "experiment_error": "its uncertainty",
    "deviation_percent": "100 (value / experiment - 1)",
    "temperature_K": "K, mean temperature of the run, or --temperature",
    "source": "the files, what was left out, the experiment that is quoted",
}
JSON_KEYS = {"tl-analyze": RECORD_KEYS}  # a list of records; docs/reference is written from it


def is_water(species: np.ndarray) -> bool:
    """Whether the species (N,) are those of water molecules only."""
    count = Counter(species.tolist())
    return set(count) == {"O", "H"} and count["H"] == 2 * count["O"]


def water_density(temperature_K: float) -> Estimate | None:
    """Density of water in g/cm^3 at 1 bar (IAPWS SR6-08); None outside 253.15-383.15 K."""
    if not 253.15 <= temperature_K <= 383.15:
        return None
    value = _Liquid(temperature_K)["rho"] / 1000
    return Estimate(float(value), float(value * DENSITY_RELATIVE_ERROR), "g/cm3", np.inf)


def water_viscosity(temperature_K: float) -> float | None:
    """Viscosity of water in Pa s at 1 bar (IAPWS SR6-08); None outside 253.15-383.15 K."""
    return float(_Liquid(temperature_K)["mu"]) if 253.15 <= temperature_K <= 383.15 else None


def water_diffusion(temperature_K: float) -> Estimate | None:
    """Self-diffusion of water in m^2/s, 1.635e-8 (T/215.05 - 1)^2.063 (Holz 2000); None outside 273.15-373.15 K."""
    if not 273.15 <= temperature_K <= 373.15:
        return None
    value = 1.635e-8 * (temperature_K / 215.05 - 1) ** 2.063
    return Estimate(value, value * HOLZ_RELATIVE_ERROR, "m2/s", np.inf)


@functools.cache
def soper_table() -> dict[str, np.ndarray]:
    """Columns of Soper's table, (M,) each: r in A, then O-O, O-H, H-H and their errors."""
    with (files("tlmd.analysis") / "soper2013_rdf.csv").open() as file:
        names = file.readline().strip().split(",")
        return dict(zip(names, np.loadtxt(file, delimiter=",").T, strict=True))


def soper_curve(pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """r in A, g and its error, (M,) each, of a pair of species in water; None when it is none of O-O, O-H, H-H."""
    table = soper_table()
    for name in ("-".join(pair), "-".join(pair[::-1])):
        if name in table:
            return table["radius"], table[name], table[f"{name} error"]
    return None


def beyond_bonds(pair: tuple[str, str]) -> float:
    """Distance in A beyond which the pair is intermolecular in water; 0 for other pairs."""
    return BEYOND_BONDS.get(pair, BEYOND_BONDS.get(pair[::-1], 0.0))


def soper_peak(pair: tuple[str, str], temperature_K: float) -> dict[str, Estimate]:
    """Position, height, coordination number and minimum after it of Soper's first intermolecular peak.

    The analysis is the one used for simulations. Empty when the temperature is more than 5 K from 298.15 K. The height
    has the table's error, the position and the coordination number that of its grid (0.03 A; it gives no other).
    """
    curve = soper_curve(pair)
    if curve is None or abs(temperature_K - SOPER_TEMPERATURE) > SOPER_RANGE:
        return {}
    r, g, error = curve
    beyond = beyond_bonds(pair)
    position, height = top_of_peak(r, g, first_maximum(r, g, beyond))
    minimum = minimum_after(r, g, position)
    number_density = water_density(SOPER_TEMPERATURE).value / WATER_MASS * AVOGADRO * 1e-24  # molecules/A^3
    number_density *= 2 if pair[1] == "H" else 1
    inside = (r >= beyond) & (r <= minimum)
    integrand = 4 * np.pi * number_density * r**2
    grid = 0.03
    return {
        "position": Estimate(position, grid / 2, "A", np.inf),
        "height": Estimate(height, float(np.interp(position, r, error)), "1", np.inf),
        "coordination": Estimate(
            float(np.trapezoid((integrand * g)[inside], r[inside])),
            float(np.interp(minimum, r, integrand * g)) * grid / 2,
            "1",
            np.inf,
        ),
        "minimum": Estimate(minimum, grid / 2, "A", np.inf),
    }


def record(
    quantity: str, estimate: Estimate, temperature_K: float, source: str, experiment: Estimate | None = None
) -> dict:
    """One line of tl-analyze's JSON; experiment, its error and the deviation are None without an experiment."""
    deviation = None if experiment is None else 100 * (estimate.value / experiment.value - 1)
    values = (
        quantity,
        estimate.value,
        estimate.standard_error,
        estimate.unit,
        None if experiment is None else experiment.value,
        None if experiment is None else experiment.standard_error,
        deviation,
        float(temperature_K),
        source,
    )
    return dict(zip(RECORD_KEYS, values, strict=True))
