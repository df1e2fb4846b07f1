"""Liquid water at 1 bar.

Density, viscosity and thermal conductivity: IAPWS SR6-08(2011), Revised Supplementary Release on Properties of Liquid
Water at 0.1 MPa, eqs. 2, 7 and 8, 253.15-383.15 K. Diffusion: Holz, Heil, Sacco, Phys. Chem. Chem. Phys. 2, 4740
(2000), 273-373 K, 1 %.
Compressibility: Kell, J. Chem. Eng. Data 20, 97 (1975), table V, 273-373 K. Expansion: the derivative of the density.
Heat of vaporisation: IAPWS-IF97, at saturation. Surface tension: IAPWS R1-76(2014), eq. 1.
Radial distribution functions: Soper, ISRN Phys. Chem. 2013, 279463, g_OO, g_OH, g_HH at ambient conditions, of which
water_rdf.csv has the values that peaks, neighbours and a figure up to 10 A need.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from tlmd.analysis.peaks import first_maximum, top_of_peak
from tlmd.analysis.reference.liquid import Curve, Known, Liquid
from tlmd.units import AVOGADRO

IAPWS_K = (253.15, 383.15)
HOLZ_K = (273.15, 373.15)
SOPER_K = (293.15, 303.15)  # measured at 298 K
DENSITY_RELATIVE_ERROR = 1e-6  # of IAPWS-95 at atmospheric pressure
VISCOSITY_RELATIVE_ERROR = 0.01
CONDUCTIVITY_RELATIVE_ERROR = 0.015
HOLZ_RELATIVE_ERROR = 0.01
KELL_RELATIVE_ERROR = 1e-3
EXPANSION_ERROR = 1e-6  # 1/K
STEAM_RELATIVE_ERROR = 1e-3
TENSION_RELATIVE_ERROR = 5e-3
GRID_A = 0.03  # of Soper's whole table, the only error it allows for distances
# Distances in A that bonds end at: the first peak of a pair is looked for beyond them.
BEYOND_BONDS = {"O-O": 2.0, "O-H": 1.4, "H-H": 1.9}
# First minimum of Soper's g(r) in A, on his whole grid: neighbours are counted up to it, whatever the run's own is.
FIRST_MINIMUM = {"O-O": 3.39, "O-H": 2.46, "H-H": 2.97}
# Of the compressibility in 1e-6/bar, in powers of the temperature in degrees Celsius.
KELL = (50.88496, 0.6163813, 1.459187e-3, 20.08438e-6, -58.47727e-9, 410.4110e-12)
# Coefficient and exponent of (10 K/(593 K - T)) and of (10 K/(T - 232 K)) in the specific volume (SR6-08, table 1).
VOLUME_CONSTANT = 1.93763157e-2
VOLUME_ALPHA = (
    (6.74458446e3, 4), (-2.22521604e5, 5), (1.00231247e8, 7), (-1.63552118e9, 8), (8.32299658e9, 9),
)  # fmt: skip
VOLUME_BETA = (
    (5.78545292e-3, 1), (-1.53195665e-2, 2), (3.11337859e-2, 3), (-4.23546241e-2, 4), (3.38713507e-2, 5),
    (-1.19946761e-2, 6),
)  # fmt: skip
THERMAL_CONDUCTIVITY = ((1.6630, -1.15), (-1.7781, -3.4), (1.1567, -6.0), (-0.432115, -7.6))  # W/(m K), of T/300 K
VISCOSITY = ((280.68, -1.9), (511.45, -7.7), (61.131, -19.6), (0.45903, -40.0))  # microPa s, of T/300 K


@dataclass(frozen=True)
class Water(Liquid):
    """H2O; the names of its quantities are those of the records of density, diffusion and structure."""

    name: str = "water"
    formula: dict[str, int] = field(default_factory=lambda: {"O": 1, "H": 2}, hash=False)
    bonds: dict[str, int] = field(default_factory=lambda: {"H-O": 2}, hash=False)

    def known(self, quantity: str, temperature_K: float) -> Known | None:
        if quantity in FORMULAS:
            return FORMULAS[quantity](temperature_K)
        pair, _, of_peak = quantity.partition(" ")
        curve = self.curve(tuple(pair.split("-")), temperature_K)
        if curve is None or of_peak not in {"first peak position", "first peak height"}:
            return None
        near = first_maximum(curve.r_A, curve.g, BEYOND_BONDS[_name(pair.split("-"))])
        position, height = top_of_peak(curve.r_A, curve.g, near)
        if of_peak == "first peak position":
            return Known(position, GRID_A / 2, "A", curve.source)
        return Known(height, float(np.interp(position, curve.r_A, curve.error)), "1", curve.source)

    def curve(self, pair: tuple[str, ...], temperature_K: float) -> Curve | None:
        name = _name(pair)
        if name is None or not SOPER_K[0] <= temperature_K <= SOPER_K[1]:
            return None
        table = soper_table()
        return Curve(table["r"], table[name], table[f"{name} error"], "Soper 2013, 298 K")

    def coordination(self, pair: tuple[str, str], radius_A: float, temperature_K: float) -> Known | None:
        """The integral of Soper's g(r) from the bonds' end to the radius (10 A at most); its error: his grid."""
        curve = self.curve(pair, temperature_K)
        if curve is None or not self.beyond_bonds(pair) < radius_A <= curve.r_A[-1]:
            return None
        number_density = density(298.15).value / self.molar_mass * AVOGADRO * 1e-24  # molecules in an A^3
        integrand = 4 * np.pi * number_density * self.formula[pair[1]] * curve.r_A**2 * curve.g
        r_A = np.unique(np.clip(curve.r_A, self.beyond_bonds(pair), radius_A))  # with both ends
        value = float(np.trapezoid(np.interp(r_A, curve.r_A, integrand), r_A))
        return Known(value, float(np.interp(radius_A, curve.r_A, integrand)) * GRID_A / 2, "1", curve.source)

    def first_minimum(self, pair: tuple[str, str]) -> float | None:
        return FIRST_MINIMUM.get(_name(pair))

    def beyond_bonds(self, pair: tuple[str, str]) -> float:
        return BEYOND_BONDS.get(_name(pair), 0.0)


def density(temperature_K: float) -> Known | None:
    """Density in g/cm^3 (SR6-08 eq. 2: the inverse of the specific volume); None outside 253.15-383.15 K."""
    if not IAPWS_K[0] <= temperature_K <= IAPWS_K[1]:
        return None
    alpha, beta = 10 / (593 - temperature_K), 10 / (temperature_K - 232)
    volume = VOLUME_CONSTANT + sum(a * alpha**n for a, n in VOLUME_ALPHA) + sum(b * beta**m for b, m in VOLUME_BETA)
    value = 1e-3 / (volume * 461.51805 * 10 / 1e5)  # R Tr / p0 in m^3/kg
    return Known(value, value * DENSITY_RELATIVE_ERROR, "g/cm3", "water at 1 bar, IAPWS SR6-08")


def viscosity(temperature_K: float) -> Known | None:
    """Viscosity in mPa s (SR6-08 eq. 7); None outside 253.15-383.15 K."""
    if not IAPWS_K[0] <= temperature_K <= IAPWS_K[1]:
        return None
    value = 1e-3 * sum(a * (temperature_K / 300) ** b for a, b in VISCOSITY)
    return Known(value, value * VISCOSITY_RELATIVE_ERROR, "mPa s", "experimental, IAPWS SR6-08")


def thermal_conductivity(temperature_K: float) -> Known | None:
    """Thermal conductivity in W/(m K) (SR6-08 eq. 8); None outside 273.15-383.15 K."""
    if not HOLZ_K[0] <= temperature_K <= IAPWS_K[1]:
        return None
    value = sum(c * (temperature_K / 300) ** d for c, d in THERMAL_CONDUCTIVITY)
    return Known(value, value * CONDUCTIVITY_RELATIVE_ERROR, "W/(m K)", "experimental, IAPWS SR6-08")


def diffusion(temperature_K: float) -> Known | None:
    """Self-diffusion in m^2/s, 1.635e-8 (T/215.05 - 1)^2.063 (Holz 2000); None outside 273.15-373.15 K."""
    if not HOLZ_K[0] <= temperature_K <= HOLZ_K[1]:
        return None
    value = 1.635e-8 * (temperature_K / 215.05 - 1) ** 2.063
    return Known(value, value * HOLZ_RELATIVE_ERROR, "m2/s", "Holz 2000")


def compressibility(temperature_K: float) -> Known | None:
    """Isothermal compressibility in 1/GPa (Kell 1975); None outside 273.15-373.15 K."""
    if not HOLZ_K[0] <= temperature_K <= HOLZ_K[1]:
        return None
    celsius = temperature_K - 273.15
    value = 1e-2 * np.polynomial.polynomial.polyval(celsius, KELL) / (1 + 19.67348e-3 * celsius)
    return Known(float(value), float(value) * KELL_RELATIVE_ERROR, "1/GPa", "Kell 1975")


def expansion(temperature_K: float) -> Known | None:
    """Thermal expansion in 1/K, -d ln density / dT; None outside 254.15-382.15 K."""
    if not IAPWS_K[0] + 1 <= temperature_K <= IAPWS_K[1] - 1:
        return None
    low, high = density(temperature_K - 0.5), density(temperature_K + 0.5)
    return Known(float(np.log(low.value / high.value)), EXPANSION_ERROR, "1/K", low.source)


def vaporisation(temperature_K: float) -> Known | None:
    """Heat of vaporisation in kJ/mol at saturation (IAPWS-IF97); None outside 273.15-373.15 K."""
    if not HOLZ_K[0] <= temperature_K <= HOLZ_K[1]:
        return None
    from iapws import IAPWS97

    liquid, steam = (IAPWS97(T=temperature_K, x=x).h for x in (0, 1))  # kJ/kg
    value = (steam - liquid) * Water().molar_mass / 1000
    return Known(float(value), float(value) * STEAM_RELATIVE_ERROR, "kJ/mol", "IAPWS-IF97")


def surface_tension(temperature_K: float) -> Known | None:
    """Surface tension in mN/m (R1-76 eq. 1); None outside 273.15-373.15 K."""
    if not HOLZ_K[0] <= temperature_K <= HOLZ_K[1]:
        return None
    tau = 1 - temperature_K / 647.096
    value = 235.8 * tau**1.256 * (1 - 0.625 * tau)
    return Known(value, value * TENSION_RELATIVE_ERROR, "mN/m", "IAPWS R1-76")


FORMULAS = {
    "density": density,
    "viscosity": viscosity,
    "thermal conductivity": thermal_conductivity,
    "diffusion coefficient": diffusion,
    "isothermal compressibility": compressibility,
    "thermal expansion": expansion,
    "heat of vaporisation": vaporisation,
    "surface tension": surface_tension,
}


@functools.cache
def soper_table() -> dict[str, np.ndarray]:
    """Columns of water_rdf.csv, (M,) each: r in A, then O-O, O-H, H-H and their errors."""
    lines = (files("tlmd.analysis.reference") / "water_rdf.csv").read_text(encoding="utf-8").splitlines()
    names, *rows = (line.split(",") for line in lines if not line.startswith("#"))
    return dict(zip(names, np.array(rows, float).T, strict=True))


def _name(pair) -> str | None:
    """O-O, O-H or H-H; None for another pair."""
    return next((name for name in ("-".join(pair), "-".join(pair[::-1])) if name in BEYOND_BONDS), None)
