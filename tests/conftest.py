"""Frames with exact labels of a pair potential, and configurations of tiny models."""

import numpy as np
import pytest
import torch

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.graph import neighbour_pairs

torch.set_num_threads(1)
SOFT_CUTOFF = 3.0
ATOM_ENERGY = {1: -0.5, 8: -2.0}


def pair_frame(rng: np.random.Generator, n_atoms: int, periodic: bool) -> Frame:
    """Random O and H atoms on a distorted lattice; labels of E = sum_pairs (3 - d)^2 + sum_i E0[Z_i], by hand."""
    edge = int(np.ceil(n_atoms ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(edge)] * 3), axis=-1).reshape(-1, 3)[:n_atoms] * 1.9
    positions = sites + rng.normal(scale=0.12, size=sites.shape)
    numbers = rng.choice([1, 8], size=n_atoms)
    cell = np.diag([edge * 1.9 + 0.4] * 3) if periodic else np.zeros((3, 3))
    i, _, vectors = neighbour_pairs(positions, cell, [periodic] * 3, SOFT_CUTOFF)
    d = np.linalg.norm(vectors, axis=1)
    slope = -2.0 * (SOFT_CUTOFF - d)  # of each pair's energy
    forces = np.zeros_like(positions)
    np.add.at(forces, i, (slope / d)[:, None] * vectors)
    stress = 0.5 * (vectors.T * (slope / d)) @ vectors / np.linalg.det(cell) if periodic else None
    energy = 0.5 * np.sum((SOFT_CUTOFF - d) ** 2) + sum(ATOM_ENERGY[z] for z in numbers)
    return Frame(numbers, positions, cell, np.array([periodic] * 3), float(energy), forces, stress)


@pytest.fixture
def frames() -> list[Frame]:
    """16 frames, periodic and free by turns, of 6 to 14 atoms."""
    rng = np.random.default_rng(3)
    return [pair_frame(rng, int(rng.integers(6, 15)), periodic=bool(k % 2)) for k in range(16)]


@pytest.fixture
def folder(tmp_path, frames):
    """A folder with train, valid, test and classical frames and the configurations pretrain.toml and finetune.toml."""
    write_frames(tmp_path / "train.extxyz", frames[:10])
    write_frames(tmp_path / "valid.extxyz", frames[10:])
    rng = np.random.default_rng(4)
    write_frames(tmp_path / "test.extxyz", [pair_frame(rng, int(rng.integers(6, 15)), bool(k % 2)) for k in range(6)])
    shifted = [frame.replace(energy=frame.energy + 0.7 * len(frame)) for frame in frames[:8]]
    write_frames(tmp_path / "classical.extxyz", shifted)
    common = """
[data]
train = "train.extxyz"
valid = "valid.extxyz"
[training]
max_steps = 12
batch_frames = 3
valid_every = 4
checkpoint_every = 5
threads = 1
device = "cpu"
[optimizer]
warmup_steps = 2
lr = 0.005
"""
    (tmp_path / "pretrain.toml").write_text(common + "[model]\nwidth = 8\nn_layers = 2\nn_radial = 6\ncutoff = 3.0\n")
    (tmp_path / "finetune.toml").write_text(common + '[transfer]\nstart_from = "old/model.pt"\n[stability]\nps = 0\n')
    return tmp_path
