"""Frames as rows of numbers: what a network's features say of them, computed once and kept on disk in pieces.

A frame's descriptor is the mean and the standard deviation over the atoms of each element of the network's scalar
features, so that it says which environments there are and how they spread, whatever the number and order of atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlmd.frames.frame import Frame
from tlmd.graph import Graph, build_graph, species_of
from tlmd.mekrr.backbones import PaiNNBackbone
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

PIECE = 500  # frames of a file on disk


class Row(NamedTuple):
    """A frame as numbers: descriptor (D,); rows (K, F) of the normal equations, K = 0 where nobody asks for them."""

    descriptor: np.ndarray
    rows: np.ndarray


class Describer:
    """The rows of frames by a model's features. directions: of forces in the normal equations, 0: no rows."""

    def __init__(self, model: Path, layers: Sequence[int], directions: int = 0, seed: int = 1):
        self.backbone = PaiNNBackbone(model, layers)
        self.directions, self.seed = directions, seed

    def describe(self, frame: Frame, index: int = 0) -> Row:
        """The row of a frame; the directions follow from the seed and `index`. InputError for an unknown element."""
        backbone = self.backbone
        graph = build_graph(
            frame.numbers, frame.positions, frame.cell, frame.pbc, backbone.elements, backbone.cutoff, backbone.dtype
        )
        features = backbone.features(graph).double().numpy()
        species = species_of(frame.numbers, backbone.elements)
        parts = [features[species == s] for s in range(len(backbone.elements))]
        zero = np.zeros(features.shape[1])
        means = [part.mean(0) if len(part) else zero for part in parts]
        spreads = [part.std(0) if len(part) else zero for part in parts]
        descriptor = np.concatenate([*means, *spreads]).astype(np.float32)
        return Row(descriptor, self._rows(graph, features, index))

    def _rows(self, graph: Graph, features: np.ndarray, index: int) -> np.ndarray:
        """Sum of the features of the atoms, and its changes along K random directions: (K + 1, F).

        The sum over the directions of the squares is, on average, that over all 3 N components of the forces.
        """
        k = self.directions
        if not k:
            return np.zeros((0, features.shape[1]), np.float32)
        moves = np.random.default_rng((self.seed, index)).normal(size=(k, len(features), 3)) / np.sqrt(k)
        tangents = self.backbone.tangents(graph, moves, np.zeros((k, 3, 3))).double().numpy()  # (K, N, F)
        return np.vstack([features.sum(0), tangents.sum(1)]).astype(np.float32)


@dataclass
class Pool:
    """Frames as numbers, in pieces on disk. starts: the first frame of each; files (n,) and index (n,): where each
    frame is; keys: values (n,) by key of info, nan or "" where a frame has none."""

    pieces: list[Path]
    starts: list[int]
    files: np.ndarray
    index: np.ndarray
    keys: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.files)

    def each(self, name: str) -> Iterator[np.ndarray]:
        """descriptor or rows of each piece."""
        for piece in self.pieces:
            with np.load(piece, allow_pickle=False) as found:
                yield found[name]

    def take(self, name: str, i: int) -> np.ndarray:
        """descriptor or rows of one frame."""
        piece = int(np.searchsorted(self.starts, i, side="right")) - 1
        with np.load(self.pieces[piece], allow_pickle=False) as found:
            return found[name][i - self.starts[piece]]


def describe_files(
    files: Sequence[Path],
    frames_of: Callable[[Path], Iterable[Frame]],
    describer: Describer,
    folder: Path,
    keys: Sequence[str] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> Pool:
    """The frames of some files as numbers, in pieces of PIECE in `folder`; pieces that are there are not made again.

    frames_of: the frames of a file, one after the other. advance(n): n more frames are done. Memory: one piece.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces, starts, where, values = [], [], [], {key: [] for key in keys}
    for number, file in enumerate(files):
        for start, part in pieces_of(frames_of(file)):
            piece = folder / f"{number}-{start}.npz"
            if not piece.exists():
                try:
                    rows = [describer.describe(frame, start + k) for k, frame in enumerate(part)]
                except InputError as error:
                    raise error.at(f"{file}, frames {start} to {start + len(part) - 1}") from None
                arrays = {name: np.stack([getattr(row, name) for row in rows]) for name in Row._fields}
                write_atomic(piece, lambda temporary, arrays=arrays: save(temporary, arrays))
            pieces.append(piece)
            starts.append(len(where))
            where += [(number, start + k) for k in range(len(part))]
            for key in keys:
                values[key] += [frame.info.get(key) for frame in part]
            advance(len(part))
    files_, index = np.array(where, dtype=int).reshape(-1, 2).T
    return Pool(pieces, starts, files_, index, {key: array_of(found) for key, found in values.items()})


def pieces_of(frames: Iterable[Frame]) -> Iterator[tuple[int, list[Frame]]]:
    """The number of the first frame, and the frames, PIECE at a time."""
    start, part = 0, []
    for frame in frames:
        part.append(frame)
        if len(part) == PIECE:
            yield start, part
            start, part = start + PIECE, []
    if part:
        yield start, part


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """np.savez to exactly this name."""
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def array_of(values: Sequence[object]) -> np.ndarray:
    """Numbers as float, nan where there is none; words as text, "" where there is none."""
    if all(value is None or isinstance(value, int | float) for value in values):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array(["" if value is None else str(value) for value in values])
