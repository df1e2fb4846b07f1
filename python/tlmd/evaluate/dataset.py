"""Labelled frames as batches: graphs built once, batches bounded in frames and atoms, order fixed by the seed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlmd._engine import Pairs
from tlmd.engine import pairs_within
from tlmd.frames.frame import Frame
from tlmd.frames.split import Sets
from tlmd.graph import Graph, batch_graphs, build_graph, species_of
from tlmd.run.errors import InputError


class Labels(NamedTuple):
    """Labels of a batch of B frames with N atoms, float64; NaN where a frame has no such label.

    energy (B,) eV; forces (N, 3) eV/A; stress (B, 3, 3) eV/A^3, ASE's sign; n_atoms (B,)
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    n_atoms: Tensor


class Counts(NamedTuple):
    """How many labels a mean runs over: frames with energy, force components, stress components."""

    energy: int
    forces: int
    stress: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class Batch(NamedTuple):
    """What one step sees, on the model's device. With the engine's pairs the graph has no neighbours."""

    graph: Graph
    labels: Labels
    pairs: Pairs | None = None


class FrameSet:
    """Frames with their labels, and the graph or the engine's pairs of each, built when first asked for and then kept.

    Raises InputError for no frames, an element that the model lacks, or a label that is not finite.
    """

    def __init__(
        self, frames: Sequence[Frame], elements: Sequence[str], cutoff: float, dtype: torch.dtype, name: str = "data"
    ):
        self.frames = list(frames)
        self.elements, self.cutoff, self.dtype, self.name = list(elements), cutoff, dtype, name
        if not self.frames:
            raise InputError(f"no frames in {name}", "at least one", "check the file or the number of frames asked for")
        for index, frame in enumerate(self.frames):
            species_of(frame.numbers, elements)
            check_finite(frame, f"{name}, frame {index}")
        self.sizes = np.array([len(frame.numbers) for frame in self.frames])
        self.labels = [frame_labels(frame) for frame in self.frames]
        self.counts = [count(labels) for labels in self.labels]
        self._graphs: list[Graph | None] = [None] * len(self.frames)
        self._pairs: list[tuple[Graph, Pairs] | None] = [None] * len(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def evenly(self, n: int) -> FrameSet:
        """At most `n` of the frames, at equal steps through the set; the set itself if it is not larger."""
        if len(self) <= n:
            return self
        return self.subset(np.linspace(0, len(self) - 1, n).round().astype(int))

    def subset(self, chosen: Sequence[int]) -> FrameSet:
        """The frames `chosen`, with the labels, graphs and pairs that this set already has."""
        part = copy.copy(self)
        for name in ("frames", "labels", "counts", "_graphs", "_pairs"):
            setattr(part, name, [getattr(self, name)[i] for i in chosen])
        part.sizes = self.sizes[chosen]
        return part

    def graph(self, index: int) -> Graph:
        """Graph of one frame."""
        if self._graphs[index] is None:
            self._graphs[index] = self._build(index)
        return self._graphs[index]

    def pairs(self, index: int) -> tuple[Graph, Pairs]:
        """The engine's pairs of one frame, and its graph without neighbours."""
        if self._pairs[index] is None:
            graph = self._graphs[index] or self._build(index)
            empty = graph._replace(neighbours=graph.neighbours[:, :0].clone(), vectors=graph.vectors[:, :0].clone())
            self._pairs[index] = (empty, pairs_within(len(self.elements), self.cutoff, graph))
        return self._pairs[index]

    def _build(self, index: int) -> Graph:
        frame = self.frames[index]
        return build_graph(
            frame.numbers, frame.positions, frame.cell, frame.pbc, self.elements, self.cutoff, self.dtype
        )

    def batch(self, indices: Sequence[int], device: torch.device | str = "cpu") -> Batch:
        """The frames `indices` as one batch."""
        return collate([(self, index) for index in indices], device)

    def batches(self, indices: Sequence[int], n_frames: int, n_atoms: int, device="cpu") -> Iterator[Batch]:
        """The frames `indices` in order, in batches of at most `n_frames` frames and `n_atoms` atoms."""
        for pack in packs(np.asarray(indices, dtype=int), self.sizes, n_frames, n_atoms):
            yield self.batch(pack, device)


def frame_sets(sets: Sets, elements: Sequence[str], cutoff: float, dtype: torch.dtype) -> dict[str, FrameSet | None]:
    """Frame sets of train, valid and test for a model; None where there are no frames."""
    parts = {"train": sets.train, "valid": sets.valid, "test": sets.test}
    return {
        name: FrameSet(frames, elements, cutoff, dtype, f"the {name} frames") if frames or name == "train" else None
        for name, frames in parts.items()
    }


def check_finite(frame: Frame, where: str) -> None:
    """InputError if positions, cell or a label hold NaN or infinity, or a stress has no volume."""
    for key in ("positions", "cell", "energy", "forces", "stress"):
        value = getattr(frame, key)
        if value is not None and not np.all(np.isfinite(value)):
            raise InputError(f"{where}: {key} that is NaN or infinite", "finite numbers", "remove or correct the frame")
    if frame.stress is not None and not np.all(frame.pbc):
        raise InputError(f"{where}: stress without a periodic box", "a volume", "remove the stress or set pbc")


def frame_labels(frame: Frame) -> Labels:
    """Labels of one frame; see Labels."""

    def tensor(value: np.ndarray | float | None, *shape: int) -> Tensor:
        return torch.from_numpy(np.broadcast_to(np.float64(np.nan if value is None else value), shape).copy())

    n = len(frame.numbers)
    return Labels(tensor(frame.energy, 1), tensor(frame.forces, n, 3), tensor(frame.stress, 1, 3, 3), tensor(n, 1))


def count(labels: Labels) -> Counts:
    """Number of labels in a frame or a batch."""
    return Counts(*(int(torch.isfinite(t).sum()) for t in (labels.energy, labels.forces, labels.stress)))


def collate(items: Sequence[tuple[FrameSet, int]], device: torch.device | str = "cpu", native: bool = False) -> Batch:
    """One batch of frames that may come from several sets; native: with the engine's pairs."""
    labels = Labels(*map(torch.cat, zip(*(frames.labels[index] for frames, index in items), strict=True)))
    if native:
        graphs, pairs = zip(*(frames.pairs(index) for frames, index in items), strict=True)
        return Batch(batch_graphs(graphs), labels, Pairs.joined(pairs))
    graph = batch_graphs([frames.graph(index) for frames, index in items])
    return Batch(graph.to(device), Labels(*(tensor.to(device) for tensor in labels)))


def packs(order: np.ndarray, sizes: np.ndarray, n_frames: int, n_atoms: int) -> list[np.ndarray]:
    """Cut `order` into runs of at most `n_frames` frames and `n_atoms` atoms in all (a larger frame stands alone)."""
    result, start, atoms = [], 0, 0
    for stop, index in enumerate(order):
        if stop > start and (stop - start >= n_frames or atoms + sizes[index] > n_atoms):
            result.append(order[start:stop])
            start, atoms = stop, 0
        atoms += sizes[index]
    return [*result, order[start:]] if start < len(order) else result


class Shuffled:
    """Endless stream of packs of frame indices; each epoch is a new permutation that follows from (seed, epoch) alone.

    `epoch` and `position` are the whole state.
    """

    def __init__(self, sizes: np.ndarray, n_frames: int, n_atoms: int, seed: int):
        self.sizes, self.n_frames, self.n_atoms, self.seed = np.asarray(sizes), n_frames, n_atoms, seed
        self.move_to(0, 0)

    def move_to(self, epoch: int, position: int) -> None:
        """Go to the pack number `position` of `epoch`."""
        self.epoch, self.position = epoch, position
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.sizes))
        self._packs = packs(order, self.sizes, self.n_frames, self.n_atoms)

    def next(self) -> np.ndarray:
        """The next pack."""
        if self.position == len(self._packs):
            self.move_to(self.epoch + 1, 0)
        self.position += 1
        return self._packs[self.position - 1]
