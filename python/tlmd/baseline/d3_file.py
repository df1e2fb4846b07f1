"""The file of D3 for `pair_style d3`: what the elements of a model need, from the package tad-dftd3 (Apache-2.0)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from tlmd.run.errors import InputError
from tlmd.run.files import write_text
from tlmd.units import BOHR_A, EV_PER_HARTREE

FORMAT_VERSION = 1
WEIGHTING = 4.0  # of the Gaussian weights of references
STEEPNESS = 16.0  # of the counting function
EXPONENT = 14.0  # of zero damping of r^-6; 2 more of r^-8


def path_beside(model: Path | str) -> Path:
    """model-d3.json for model.pt and model-lammps.pt."""
    model = Path(model)
    return model.with_name(f"{model.stem.removesuffix('-lammps')}-d3.json")


def write_d3(path: Path | str, config: Any, elements: Sequence[str]) -> None:
    """Write the file of a D3Config for `elements`. ImportError without tad-dftd3; InputError for a functional or an
    element that it does not know.

    Lengths in A, C6 in eV A^6. The first line has the checksum (CRC-32) of all others.
    """
    content = {"functional": config.functional, "damping": config.damping, "source": source()}
    content |= {"units": {"length": "A", "energy": "eV"}, "parameters": parameters(config)}
    content |= {"cutoff_A": config.cutoff_A, "cn_cutoff_A": config.cn_cutoff_A}
    content |= {"counting": STEEPNESS, "weighting": WEIGHTING} | tables(elements)
    rest = json.dumps(content)[1:] + "\n"
    head = {"kind": "tlmd-d3", "format_version": FORMAT_VERSION, "crc32": f"{zlib.crc32(rest.encode()):08x}"}
    write_text(path, json.dumps(head)[:-1] + ",\n" + rest)


def source() -> str:
    """The package and its version."""
    import tad_dftd3

    return f"tad-dftd3 {tad_dftd3.__version__}"


def parameters(config: Any) -> dict[str, float]:
    """s6, s8 and a1, a2_A (damping bj) or rs6, rs8 (zero) of a functional, as s-dftd3 names it."""
    found = given_parameters(config.functional, config.damping)
    if found.get("alp", EXPONENT) != EXPONENT:
        got = f"exponent {found['alp']} of the damping of {config.functional}"
        raise InputError(got, f"{EXPONENT}", "use pair_style dispersion/d3")
    factors = {"s6": found.get("s6", 1.0), "s8": found["s8"]}
    if config.damping == "bj":
        return factors | {"a1": found["a1"], "a2_A": found["a2"] * BOHR_A}
    return factors | {"rs6": found["rs6"], "rs8": found.get("rs8", 1.0)}


def given_parameters(functional: str, damping: str) -> dict[str, float]:
    """Those of the table that comes with tad-dftd3; what it lacks of s-dftd3's is found from energies of the latter."""
    import torch
    from tad_dftd3.param import get_functional_params

    try:
        found = get_functional_params(functional, damping=damping, dtype=torch.float64)
        return {key: float(value) for key, value in found.items()}
    except (KeyError, ValueError):
        if damping == "zero" and (known := fitted_parameters(functional)):
            return known
    got = f'baseline.functional = "{functional}" with {damping} damping'
    raise InputError(got, "one that s-dftd3 and tad-dftd3 know", "correct the name or the damping") from None


def fitted_parameters(functional: str) -> dict[str, float]:
    """s6, s8 and rs6 (zero damping, rs8 = 1) from energies that s-dftd3 gives of He2; none if it does not know it, or
    if these energies differ by more than 1e-6 (relative).
    """
    import torch
    from dftd3 import interface
    from scipy.optimize import least_squares
    from tad_dftd3.data import R4R2
    from tad_dftd3.reference import Reference
    from tad_mctc.data.radii import VDW_PAIRWISE

    try:
        damping = interface.ZeroDampingParam(method=functional.lower().replace("-", ""), atm=False)
    except RuntimeError:
        return {}
    r = np.linspace(3.0, 14.0, 23)  # bohr
    dimers = [interface.DispersionModel(np.array([2, 2]), np.array([[0, 0, 0], [0, 0, x]])) for x in r]
    energies = np.array([float(dimer.get_dispersion(damping, grad=False)["energy"]) for dimer in dimers])
    c6, radius = float(Reference(dtype=torch.float64).c6[2, 2, 0, 0]), float(VDW_PAIRWISE(dtype=torch.float64)[2, 2])
    ratio = 3 * float(R4R2(dtype=torch.float64)[2]) ** 2  # C8 / C6

    def off(values: np.ndarray) -> np.ndarray:
        s6, s8, rs6 = values
        six = s6 * r**8 / (r**14 + 6 * (rs6 * radius) ** EXPONENT)
        return 1 + c6 * (six + s8 * ratio * r**8 / (r**16 + 6 * radius ** (EXPONENT + 2))) / energies

    for rs6 in (1.0, 1.2, 1.4, 0.8):
        found = np.round(least_squares(off, (1.0, 1.0, rs6), xtol=1e-15, ftol=1e-15, gtol=1e-15).x, 5)
        if np.abs(off(found)).max() < 1e-6:
            return dict(zip(("s6", "s8", "rs6"), found.tolist(), strict=True))
    return {}


def tables(elements: Sequence[str]) -> dict[str, Any]:
    """Radii, references and C6 of elements and of their pairs a <= b."""
    import torch
    from tad_dftd3.data import R4R2
    from tad_dftd3.reference import Reference
    from tad_mctc.data.radii import COV_D3, VDW_PAIRWISE

    reference = Reference(dtype=torch.float64)
    covalent, r4r2, radii = COV_D3(), R4R2(dtype=torch.float64), VDW_PAIRWISE(dtype=torch.float64)
    numbers = [atomic_numbers[element] for element in elements]
    if unknown := [e for e, z in zip(elements, numbers, strict=True) if z >= min(len(reference.cn), len(radii))]:
        raise InputError(f"D3 of {', '.join(unknown)}", "elements that tad-dftd3 knows", "use pair_style dispersion/d3")
    known = {z: [a for a, number in enumerate(reference.cn[z].tolist()) if number >= 0] for z in numbers}

    def pair(i: int, j: int) -> dict[str, Any]:
        a, b = numbers[i], numbers[j]
        c6 = reference.c6[a, b][known[a]][:, known[b]] * EV_PER_HARTREE * BOHR_A**6
        radius = float(radii[a, b]) * BOHR_A
        return {"elements": [elements[i], elements[j]], "radius_A": radius, "c6_eV_A6": c6.tolist()}

    return {
        "elements": [
            {
                "symbol": element,
                "covalent_radius_A": float(covalent[z]) * BOHR_A,
                "r4r2_A": float(r4r2[z]) * BOHR_A,
                "reference_numbers": reference.cn[z][known[z]].tolist(),
            }
            for element, z in zip(elements, numbers, strict=True)
        ],
        "pairs": [pair(i, j) for i in range(len(elements)) for j in range(i, len(elements))],
    }
