"""Geometry of water: frames of whole molecules, atoms O H H, O H H, ..."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate.teachers.spcfw import ANGLE_DEG, BOND_A


def molecules(count: int, length: np.ndarray | float = BOND_A, angle: np.ndarray | float | None = None) -> np.ndarray:
    """(count, 3, 3) positions of O H H in A, O at the origin; length (count, 2) A, angle (count, 1) rad."""
    angle = np.broadcast_to(np.deg2rad(ANGLE_DEG) if angle is None else angle, (count, 1))
    length = np.broadcast_to(length, (count, 2))
    molecules = np.zeros((count, 3, 3))
    molecules[:, 1, 0] = length[:, 0]
    molecules[:, 2, :2] = length[:, 1:] * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return molecules


def shapes(
    bond_A: tuple[float, float], angle_deg: tuple[float, float], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Uniform bond lengths (count, 2) in A and angles (count, 1) in rad."""
    return rng.uniform(*bond_A, (count, 2)), np.deg2rad(rng.uniform(*angle_deg, (count, 1)))


def covering(bounds: tuple[float, float], item: int, step: float) -> float:
    """Point `item` of an evenly spreading sequence over the bounds: every prefix covers them."""
    return bounds[0] + (bounds[1] - bounds[0]) * ((0.5 + item * step) % 1.0)


def oriented(molecules: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each molecule of (M, 3, 3) turned at random about its oxygen."""
    return np.einsum("mij,maj->mai", Rotation.random(len(molecules), random_state=rng).as_matrix(), molecules)


def whole(frame: Frame) -> np.ndarray:
    """(N, 3) positions with both hydrogens beside their oxygen, not across the box."""
    molecules = frame.positions.reshape(-1, 3, 3)
    return (molecules[:, :1] + minimum_image(molecules - molecules[:, :1], frame.cell)).reshape(-1, 3)


def contacts(molecule: np.ndarray, others: np.ndarray, cell: np.ndarray | None = None) -> np.ndarray:
    """The shortest O-O, O-H and H-H distances (A) of a molecule (3, 3) to others (M, 3, 3), minimum image in a cell."""
    vectors = others[:, None] - molecule[None, :, None]  # (M, 3, 3, 3)
    if cell is not None:
        vectors = minimum_image(vectors, cell)
    distances = np.linalg.norm(vectors, axis=-1).min(axis=0)
    return np.array([distances[0, 0], min(distances[0, 1:].min(), distances[1:, 0].min()), distances[1:, 1:].min()])


def frame(positions: np.ndarray, cell: np.ndarray | None = None) -> Frame:
    """A frame of whole molecules; periodic if there is a cell."""
    positions = positions.reshape(-1, 3)
    numbers = np.tile([8, 1, 1], len(positions) // 3)
    if cell is None:
        return Frame(numbers, positions)
    return Frame(numbers, positions, cell, np.ones(3, dtype=bool))
