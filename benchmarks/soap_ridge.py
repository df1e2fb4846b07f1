"""A GAP-like rival: kernel ridge regression on SOAP vectors, energies only.

    python benchmarks/soap_ridge.py [FOLDER] [--frames N] [--seed 1] [--cutoff 5] [--n-max 8] [--l-max 4] [--zetas ...]

FOLDER has train, valid and test.extxyz.xz (default inputs/cu_formate); N training frames are drawn as tl-mekrr does it.
Needs dscribe and ase (`pip install dscribe ase`), not tlmd. The kernel of two frames sums (p . p')^zeta over pairs of
atoms of one species, p being SOAP vectors (gto, sigma 0.5 A) of norm one: a Gaussian approximation potential in which
every atom is a sparse point; zeta = 1 is ridge regression on sums of SOAP vectors by species. Either all pairs have one
weight (sums) or each species has the mean over its pairs (means). Validation frames choose zeta, weights and lambda.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

CU_FORMATE = Path(__file__).parents[1] / "inputs" / "cu_formate"
BLOCK = 16  # frames whose pairs with all others are held at once
RIDGES = 10.0 ** np.arange(-15.0, 1.1, 0.5)  # in units of the mean diagonal element


def read(folder: Path, n: int | None, seed: int) -> dict[str, list]:
    """ASE's Atoms of train (n of them), valid and test."""
    from ase.io import read as read_frames

    parts = {name: read_frames(folder / f"{name}.extxyz.xz", ":") for name in ("train", "valid", "test")}
    if n is not None:
        if n > len(parts["train"]):
            sys.exit(f"got --frames {n}; wanted at most {len(parts['train'])}; ask for fewer")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(parts["train"]))[:n])
        parts["train"] = [parts["train"][int(i)] for i in chosen]
    return parts


def soap_vectors(frames: Sequence, species: Sequence[str], cutoff: float, n_max: int, l_max: int) -> list[np.ndarray]:
    """SOAP vectors of norm one of the atoms of each frame, (N, F)."""
    from dscribe.descriptors import SOAP

    periodic = any(atoms.pbc.any() for atoms in frames)
    soap = SOAP(species=list(species), r_cut=cutoff, n_max=n_max, l_max=l_max, sigma=0.5, periodic=periodic)
    return [p / np.linalg.norm(p, axis=1, keepdims=True) for p in map(soap.create, frames)]


def pair_sums(vectors: np.ndarray, owners: np.ndarray, n: int, zetas: Sequence[int]) -> dict[int, np.ndarray]:
    """Sums of (p . p')^zeta over the pairs of atoms of two frames, (n, n) for each zeta; vectors (N, F) in order of the
    frames that own them, `owners` (N,)."""
    found = {zeta: np.zeros((n, n)) for zeta in zetas}
    frames, starts = np.unique(owners, return_index=True)
    ends = np.append(starts[1:], len(owners))
    for first in range(0, len(frames), BLOCK):
        rows = slice(first, first + BLOCK)
        begin, end = starts[first], ends[rows][-1]
        dots = vectors[begin:end] @ vectors[begin:].T  # the earlier ones by symmetry
        for zeta in zetas:
            sums = np.add.reduceat(np.add.reduceat(dots**zeta, starts[rows] - begin, 0), starts[first:] - begin, 1)
            found[zeta][np.ix_(frames[rows], frames[first:])] = sums
            found[zeta][np.ix_(frames[first:], frames[rows])] = sums.T
    return found


