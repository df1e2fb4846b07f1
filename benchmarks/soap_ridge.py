"""A GAP-like method: kernel ridge regression on SOAP vectors, of energies or of energies and forces.

    python benchmarks/soap_ridge.py [FOLDER] [--forces] [--points 400] [--frames N] [--seed 1] [--cutoff 5] ...

FOLDER has train, valid and test.extxyz.xz (default inputs/benchmarks/cu_formate, whose README says
where the frames come from); N training frames are drawn as tl-mekrr does it.
Needs dscribe and ase (`pip install dscribe ase`), not tlmd. The kernel of two frames sums (p . p')^zeta over pairs of
atoms of one species, p being SOAP vectors (gto, sigma 0.5 A) of norm one: a Gaussian approximation potential in which
every atom is a sparse point; zeta = 1 is ridge regression on sums of SOAP vectors by species. Either all pairs have one
weight (sums) or each species has the mean over its pairs (means). Validation frames choose zeta, weights and lambda.

With --forces the kernel is that of sparse points, `points` atoms of each species that lie as far apart as can be, and
forces are its derivatives; validation frames choose zeta, the weight of the forces and lambda.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

CU_FORMATE = Path(__file__).parents[1] / "inputs" / "benchmarks" / "cu_formate"
BLOCK = 16  # frames whose pairs with all others are held at once
SIGMA_A = 0.5  # of the atoms' densities
TAIL_A = 3.0  # beyond the cutoff, from where the density of an atom still reaches in
CANDIDATES = 4000  # atoms of a species among which sparse points are looked for
WEIGHTS = (0.1, 0.5, 0.9)  # of the forces; the rest is that of the energies
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


def descriptor(species: Sequence[str], settings: argparse.Namespace, periodic: bool):
    """dscribe's SOAP."""
    from dscribe.descriptors import SOAP

    shape = {"r_cut": settings.cutoff, "n_max": settings.n_max, "l_max": settings.l_max}
    return SOAP(species=list(species), sigma=SIGMA_A, periodic=periodic, **shape)


def soap_vectors(frames: Sequence, species: Sequence[str], settings: argparse.Namespace) -> list[np.ndarray]:
    """SOAP vectors of norm one of the atoms of each frame, (N, F)."""
    soap = descriptor(species, settings, any(atoms.pbc.any() for atoms in frames))
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


def of_energies(frames: Sequence, vectors: Sequence[np.ndarray], y: np.ndarray, sets: tuple, zetas: list[int]) -> str:
    """Fit to energies, all atoms as points; the test errors of the best on the validation frames."""
    n_train, valid, test = sets
    best = None
    for zeta, weighting, kernel in kernels(frames, vectors, zetas):
        found = [(np.mean((p - y)[valid] ** 2), ridge, p) for ridge, p in predictions(kernel, y, n_train)]
        score, ridge, p = min(found, key=lambda each: each[0])
        print(f"zeta {zeta}, {weighting:5}: lambda {ridge:.0e}, valid RMSE (MAE) {shown((p - y)[valid])} meV/atom")
        if best is None or score < best[0]:
            best = (score, f"zeta {zeta}, {weighting}", p)
    return f"{best[1]}: test RMSE (MAE) {shown((best[2] - y)[test])} meV/atom"


def sparse_points(frames: Sequence, vectors: Sequence[np.ndarray], count: int, seed: int) -> dict[int, np.ndarray]:
    """Up to `count` SOAP vectors of each species, (M, F): each as far as can be from those before it."""
    rng = np.random.default_rng(seed)
    points = {}
    for z in np.unique(np.concatenate([atoms.numbers for atoms in frames])):
        pool = np.concatenate([p[atoms.numbers == z] for p, atoms in zip(vectors, frames, strict=True)])
        pool = pool[rng.permutation(len(pool))[:CANDIDATES]]
        chosen, nearest = [0], np.full(len(pool), -1.0)
        for _ in range(min(count, len(pool)) - 1):
            nearest = np.maximum(nearest, pool @ pool[chosen[-1]])
            chosen.append(int(np.argmin(nearest)))
        points[int(z)] = pool[chosen]
    return points


