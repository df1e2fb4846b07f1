"""Make train, valid and test frames of qm7, acetylacetone and 3BPA from the published sets; see README.md beside this.

    python make_splits.py FOLDER      FOLDER holds qm7/, acac/ and 3bpa/ with their .extxyz.xz

qm7 is divided by molecule, acetylacetone by trajectory and time, 3BPA (whose order in time is lost) by groups of near
frames.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist, pdist

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate.topology import from_geometry

SEED = 7
LINK_A = 0.1  # 3BPA: frames nearer than this (rms over all interatomic distances) are in one part
WANTED = {
    "qm7": {"test": 700, "valid": 250, "train": 5000},
    "3bpa": {"test": 100, "valid": 40, "train": 360},
}
HERE = Path(__file__).resolve().parent


def deal(groups: list, wanted: dict[str, int], rng: np.random.Generator) -> dict[str, list[int]]:
    """Indices for each part: whole groups (a label for each frame) in random order, parts filled one after another."""
    members: dict = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    parts: dict[str, list[int]] = {name: [] for name in wanted}
    names = iter(wanted)
    name = next(names)
    for g in rng.permutation(len(members)):
        if len(parts[name]) >= wanted[name] and (name := next(names, None)) is None:
            break
        parts[name] += list(members.values())[g]
    return parts


def compact(frame: Frame, digits: int, **info) -> Frame:
    """Positions to `digits` decimals, forces to 1e-4 eV/A, labels of the original's."""
    forces = None if frame.forces is None else np.round(frame.forces, 4)
    return frame.replace(positions=np.round(frame.positions, digits), forces=forces, info=info)


def qm7(folder: Path, rng: np.random.Generator) -> dict[str, list[Frame]]:
    """By molecule: stereoisomers and conformers of one bond graph stay together."""
    frames = read_frames(folder / "qm7" / "molecules.extxyz.xz", keys={"energy": "pbe0_atomisation_eV"})
    graphs = [from_geometry(frame) or tuple(np.sort(frame.numbers)) for frame in frames]
    parts = deal(graphs, WANTED["qm7"], rng)
    return {part: [compact(frames[i], 4, name=frames[i].info["name"]) for i in parts[part]] for part in parts}


def acac(folder: Path) -> dict[str, list[Frame]]:
    """By time: the last tenth of the training trajectory validates, every second frame of the other one tests."""
    sets = {name: read_frames(folder / "acac" / f"{name}.extxyz.xz") for name in ("train_300K", "test_MD_300K")}
    chosen = {"train": ("train_300K", range(450)), "valid": ("train_300K", range(450, 500))}
    chosen |= {"test": ("test_MD_300K", range(0, 650, 2))}
    return {part: [compact(sets[name][i], 5, source=f"{name} {i}") for i in r] for part, (name, r) in chosen.items()}


def bpa(folder: Path, rng: np.random.Generator) -> dict[str, list[Frame]]:
    """By groups of frames that are linked by less than LINK_A."""
    frames = read_frames(folder / "3bpa" / "train_300K.extxyz.xz")
    distances = np.array([pdist(frame.positions) for frame in frames])
    near = cdist(distances, distances) / np.sqrt(distances.shape[1]) < LINK_A
    parts = deal(list(connected_components(near)[1]), WANTED["3bpa"], rng)
    return {part: [compact(frames[i], 5, source=f"train_300K {i}") for i in sorted(parts[part])] for part in parts}


def main(folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    for name, parts in {"qm7": qm7(folder, rng), "acac": acac(folder), "3bpa": bpa(folder, rng)}.items():
        (HERE / name).mkdir(exist_ok=True)
        for part, frames in parts.items():
            path = HERE / name / f"{part}.extxyz.xz"
            write_frames(path, frames)
            print(f"{name} {part}: {len(frames)} frames, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
