"""Labels of a frame by the names under which files have them: energy, forces, stress or virial.

Names are compared without regard to capitals. A column or key that may be a label but has another name is not taken;
`doubtful` tells which those are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

KEYS: dict[str, tuple[str, ...]] = {
    "energy": ("energy", "REF_energy", "free_energy", "dft_energy", "total_energy"),
    "forces": ("forces", "REF_forces", "force", "dft_forces", "dft_force"),
    "stress": ("stress", "REF_stress", "dft_stress"),
    "virial": ("virial", "virials", "REF_virial", "REF_virials", "dft_virial", "dft_virials"),
}
Keys = Mapping[str, str | Sequence[str]]
_USUAL = {name.casefold() for names in KEYS.values() for name in names}
_DOUBTFUL = re.compile(r"energ|forc|grad|stress|virial|^[ef](_|$)|_[ef]$", re.IGNORECASE)


class Labels(NamedTuple):
    """What a file says of one frame: energy eV, forces (N, 3) eV/A, stress (3, 3) eV/A^3 or None; and the rest."""

    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    info: dict[str, Any]
    unused: tuple[str, ...]


def labels_of(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray], cell: np.ndarray, keys: Keys | None) -> Labels:
    """Labels among the keys `info` of a frame and its columns `arrays`; a virial is turned into a stress (its cell A).

    keys: other names of a label in this file, exactly as there. unused: names of columns that were not taken.
    Raises ValueError for a label that is not of its shape.
    """
    chosen = {label: (name,) if isinstance(name, str) else tuple(name) for label, name in (keys or {}).items()}
    columns = {**info, **arrays}
    found = {}
    for label in KEYS:
        source = columns if label == "forces" else info
        found[label] = _exact(source, chosen[label]) if label in chosen else _usual(source, KEYS[label])
    taken = {name for names in chosen.values() for name in names}
    energy, forces, stress, virial = found.values()
    stress = None if stress is None else _matrix("stress", stress)
    if stress is None and virial is not None:
        if not (volume := abs(np.linalg.det(cell))):
            raise ValueError("a virial without a cell")
        stress = -_matrix("virial", virial) / volume
    return Labels(
        None if energy is None else _number("energy", energy),
        None if forces is None else _vectors(forces),
        stress,
        {name: _plain(value) for name, value in info.items() if not (name in taken or name.casefold() in _USUAL)},
        tuple(name for name in arrays if not (name in taken or name.casefold() in _USUAL)),
    )


def doubtful(names: Iterable[str]) -> list[str]:
    """Those of `names` that may be labels under a name that is not known, e.g. f_xtb or pbe_energy."""
    return [name for name in names if _DOUBTFUL.search(name)]


def _exact(source: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((source[name] for name in names if source.get(name) is not None), None)


def _usual(source: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of `names` that there is, as it is written here or else with other capitals."""
    folded = {name.casefold(): value for name, value in reversed(source.items()) if value is not None}
    for name in names:
        if source.get(name) is not None:
            return source[name]
        if name.casefold() in folded:
            return folded[name.casefold()]
    return None


def _number(name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} = {value}, not one number")
    return float(array.ravel()[0])


def _vectors(values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.size % 3:
        raise ValueError("forces that are not three numbers for each atom")
    return array.astype(float).reshape(-1, 3)


def _matrix(name: str, values: Any) -> np.ndarray:
    """(3, 3) from 9 numbers, or from 6 in Voigt order xx yy zz yz xz xy."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiu" or values.size not in (6, 9):
        raise ValueError(f"a {name} that is not 6 or 9 numbers")
    values = values.astype(float)
    return values.ravel()[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]] if values.size == 6 else values.reshape(3, 3)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
