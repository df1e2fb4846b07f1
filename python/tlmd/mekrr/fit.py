"""tl-mekrr: kernel ridge regression on the features of a frozen network, in closed form."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tlmd.evaluate.dataset import FrameSet, frame_sets
from tlmd.evaluate.doubts import doubts
from tlmd.evaluate.errors import Errors, evaluate_frames
from tlmd.evaluate.table import RESULTS, error_table, errors_by_set, held_out, show_finished, sums_of, write_errors
from tlmd.frames.imports.formats import fingerprint
from tlmd.frames.references import elements_of
from tlmd.frames.remainder import remainders
from tlmd.frames.split import read_sets
from tlmd.mekrr.accumulate import Accumulation, Rows, accumulate
from tlmd.mekrr.backbones import PaiNNBackbone, open_backbone
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.deviations import calibrate_deviations
from tlmd.mekrr.exact import exact_choice, exact_grid, exact_weights, labelled
from tlmd.mekrr.grid import choose, show_grid
from tlmd.mekrr.ridge import Blocks, Choice, Solver
from tlmd.mekrr.untrained import check, described_baseline, untrained
from tlmd.modelfile import Card, layer_cutoff, load_model, save_model
from tlmd.models.kernels import Kernel
from tlmd.models.potential import Potential
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder
from tlmd.train.short_range import set_short_range

CHECKED = 20  # frames on which the units and signs of labels are doubted


@dataclass
class Fitted:
    """What tl-mekrr ends with."""

    model: Potential
    card: Card
    out: Path
    choice: Choice
    errors: dict[str, Errors]
    minutes: float


def mekrr(config: MekrrConfig, out: Path) -> Fitted:
    """Fit by `config` in the run folder `out`; goes on where a killed run stopped. Collective over all processes.

    Raises InputError for data, configuration, backbone or a run folder that do not fit.
    """
    torch.manual_seed(config.seed)
    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)
    with collective.processes(), RunFolder(out, "mekrr", config, RESULTS) as run:
        if run.finished:
            errors, (model, card) = show_finished(run), load_model(out / "model.pt")
            return Fitted(model, card, out, Choice(*run.result["choice"]), errors, run.minutes)
        fit = Fit(config, run)
        fit.prepare()
        if fit.kernel.map == "atoms":
            fit.solve_exactly()
        else:
            fit.accumulate()
            fit.solve()
            fit.calibrate_deviations()
        return fit.write()


class Fit:
    """A fit in its run folder, step by step: prepare, accumulate, solve, calibrate_deviations, write; for the exact
    solver prepare, solve_exactly, write."""

    def __init__(self, config: MekrrConfig, run: RunFolder):
        self.config, self.run = config, run

    def prepare(self) -> None:
        """Frames, backbone, and the model without weights; settings that do not fit are refused first."""
        config, run = self.config, self.run
        self.data = read_sets(config.data, config.training.n_frames, config.training.select, config.seed)
        for note in self.data.notes:
            run.say(note)
        self.described = described_baseline(config)
        self.data = remainders(self.data, self.described, run)
        elements = elements_of(self.data.train + self.data.valid + self.data.test)
        part = config.backbone
        self.backbone = open_backbone(part.kind, part.file(), part.layers, elements)
        check(config, self.backbone, bool(self.data.valid))
        backbone = self.backbone
        self.sets = frame_sets(self.data, backbone.elements, backbone.cutoff, backbone.dtype)
        self.train: FrameSet = self.sets["train"]
        for line in self.doubts():
            run.say(line)
        self.model, self.kernel, self.before, self.baseline, earlier = untrained(config, backbone, self.train)
        repulsion = config.training.repulsion
        self.shortest = set_short_range(self.model, self.data.train, run, repulsion, backbone.shortest_A, earlier)
        self.n_frames = len(self.train)

    def doubts(self) -> list[str]:
        """What seems to be wrong with units and signs of the labels, by the backbone's own forces and stresses on a
        few training frames; nothing for a module, which has features alone."""
        if not isinstance(self.backbone, PaiNNBackbone) or self.config.data.labels == "energies":
            return []
        return doubts(evaluate_frames(self.backbone.potential, self.train.evenly(CHECKED), 256)[1])

    def accumulate(self) -> None:
        """The normal equations of the training and of the validation frames."""
        config, head = self.config, self.model.net.head
        self.blocks = blocks_of(self.train, config.kernel.aggregation)
        rows = Rows(self.backbone, head, self.blocks, self.model.reference, self.baseline)
        n_columns = self.blocks.number * self.kernel.n_features
        memory = 8 * 8 * n_columns**2 / 2**30  # of the sums of both sets, and of one solution
        self.run.say(
            f"{self.n_frames} frames, {self.backbone.width} features an atom, {self.kernel.n_features} of the kernel, "
            f"{n_columns} columns: {memory:.2g} GiB for the sums"
        )
        before = self.before or Accumulation(n_columns)
        if before.n_columns != n_columns:
            raise InputError(
                f"{before.n_columns} columns in {config.update}", f"{n_columns}", "give frames of the same composition"
            )
        self.sums = {"train": self.sums_of_set("train", rows, config.fit.directions, before)}
        if self.sets["valid"] is not None:
            fresh = Accumulation(n_columns)
            self.sums["valid"] = self.sums_of_set("valid", rows, config.fit.valid_directions, fresh)
        self.n_frames = len(self.sums["train"].frames)

    def sums_of_set(self, name: str, rows: Rows, directions: int | None, before: Accumulation) -> Accumulation:
        """The sums over the frames of a set beyond those in `before`; kept in the run folder."""
        frames, config, run, start = self.sets[name], self.config, self.run, time.monotonic()
        with run.progress(math.ceil(len(frames) / collective.world())) as bar:
            found = accumulate(
                rows, frames, config.data.labels == "all", directions, run.path / f"sums-{name}.pt", before,
                config.training.checkpoint_minutes, lambda: bar.advance(bar.task_ids[0]), run.note_time,
            )  # fmt: skip
        counts = ", ".join(f"{s.number} {kind}" for kind, s in found.sums.items() if s.number)
        run.say(f"{name}: {len(found.frames)} frames ({counts}) in {time.monotonic() - start:.1f} s")
        if not counts:
            raise InputError(f"{name} frames without labels", "energies or forces", "check the keys of the file")
        return found

    def solve(self) -> None:
        """The weights of the choice with the smallest validation error."""
        self.solver = Solver(self.sums["train"].sums, self.blocks)
        self.choice, u = choose(self.config.fit, self.solver, self.sums.get("valid"), self.run)
        common, own = self.blocks.weights(u.view(self.blocks.number, -1), self.choice.alpha)
        head, scale = self.model.net.head, self.model.scale[0]
        head.common.copy_(common / scale)
        head.own.copy_(own / scale)

    def solve_exactly(self) -> None:
        """The exact kernel expansion over the training atoms, by energies alone."""
        head, settings, fit = self.model.net.head, self.config.kernel, self.config.fit
        parts = {
            name: labelled(self.backbone, head, frames, self.model.reference, name)
            for name, frames in self.sets.items()
            if frames is not None and name != "test"
        }
        exact = Kernel(settings.kind, self.kernel.length, settings.degree)
        rows, solutions = exact_grid(
            exact, parts["train"], parts.get("valid"), fit.alpha, fit.ridge, settings.aggregation
        )
        self.choice = exact_choice(rows, solutions)
        show_grid(self.run, rows, self.choice)
        atoms, solution = parts["train"].atoms, solutions[self.choice.alpha, self.choice.ridge]
        common, own = exact_weights(solution, atoms, self.choice, settings.aggregation)
        head.map.landmarks.copy_(atoms.h)
        head.common.copy_(common)
        head.own.copy_(own)

    def calibrate_deviations(self) -> None:
        """Predicted standard deviations in the size of the errors on the validation frames; by rank 0, which writes."""
        if self.config.fit.deviation and self.run.main:
            root = self.solver.covariance_root(self.choice).view(self.blocks.number, self.kernel.n_features, -1)
            calibrate_deviations(self.model, root, self.sets, self.run, self.config.training.plots)

    def write(self) -> Fitted:
        """Errors on every set, model.pt, errors.json, pictures and table; rank 0 alone does it."""
        run, data = self.run, self.config.data
        run.rewind(-1)
        run.metrics({"step": 0, "minutes": run.minutes})
        errors, card = {}, self.card()
        if run.main:
            errors = errors_by_set(
                self.model, self.sets, run, data.split_by, self.config.training.plots, batch_atoms=256
            )
            card = card.model_copy(update={"held_out_errors": held_out(errors)})
            save_model(run.path / "model.pt", self.model, card, self.data.train[0])
            write_errors(run.path, errors)
            run.table(error_table(errors, f"{run.path.name}: kernel on frozen features"))
        run.say(f"{run.minutes:.1f} minutes")
        run.finish(choice=dataclasses.astuple(self.choice), errors=sums_of(errors))
        return Fitted(self.model, card, run.path, self.choice, errors, run.minutes)

    def card(self) -> Card:
        """The model's card, without errors."""
        data, backbone = self.config.data, self.backbone
        shape = tuple(self.model.net.head.spread.shape[::2])
        return Card(
            kind="mekrr",
            elements=backbone.elements,
            cutoff=layer_cutoff(self.model),
            architecture=backbone.architecture,
            kernel=self.kernel.model_copy(update={"alpha": self.choice.alpha, "spread": shape}),
            level_of_theory=data.level_of_theory,
            training_data=f"{data.train.name}, {self.n_frames} frames, on features of "
            f"{self.config.backbone.model.name} ({backbone.origin})",
            training_data_sha256=fingerprint(data.train),
            baseline=self.described,
            shortest_A=self.shortest,
        )


def blocks_of(train: FrameSet, aggregation: str) -> Blocks:
    """Columns for the training frames: one ratio N / n_z for all, if that is so or does not matter."""
    n_species = len(train.elements)
    if aggregation == "sum":
        return Blocks(n_species, torch.ones(n_species, dtype=torch.float64))
    counts = np.array([np.bincount(train.graph(i).species, minlength=n_species) for i in range(len(train))])
    ratios = counts.sum(1, keepdims=True) / np.maximum(counts, 1)
    same = np.allclose(ratios, ratios[0], rtol=1e-12)
    return Blocks(n_species, torch.from_numpy(ratios[0]) if same else None)
