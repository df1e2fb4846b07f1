"""Rows of a kernel model's normal equations, frame by frame, and their sums over frames and processes, resumable."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlmd.evaluate.dataset import FrameSet, Labels
from tlmd.frames.frame import Frame
from tlmd.graph import Graph
from tlmd.mekrr.backbones import Backbone
from tlmd.mekrr.ridge import KINDS, Blocks, Sums
from tlmd.models.kernel_head import KernelHead
from tlmd.models.potential import Prediction, stress
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

TANGENTS = 64  # at once: bounds the memory
ROWS = 64  # at once: one row costs the sums as much as many
STRAINS = np.array([[0, 0], [1, 1], [2, 2], [1, 2], [0, 2], [0, 1]])


class Rows:
    """Turns labelled frames into rows of the normal equations: sums of phi by species, and their derivatives.

    references (S,) eV are taken off the energies, baseline(graph) off all labels.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: KernelHead,
        blocks: Blocks,
        references: Tensor,
        baseline: Callable[[Graph], Prediction] | None = None,
    ):
        self.backbone, self.head, self.blocks, self.baseline = backbone, head, blocks, baseline
        self.precise = copy.deepcopy(head).double()
        self.references = references

    def of_frame(
        self, frames: FrameSet, index: int, forces: bool = True, directions: int | None = None
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(kind, rows (n, P), labels (n,)) of a frame's labels; energies and rows per atom, stress 6 components.

        directions: so many orthonormal random directions of the forces instead of all components.
        """
        graph, labels = frames.graph(index), frames.labels[index]
        if self.baseline is not None:
            labels = left_over(labels, self.baseline(graph), graph)
        species, n_atoms = graph.species, len(graph.species)
        counts = torch.bincount(species, minlength=self.blocks.n_species).double()
        ratio = n_atoms / counts.clamp(min=1)
        h = self.backbone.features(graph)
        if torch.isfinite(labels.energy).all():
            phi = self.precise.map(self.precise.scaled(h.double(), species))
            psi = phi.new_zeros(self.blocks.n_species, phi.shape[1]).index_add_(0, species, phi)
            label = (labels.energy - counts @ self.references) / n_atoms
            yield "energy", self.blocks.rows(psi[None], ratio) / n_atoms, label
        if not forces:
            return
        slopes = self.slopes(h, species)
        if torch.isfinite(labels.forces).all():
            moves, seen = moves_of(n_atoms, index, directions), labels.forces.reshape(-1)
            for first in range(0, len(moves), TANGENTS):
                part = moves[first : first + TANGENTS]
                psi = self.tangents(graph, slopes, part.reshape(len(part), n_atoms, 3), np.zeros((len(part), 3, 3)))
                yield "forces", -self.blocks.rows(psi, ratio), torch.from_numpy(part) @ seen
        if torch.isfinite(labels.stress).all():
            strains = np.zeros((6, 3, 3))
            for k, (a, b) in enumerate(STRAINS):
                strains[k, a, b] += 0.5
                strains[k, b, a] += 0.5
            psi = self.tangents(graph, slopes, np.zeros((6, n_atoms, 3)), strains)
            yield "stress", self.blocks.rows(psi, ratio) / graph.volumes, labels.stress[0][tuple(STRAINS.T)]

    def slopes(self, h: Tensor, species: Tensor) -> list[Tensor]:
        """For each species dphi/dh of its atoms, (n_z F, D)."""
        scaled = self.head.scaled(h, species)
        result = []
        for z in range(self.blocks.n_species):
            mine = species == z
            slopes = self.head.map.slopes(scaled[mine]) * self.head.factor[z][:, None]
            result.append(slopes.flatten(0, 1))
        return result

    def tangents(self, graph: Graph, slopes: list[Tensor], moves: np.ndarray, strains: np.ndarray) -> Tensor:
        """Changes of the sums of phi by species, (T, S, D)."""
        changes = self.backbone.tangents(graph, moves, strains)
        parts = [changes[:, graph.species == z].flatten(1) @ slopes[z] for z in range(self.blocks.n_species)]
        return torch.stack(parts, dim=1)


def moves_of(n_atoms: int, index: int, directions: int | None) -> np.ndarray:
    """Orthonormal directions of 3N coordinates along which the forces of frame `index` are seen, (T, 3N)."""
    if directions is None or directions >= 3 * n_atoms:
        return np.eye(3 * n_atoms)
    normal = np.random.default_rng((1, index)).normal(size=(3 * n_atoms, directions))
    return np.ascontiguousarray(np.linalg.qr(normal)[0].T)


def left_over(labels: Labels, prediction: Prediction, graph: Graph) -> Labels:
    """A frame's labels less a prediction."""
    return labels._replace(
        energy=labels.energy - prediction.energy,
        forces=labels.forces - prediction.forces,
        stress=labels.stress - stress(prediction, graph.volumes),
    )


def fingerprint(frame: Frame) -> str:
    """What makes a labelled frame the same frame."""
    digest, frame = hashlib.sha256(), frame.total or frame
    for value in (frame.numbers, frame.positions, frame.cell, frame.pbc, frame.energy, frame.forces, frame.stress):
        digest.update(b"-" if value is None else np.ascontiguousarray(value, np.float64).tobytes())
    return digest.hexdigest()


# what reading a damaged file of tensors raises
DAMAGED = (RuntimeError, pickle.UnpicklingError, LookupError, TypeError, AttributeError, EOFError, ValueError)
DAMAGED += (StopIteration,)


@dataclass
class Accumulation:
    """Sums over the frames whose fingerprints are in `frames`."""

    n_columns: int
    frames: set[str] = field(default_factory=set)
    sums: dict[str, Sums] = field(default_factory=dict)
    waiting: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def __post_init__(self):
        self.sums = self.sums or {kind: Sums.empty(self.n_columns) for kind in KINDS}

    def add(self, kind: str, rows: Tensor, labels: Tensor) -> None:
        """Take in rows (n, P) and labels (n,); they may wait for more, see settle."""
        self.waiting[kind].append((rows, labels))
        if sum(len(part) for part, _ in self.waiting[kind]) >= ROWS:
            self.settle([kind])

    def settle(self, kinds: Sequence[str] = KINDS) -> None:
        """Bring what is waiting into the sums."""
        for kind in kinds:
            if parts := self.waiting[kind]:
                self.sums[kind].add(*map(torch.cat, zip(*parts, strict=True)))
                parts.clear()

    def merge(self, other: Accumulation) -> None:
        """Take in the sums over other frames."""
        self.frames |= other.frames
        for kind, sums in other.sums.items():
            self.sums[kind].merge(sums)

    def write(self, path: Path) -> None:
        """Keep the sums in a file."""
        self.settle()
        content = {kind: (s.gram, s.cross, s.square, s.number) for kind, s in self.sums.items() if s.number}
        buffer = io.BytesIO()  # to a path, torch.save reports a full disk by a RuntimeError
        torch.save({"frames": sorted(self.frames), "sums": content}, buffer)
        write_atomic(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))

    @staticmethod
    def read(path: Path) -> Accumulation:
        """The sums in a file; InputError if it is damaged."""
        try:
            content = torch.load(path, weights_only=True)
            sums = {kind: Sums(*values) for kind, values in content["sums"].items()}
            found = Accumulation(next(iter(sums.values())).cross.numel(), set(content["frames"]))
            found.sums |= sums
        except DAMAGED as error:
            raise InputError(
                f"{path}, which is damaged ({type(error).__name__})", "sums of tl-mekrr", "delete it and start again"
            ) from None
        return found


