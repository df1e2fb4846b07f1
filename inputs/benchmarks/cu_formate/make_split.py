"""Make train, valid and test frames of formate on copper from the published trajectory; see README.md beside this file.

    python make_split.py FRAMES                     by time, into this folder
    python make_split.py FRAMES --random FOLDER     at random, into FOLDER, as published kernel models were tested

FRAMES: the DFT frames as extxyz with info `frame`, their number in time.
"""

import argparse
from pathlib import Path

import numpy as np

from tlmd.frames.checks import minimum_rms_distance
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames

PARTS = ("train", "valid", "test")
FIRST_VALID, LAST_VALID = 3500, 4200  # by info `frame`
SEED = 7
HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--random", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    frames = [
        frame.replace(positions=np.round(frame.positions, 5), forces=np.round(frame.forces, 5))
        for frame in read_frames(arguments.frames)
    ]
    time = np.array([int(frame.info["frame"]) for frame in frames])
    part = (time >= FIRST_VALID).astype(int) + (time > LAST_VALID)  # 0 train, 1 valid, 2 test
    if arguments.random is not None:  # parts as large as those by time
        part = np.random.default_rng(SEED).permutation(part)
    folder = arguments.random or HERE
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {name: [frames[i] for i in np.flatnonzero(part == k)] for k, name in enumerate(PARTS)}
    for name, members in chosen.items():
        path = folder / f"{name}.extxyz.xz"
        write_frames(path, members)
        print(f"{name}: {len(members)} frames, {path.stat().st_size / 1e6:.2f} MB")
    for a, b in (("train", "test"), ("train", "valid"), ("valid", "test")):
        print(f"{a} - {b}: {minimum_rms_distance(chosen[a], chosen[b]):.2f} A")


if __name__ == "__main__":
    main()
