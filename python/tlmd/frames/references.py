"""Reference energies per element and the scale of the learnt part: what a network need not learn.

E = sum_i scale[Z_i] e_i + E0[Z_i]. E0 comes from isolated atoms or from a least-squares fit to frames; the labels of a
frame can be carried from one set of reference energies to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.graph import species_of
from tlmd.run.errors import InputError, nearest


def elements_of(frames: Sequence[Frame]) -> list[str]:
    """Symbols of all elements in `frames`, by atomic number."""
    return [chemical_symbols[z] for z in sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})]


def compositions(frames: Sequence[Frame], elements: Sequence[str]) -> np.ndarray:
    """Number of atoms of each element in each frame, (B, n_elements) float64; InputError for an unknown element."""
    counts = [np.bincount(species_of(frame.numbers, elements), minlength=len(elements)) for frame in frames]
    return np.asarray(counts, dtype=np.float64).reshape(len(frames), len(elements))


def least_squares(counts: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Energies per element (n_elements,) eV with the least squared residual in energy per atom.

    counts (B, n_elements), energies (B,) eV. Where the stoichiometry never varies (pure water) the fit is not unique;
    the solution of least norm is taken, which describes those frames as well as any other. An element that does not
    occur gets zero.
    """
    n_atoms = counts.sum(axis=1)
    solution, *_ = np.linalg.lstsq(counts / n_atoms[:, None], energies / n_atoms, rcond=1e-10)
    return solution


def isolated_atoms(energies: Mapping[str, float] | None, file: Path | None, elements: Sequence[str]) -> np.ndarray:
    """Energies of isolated atoms (n_elements,) eV from a table {symbol: eV} or from a file of one-atom frames."""
    table = dict(energies or {})
    if file is not None:
        for frame in read_frames(file):
            if len(frame.numbers) != 1 or frame.energy is None:
                raise InputError(
                    f"{file} with a frame of {len(frame.numbers)} atoms"
                    + (" and no energy" if frame.energy is None else ""),
                    "one atom and an energy in each frame",
                    "correct the file of isolated atoms",
                )
            table[chemical_symbols[frame.numbers[0]]] = float(frame.energy)
    missing = [e for e in elements if e not in table]
    if missing:
        raise InputError(
            f"isolated atoms {', '.join(sorted(table)) or 'none'}{nearest(missing[0], table)}",
            f"an energy for {', '.join(missing)}",
            'add them to references.energies, or use method = "least_squares"',
        )
    return np.array([table[e] for e in elements], dtype=np.float64)


def energy_labels(frames: Sequence[Frame], elements: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Compositions (B, n_elements) and energies (B,) eV of the frames that have an energy."""
    labelled = [frame for frame in frames if frame.energy is not None]
    return compositions(labelled, elements), np.array([float(frame.energy) for frame in labelled])


def label_scale(frames: Sequence[Frame], elements: Sequence[str]) -> float:
    """Unit of the labels: rms force component (eV/A), else standard deviation of the energy per atom (eV), else 1."""
    forces = [np.asarray(frame.forces).ravel() for frame in frames if frame.forces is not None]
    rms = float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else 0.0
    if rms > 0.0:
        return rms
    counts, energies = energy_labels(frames, elements)
    if len(energies) < 2:
        return 1.0
    residual = (energies - counts @ least_squares(counts, energies)) / counts.sum(axis=1)
    deviation = float(np.std(residual))
    return deviation if deviation > 1e-6 else 1.0


def carry(frames: Sequence[Frame], elements: Sequence[str], old: np.ndarray, new: np.ndarray) -> list[Frame]:
    """The same frames with energies that refer to `new` instead of `old` reference energies, each (n_elements,) eV."""
    shift = compositions(frames, elements) @ (np.asarray(new) - np.asarray(old))
    return [
        frame if frame.energy is None else replace(frame, energy=float(frame.energy + delta))
        for frame, delta in zip(frames, shift, strict=True)
    ]
