"""Make train, valid and test frames of liquid water from the published sets; see README.md beside this file.

    python make_split.py FOLDER      FOLDER holds classical_liquid.extxyz.xz and pimd_liquid.extxyz.xz

Frames nearer than LINK_A (rms displacement, minimum image) are put into one group, and groups are never divided
between train, valid and test: configurations along one trajectory cannot be in two of them.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import connected_components

from tlmd.frames.checks import minimum_rms_distance, rms_distances
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames

LINK_A = 1.0
DISTINCT_A = 0.3  # within one part, frames nearer than this are thinned
SEED = 7
SETS = {"classical": "classical_liquid.extxyz.xz", "pimd": "pimd_liquid.extxyz.xz"}
WANTED = {"train": 54, "test": 54, "valid": 12}  # frames of each set
HERE = Path(__file__).resolve().parent


def split(distances: np.ndarray, rng: np.random.Generator) -> dict[str, list[int]]:
    """Indices for each part from the (N, N) distances in A: whole groups, large ones first, to the emptiest part."""
    groups = connected_components(distances < LINK_A)[1]
    members = [[int(i) for i in rng.permutation(np.flatnonzero(groups == g))] for g in range(groups.max() + 1)]
    parts: dict[str, list[int]] = {name: [] for name in WANTED}
    order = rng.permutation(len(members))
    for g in sorted(order, key=lambda g: -len(members[g])):
        distinct: list[int] = []
        for i in members[g]:
            if all(distances[i, j] >= DISTINCT_A for j in distinct):
                distinct.append(i)
        name = min(parts, key=lambda name: (len(parts[name]) + len(distinct) / 2) / WANTED[name])
        parts[name] += distinct
    return {name: [int(i) for i in rng.permutation(parts[name])[: WANTED[name]]] for name in parts}


def compact(frame: Frame, name: str, index: int) -> Frame:
    """Positions to 1e-5 A and forces to 1e-5 eV/A, inside the box, with the origin of the frame."""
    fractions = frame.positions @ np.linalg.inv(frame.cell)
    positions = (fractions - np.floor(fractions)) @ frame.cell
    info = {"set": name, "source": f"{SETS[name].split('.')[0]} {index}"}
    return frame.replace(positions=np.round(positions, 5), forces=np.round(frame.forces, 5), info=info)


def main(folder: Path) -> None:
    parts: dict[str, list[list[Frame]]] = {name: [] for name in WANTED}
    rng = np.random.default_rng(SEED)
    for name, file in SETS.items():
        frames = read_frames(folder / file)
        for part, indices in split(rms_distances(frames, frames), rng).items():
            parts[part].append([compact(frames[i], name, i) for i in indices])
    for part, (classical, pimd) in parts.items():
        mixed = [frame for pair in zip(classical, pimd, strict=True) for frame in pair]  # any prefix holds both sets
        write_frames(HERE / f"{part}.extxyz.xz", mixed)
        size = (HERE / f"{part}.extxyz.xz").stat().st_size
        print(f"{part}: {len(mixed)} frames, {size / 1e6:.2f} MB")
    read = {part: read_frames(HERE / f"{part}.extxyz.xz") for part in parts}
    for a, b in (("train", "test"), ("train", "valid"), ("valid", "test")):
        print(f"{a} - {b}: {minimum_rms_distance(read[a], read[b]):.2f} A")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
