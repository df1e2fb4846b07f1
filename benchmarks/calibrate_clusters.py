"""Free clusters cut from frames of a liquid of one kind of molecule and labelled by GFN2-xTB, for tl-calibrate: the
first 25 frames become NAME-train.extxyz, the next 10 NAME-test.extxyz.

    python benchmarks/calibrate_clusters.py candidates/frames.extxyz.xz oct --atoms 6 --molecules 8
"""

from __future__ import annotations

import argparse

import numpy as np

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame, minimum_image
from tlmd.frames.read import read_frames
from tlmd.label.codes.tblite import Tblite, TbliteConfig

TRAIN, TEST, TRAJECTORY = 25, 10, 5  # frames


def cut(frame: Frame, first: int, atoms: int, molecules: int) -> Frame:
    """The molecule `first` and those whose first atoms are nearest to its own."""
    whole = frame.positions.reshape(-1, atoms, 3)
    whole = whole[:, :1] + minimum_image(whole - whole[:, :1], frame.cell)
    shift = whole[:, 0] - whole[first, 0]
    moved = minimum_image(shift, frame.cell)
    near = np.argsort(np.linalg.norm(moved, axis=1))[:molecules]
    places = (whole + (moved - shift)[:, None])[near] - whole[first, 0]
    return Frame(np.tile(frame.numbers[:atoms], molecules), places.reshape(-1, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames")
    parser.add_argument("name")
    parser.add_argument("--atoms", type=int, required=True, help="of a molecule")
    parser.add_argument("--molecules", type=int, default=8, help="of a cluster")
    given = parser.parse_args()
    xtb, labelled = Tblite(TbliteConfig(name="tblite")), []
    for k, frame in enumerate(read_frames(given.frames)[: TRAIN + TEST]):
        cluster = cut(frame, 3 * (k % TRAJECTORY), given.atoms, given.molecules)
        result = xtb.compute(cluster, False)
        labelled.append(cluster.replace(energy=result.energy, forces=result.forces))
    write_frames(f"{given.name}-train.extxyz", labelled[:TRAIN])
    write_frames(f"{given.name}-test.extxyz", labelled[TRAIN:])


if __name__ == "__main__":
    main()