def kernels(
    frames: Sequence, vectors: Sequence[np.ndarray], zetas: Sequence[int]
) -> Iterator[tuple[int, str, np.ndarray]]:
    """(zeta, weighting, kernel of energies per atom between all frames)."""
    sizes = np.array([len(atoms) for atoms in frames], dtype=float)
    sums = {zeta: np.zeros((len(frames), len(frames))) for zeta in zetas}
    means = {zeta: np.zeros((len(frames), len(frames))) for zeta in zetas}
    for z in np.unique(np.concatenate([atoms.numbers for atoms in frames])):
        chosen = [p[atoms.numbers == z] for p, atoms in zip(vectors, frames, strict=True)]
        counts = np.array([len(p) for p in chosen])
        owners = np.repeat(np.arange(len(frames)), counts)
        for zeta, part in pair_sums(np.concatenate(chosen), owners, len(frames), zetas).items():
            sums[zeta] += part / np.outer(sizes, sizes)
            means[zeta] += part / np.outer(np.maximum(counts, 1), np.maximum(counts, 1))
    for zeta in zetas:
        yield from ((zeta, "sums", sums[zeta]), (zeta, "means", means[zeta]))


def labels(frames: Sequence, n_train: int) -> np.ndarray:
    """Energies per atom, eV, less those of the elements by least squares on the first n_train frames."""
    species = np.unique(np.concatenate([atoms.numbers for atoms in frames]))
    counts = np.array([[np.sum(atoms.numbers == z) for z in species] for atoms in frames], dtype=float)
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    references = np.linalg.lstsq(counts[:n_train], energies[:n_train], rcond=None)[0]
    return (energies - counts @ references) / counts.sum(1)


def predictions(kernel: np.ndarray, y: np.ndarray, n_train: int) -> Iterator[tuple[float, np.ndarray]]:
    """(lambda, predictions for all frames) of ridge regression on the first n_train."""
    part = kernel[:n_train, :n_train]
    values, modes = np.linalg.eigh(part)
    unit = np.mean(np.diag(part))
    for ridge in RIDGES:
        weights = modes @ ((modes.T @ y[:n_train]) / (np.maximum(values, 0.0) + ridge * unit))
        yield ridge, kernel[:, :n_train] @ weights


def shown(errors: np.ndarray) -> str:
    """RMSE (MAE) in meV."""
    return f"{1e3 * np.sqrt(np.mean(errors**2)):.2f} ({1e3 * np.mean(np.abs(errors)):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=CU_FORMATE)
    parser.add_argument("--frames", type=int, help="training frames; absent: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--n-max", type=int, default=8)
    parser.add_argument("--l-max", type=int, default=4)
    parser.add_argument("--zetas", type=int, nargs="+", default=[1, 2, 4])
    settings = parser.parse_args()
    try:
        import ase  # noqa: F401
        import dscribe  # noqa: F401
    except ImportError as error:
        sys.exit(f"got {error}; wanted dscribe and ase; pip install dscribe ase")
    started = time.monotonic()
    parts = read(settings.folder, settings.frames, settings.seed)
    frames = [*parts["train"], *parts["valid"], *parts["test"]]
    n_train, n_valid = len(parts["train"]), len(parts["valid"])
    valid, test = slice(n_train, n_train + n_valid), slice(n_train + n_valid, None)
    species = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    vectors = soap_vectors(frames, species, settings.cutoff, settings.n_max, settings.l_max)
    print(f"{n_train} training frames, {vectors[0].shape[1]} numbers an atom, {time.monotonic() - started:.0f} s")
    y = labels(frames, n_train)
    best = None
    for zeta, weighting, kernel in kernels(frames, vectors, settings.zetas):
        found = [(np.mean((p - y)[valid] ** 2), ridge, p) for ridge, p in predictions(kernel, y, n_train)]
        score, ridge, p = min(found, key=lambda each: each[0])
        print(f"zeta {zeta}, {weighting:5}: lambda {ridge:.0e}, valid RMSE (MAE) {shown((p - y)[valid])} meV/atom")
        if best is None or score < best[0]:
            best = (score, f"zeta {zeta}, {weighting}", p)
    minutes = (time.monotonic() - started) / 60
    print(f"{best[1]}: test RMSE (MAE) {shown((best[2] - y)[test])} meV/atom; {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