def accumulate(
    rows: Rows,
    frames: FrameSet,
    forces: bool,
    directions: int | None,
    path: Path,
    before: Accumulation,
    minutes: float,
    advance: Callable[[], None],
    kept: Callable[[], None] = lambda: None,
) -> Accumulation:
    """Sums over `frames`, whose frames beyond those in `before` are shared by the ranks; collective over all of them.

    forces, directions: as in Rows.of_frame. path: where the sums are kept; what a killed run has summed up is taken
    from there. advance(): after each frame; kept(): after each writing.
    """
    total = before
    for part in sorted(path.parent.glob(f"{path.stem}*{path.suffix}")):
        found = Accumulation.read(part)
        if total.frames <= found.frames:
            total = found
        elif not found.frames <= total.frames:
            total.merge(found)
    collective.barrier()  # all have read
    names = [fingerprint(frame) for frame in frames.frames]
    todo = [i for i, name in enumerate(names) if name not in total.frames]
    mine, written = Accumulation(before.n_columns), time.monotonic()
    own = path.with_name(f"{path.stem}-{collective.rank()}-{len(total.frames)}{path.suffix}")
    for i in todo[collective.rank() :: collective.world()]:
        for kind, part, labels in rows.of_frame(frames, i, forces, directions):
            mine.add(kind, part, labels)
        mine.frames.add(names[i])
        advance()
        if time.monotonic() - written > 60 * minutes:
            mine.write(own)
            kept()
            written = time.monotonic()
    if todo:
        total.merge(reduced(mine))
        collective.on_main(lambda: replace_parts(total, path))
        kept()
    return total


def replace_parts(total: Accumulation, path: Path) -> None:
    """Write the sums, and drop those of the ranks."""
    total.write(path)
    for part in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        part.unlink()


def reduced(mine: Accumulation) -> Accumulation:
    """The sum over the ranks, on all of them."""
    mine.settle()
    for sums in mine.sums.values():
        for tensor in (sums.gram, sums.cross):
            collective.add_up(tensor)
        sums.square = sum(collective.gather(sums.square))
        sums.number = sum(collective.gather(sums.number))
    mine.frames = set().union(*collective.gather(mine.frames))
    return mine


def sample_features(backbone: Backbone, frames: FrameSet, chosen: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, F), species (N,) and frame (N,) of the atoms of some frames."""
    parts = []
    for number, i in enumerate(chosen):
        graph = frames.graph(i)
        parts.append((backbone.features(graph), graph.species, torch.full_like(graph.species, number)))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))
