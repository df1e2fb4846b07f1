"""inputs/surface: slab.py writes the committed files, and frames to label fit the Coulomb interaction of label.toml."""

import runpy
from pathlib import Path

import numpy as np
from ase.io import read

from tlmd.frames.read import read_frames

SURFACE = Path(__file__).parents[2] / "inputs" / "surface"


def test_the_path_is_what_the_script_makes():
    images, written = runpy.run_path(str(SURFACE / "slab.py"))["path"](), read(SURFACE / "path.extxyz", ":")
    assert len(images) == len(written) == 12
    for image, other in zip(images, written, strict=True):
        assert image.get_chemical_formula() == other.get_chemical_formula() == "CHCu16O2"
        assert np.allclose(image.positions, other.positions, atol=1e-3) and np.allclose(image.cell, other.cell)
    broken = [image.get_distance(16, 19, mic=True) for image in images]
    assert np.allclose(broken[:6], 1.11) and np.all(np.diff(broken[5:]) > 0.1) and broken[-1] > 2.9


def test_frames_to_label_take_less_than_half_of_the_height():
    frames = read_frames(SURFACE / "labels" / "frames.extxyz.xz")
    assert len(frames) == 48 and not any(frame.labelled for frame in frames)
    for frame in frames:
        z = frame.positions[:, 2]
        assert len(frame) == 20 and frame.pbc.all()
        assert np.ptp(z) + 5.0 < frame.cell[2, 2] / 2  # 2.5 A of density on each side