def rows_of(atoms, soap, reach: float, points: dict[int, np.ndarray], zetas: Sequence[int]) -> dict[int, np.ndarray]:
    """For each zeta the kernel between sparse points and the sum over the atoms of a frame, row 0, and its negative
    derivatives with respect to the positions, rows 1 to 3N: (1 + 3N, P). reach (A): how far neighbours count."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    ends = np.cumsum([len(q) for q in points.values()])
    columns = {z: slice(end - len(q), end) for (z, q), end in zip(points.items(), ends, strict=True)}
    rows = {zeta: np.zeros((1 + 3 * len(atoms), ends[-1])) for zeta in zetas}
    first, second, vectors = neighbor_list("ijD", atoms, reach)
    for centre, z in enumerate(atoms.numbers):
        mine = first == centre
        owners = np.append(centre, second[mine])
        cluster = Atoms(atoms.numbers[owners], np.concatenate([np.zeros((1, 3)), vectors[mine]]))
        slopes, vector = soap.derivatives(cluster, centers=[0], attach=True, method="analytical")
        slopes, vector = slopes[0].reshape(3 * len(owners), -1), vector[0]
        length = np.linalg.norm(vector)
        unit = vector / length
        cosines = points[z] @ unit
        turn = (slopes @ points[z].T - np.outer(slopes @ unit, cosines)) / length
        for zeta in zetas:
            forces = -(turn * (zeta * cosines ** (zeta - 1))).reshape(len(owners), 3, -1)
            rows[zeta][0, columns[z]] += cosines**zeta
            target = rows[zeta][1:, columns[z]].reshape(len(atoms), 3, -1)
            np.add.at(target, owners, forces)
    return rows


def with_forces(
    frames: Sequence, vectors: Sequence[np.ndarray], y: np.ndarray, species: list[str], sets: tuple, settings
) -> str:
    """Fit to energies and forces; the test errors of the best on the validation frames."""
    n_train, valid, test = sets
    points = sparse_points(frames[:n_train], vectors[:n_train], settings.points, settings.seed)
    forces = [atoms.get_forces().ravel() for atoms in frames]
    units = np.array([np.std(y[:n_train]), np.sqrt(np.mean(np.concatenate(forces[:n_train]) ** 2))])
    products, held = equations(frames, y, forces, units, n_train, points, species, settings)

    def errors(zeta: int, part: slice, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of energies and of forces, for held-out frames."""
        found = [rows @ solution for rows in held[zeta][part]]
        of_forces = [p[1:] - f for p, f in zip(found, forces[part], strict=True)]
        return np.array([p[0] for p in found]) - y[part], np.concatenate(of_forces)

    best = None
    for zeta in settings.zetas:
        (energy, energy_right), (force, force_right) = products[zeta]
        for weight in WEIGHTS:
            values, modes = np.linalg.eigh((1 - weight) * energy + weight * force)
            right = modes.T @ ((1 - weight) * energy_right + weight * force_right)
            for ridge in RIDGES:
                solution = modes @ (right / (np.maximum(values, 0.0) + ridge * values.mean()))
                score = sum(np.mean(e**2) / u**2 for e, u in zip(errors(zeta, valid, solution), units, strict=True))
                if best is None or score < best[0]:
                    best = (score, f"zeta {zeta}, force weight {weight}, lambda {ridge:.0e}", zeta, solution)
    _, text, zeta, solution = best
    of_valid, of_test = (
        "{} meV/atom, {} meV/A".format(*map(shown, errors(zeta, part, solution))) for part in (valid, test)
    )
    print(f"{text}: valid {of_valid}")
    return f"{sum(map(len, points.values()))} points, {text}: test RMSE (MAE) {of_test}"


def equations(
    frames: Sequence, y: np.ndarray, forces: list[np.ndarray], units: np.ndarray, n_train: int,
    points: dict[int, np.ndarray], species: list[str], settings: argparse.Namespace,
) -> tuple[dict, dict[int, list[np.ndarray]]]:  # fmt: skip
    """For each zeta the normal equations (matrix, right side) of energies and of forces of the training frames, in
    `units`, and by place the rows of the other frames."""
    soap = descriptor(species, settings, periodic=False)
    whitening = {zeta: whiten(points, zeta) for zeta in settings.zetas}
    size = sum(map(len, points.values()))
    products = {zeta: [[np.zeros((size, size)), np.zeros(size)] for _ in units] for zeta in settings.zetas}
    held = {zeta: [None] * n_train for zeta in settings.zetas}
    for index, atoms in enumerate(frames):
        for zeta, rows in rows_of(atoms, soap, settings.cutoff + TAIL_A, points, settings.zetas).items():
            rows = rows @ whitening[zeta]
            rows[0] /= len(atoms)
            if index >= n_train:
                held[zeta].append(rows)
                continue
            parts = ((rows[:1], y[index : index + 1]), (rows[1:], forces[index]))
            for (matrix, right), (a, b), unit in zip(products[zeta], parts, units, strict=True):
                matrix += a.T @ a / (len(a) * unit**2 * n_train)
                right += a.T @ b / (len(a) * unit**2 * n_train)
        if (index + 1) % 50 == 0:
            print(f"{index + 1} of {len(frames)} frames", file=sys.stderr)
    return products, held


def whiten(points: dict[int, np.ndarray], zeta: int) -> np.ndarray:
    """(P, P) matrix that turns kernels with the sparse points into features whose ridge is the kernel's norm."""
    sizes = [len(q) for q in points.values()]
    found, end = np.zeros((sum(sizes), sum(sizes))), 0
    for q in points.values():
        values, modes = np.linalg.eigh((q @ q.T) ** zeta)
        values = np.where(values > 1e-10 * values[-1], values, np.inf)
        found[end : end + len(q), end : end + len(q)] = modes / np.sqrt(values)
        end += len(q)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=CU_FORMATE)
    parser.add_argument("--forces", action="store_true", help="fit energies and forces")
    parser.add_argument("--points", type=int, default=400, help="sparse points of each species, with --forces")
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
    vectors = soap_vectors(frames, species, settings)
    print(f"{n_train} training frames, {vectors[0].shape[1]} numbers an atom, {time.monotonic() - started:.0f} s")
    y = labels(frames, n_train)
    if settings.forces:
        found = with_forces(frames, vectors, y, species, (n_train, valid, test), settings)
    else:
        found = of_energies(frames, vectors, y, (n_train, valid, test), settings.zetas)
    minutes = (time.monotonic() - started) / 60
    print(f"{found}; {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
