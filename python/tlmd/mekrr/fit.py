"""tl-mekrr: kernel ridge regression on the features of a frozen network, in closed form."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlmd.engine import predictor
from tlmd.evaluate.dataset import FrameSet, frame_sets
from tlmd.evaluate.errors import Errors
from tlmd.evaluate.table import RESULTS, error_table, errors_by_set, held_out, show_finished, sums_of, write_errors
from tlmd.frames.references import elements_of, energy_labels, isolated_atoms, least_squares
from tlmd.frames.split import Sets, read_sets
from tlmd.graph import Graph
from tlmd.mekrr.accumulate import Accumulation, Rows, accumulate, sample_features
from tlmd.mekrr.backbones import Backbone, open_backbone
from tlmd.mekrr.deviations import reliability, reliability_plot
from tlmd.mekrr.exact import exact_choice, exact_grid, exact_weights, labelled
from tlmd.mekrr.grid import grid_table, write_grid
from tlmd.mekrr.ridge import Blocks, Choice, Solver, grid
from tlmd.modelfile import Card, load_model, save_model
from tlmd.models.architecture import KernelArchitecture
from tlmd.models.kernels import FourierMap, Kernel, median_distance, nystroem, scaling
from tlmd.models.potential import Potential, Prediction
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.files import sha256
from tlmd.run.folder import RunFolder, read_run
from tlmd.train.config import MekrrConfig

SAMPLE_FRAMES = 200  # at most, for scaling, median distance and landmarks


@dataclass
class Fit:
    """What tl-mekrr ends with."""

    model: Potential
    card: Card
    out: Path
    choice: Choice
    errors: dict[str, Errors]
    minutes: float


def mekrr(config: MekrrConfig, out: Path) -> Fit:
    """Fit by `config` in the run folder `out`; goes on where a killed run stopped. Collective over all processes.

    Raises InputError for data, configuration, backbone or a run folder that do not fit.
    """
    torch.manual_seed(config.seed)
    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)
    with collective.processes(), RunFolder(out, "mekrr", config, RESULTS) as run:
        if run.finished:
            errors, (model, card) = show_finished(run), load_model(out / "model.pt")
            return Fit(model, card, out, Choice(*run.result["choice"]), errors, run.minutes)
        training = config.training
        data = read_sets(config.data, training.n_frames, training.select, config.seed)
        for note in data.notes:
            run.say(note)
        elements, part = elements_of(data.train + data.valid + data.test), config.backbone
        backbone = open_backbone(part.kind, part.file(), part.layers, elements)
        sets = frame_sets(data, backbone.elements, backbone.cutoff, backbone.dtype)
        earlier = Earlier.read(config, backbone) if config.update else None
        model, kernel = (earlier.model, earlier.kernel) if earlier else new_model(config, backbone, sets["train"])
        if kernel.map == "atoms":
            choice, n_frames = fit_exactly(config, backbone, model, kernel, sets, run), len(data.train)
        else:
            choice, n_frames = fit(config, backbone, model, kernel, sets, run, earlier)
        run.rewind(-1)
        run.metrics({"step": 0, "minutes": run.minutes})
        card = new_card(config, backbone, model, kernel, choice, n_frames)
        errors = conclude(config, run, model, card, sets, data)
        run.say(f"{run.minutes:.1f} minutes")
        run.finish(choice=dataclasses.astuple(choice), errors=sums_of(errors))
        return Fit(model, card, out, choice, errors, run.minutes)


def fit(
    config: MekrrConfig,
    backbone: Backbone,
    model: Potential,
    kernel: KernelArchitecture,
    sets: dict[str, FrameSet | None],
    run: RunFolder,
    earlier: Earlier | None,
) -> tuple[Choice, int]:
    """Give the model its weights and deviations by the normal equations; the choice, and the number of frames."""
    blocks = blocks_of(sets["train"], config.kernel.aggregation)
    base = own_energies(backbone, sets["train"]) if kernel.baseline else None
    rows = Rows(backbone, model.net.head, blocks, model.reference, base)
    run.say(
        f"{len(sets['train'])} frames, {backbone.width} features an atom, {kernel.n_features} of the kernel, "
        f"{blocks.number * kernel.n_features} columns: {memory(blocks, kernel):.2g} GiB for the sums"
    )
    sums = all_sums(config, rows, sets, run, earlier)
    solver = Solver(sums["train"].sums, blocks)
    choice, u = choose(config, solver, sums.get("valid"), run)
    common, own = blocks.weights(u.view(blocks.number, -1), choice.alpha)
    model.net.head.common.copy_(common / model.scale[0])
    model.net.head.own.copy_(own / model.scale[0])
    if config.fit.deviation and run.main:
        set_spread(model, blocks, solver, choice, sets, run, config.training.plots)
    return choice, len(sums["train"].frames)


def fit_exactly(
    config: MekrrConfig,
    backbone: Backbone,
    model: Potential,
    kernel: KernelArchitecture,
    sets: dict[str, FrameSet | None],
    run: RunFolder,
) -> Choice:
    """Give the model the exact kernel expansion over the training atoms, by energies alone."""
    head, settings = model.net.head, config.kernel
    parts = {
        name: labelled(backbone, head, frames, model.reference, name)
        for name, frames in sets.items()
        if frames is not None and name != "test"
    }
    exact = Kernel(settings.kind, kernel.length, settings.degree)
    rows, solutions = exact_grid(
        exact, parts["train"], parts.get("valid"), config.fit.alpha, config.fit.ridge, settings.aggregation
    )
    choice = exact_choice(rows, solutions)
    if rows and run.main:
        write_grid(run.path / "grid.csv", rows)
        run.table(grid_table(rows, choice))
    atoms = parts["train"].atoms
    common, own = exact_weights(solutions[choice.alpha, choice.ridge], atoms, choice, settings.aggregation)
    head.map.landmarks.copy_(atoms.h)
    head.common.copy_(common)
    head.own.copy_(own)
    return choice


def new_model(config: MekrrConfig, backbone: Backbone, train: FrameSet) -> tuple[Potential, KernelArchitecture]:
    """A kernel model without weights: scaling, feature map and reference energies of the training frames."""
    generator = torch.Generator().manual_seed(config.seed)
    sample = train.evenly(SAMPLE_FRAMES)
    h, species, _ = sample_features(backbone, sample, range(len(sample)))
    shift, factor = scaling(h.double(), species, len(backbone.elements))
    scaled = (h.double() - shift[species]) * factor[species]
    settings = config.kernel
    median = median_distance(scaled, generator)
    shared = {
        "kind": settings.kind,
        "backbone": "painn" if backbone.architecture else "module",
        "layers": backbone.layers,
        "baseline": config.backbone.baseline,
        "aggregation": settings.aggregation,
        "alpha": 0.0,
        "length": settings.lengths[0] * median,
        "degree": settings.degree,
    }
    if settings.kind == "linear" and settings.solver != "exact":
        kernel = KernelArchitecture(map="linear", n_features=backbone.width, **shared)
        filled = kernel.feature_map(backbone.width)
    elif settings.solver == "fourier":
        kernel = KernelArchitecture(map="fourier", n_features=settings.n_features, **shared)
        filled = FourierMap(backbone.width, settings.n_features)
        filled.draw([length * median for length in settings.lengths], generator)
    elif settings.solver == "exact":
        n = int(train.sizes[[c.energy > 0 for c in train.counts]].sum())
        kernel = KernelArchitecture(map="atoms", n_landmarks=n, n_features=n, **shared)
        filled = kernel.feature_map(backbone.width)
    else:
        marks = scaled[torch.randperm(len(scaled), generator=generator)[: settings.n_features]]
        filled = nystroem(Kernel(settings.kind, shared["length"], settings.degree), marks)
        n_landmarks, n_features = filled.whitening.shape
        kernel = KernelArchitecture(map="landmarks", n_landmarks=n_landmarks, n_features=n_features, **shared)
    model = backbone.kernel_model(kernel)
    model.net.head.map.load_state_dict(filled.state_dict())
    model.net.head.shift.copy_(shift)
    model.net.head.factor.copy_(factor)
    for z in torch.unique(species) if kernel.map != "atoms" else ():
        model.net.head.centre[z] = model.net.head.map(model.net.head.scaled(h, species)[species == z]).mean(0)
    base = None
    if kernel.baseline:
        if model.net.n_layers < backbone.potential.net.n_layers or settings.solver == "exact":
            raise InputError(
                "backbone.baseline", "the last layer, and a solver that is not exact", "set baseline = false"
            )
        if not bool((backbone.potential.scale == backbone.potential.scale[0]).all()):
            raise InputError("a backbone with a scale for each element", "one scale", "set backbone.baseline = false")
        model.scale.copy_(backbone.potential.scale)
        base = own_energies(backbone, train)
    model.reference.copy_(torch.as_tensor(reference_energies(config, train, backbone.elements, base)))
    return model.eval().requires_grad_(False), kernel


def own_energies(backbone: Backbone, train: FrameSet) -> Callable[[Graph], Prediction]:
    """What the backbone itself predicts, without its reference energies."""
    bare = copy.deepcopy(backbone.potential)
    bare.reference.zero_()
    return predictor(bare, sample=train.graph(0))


def reference_energies(
    config: MekrrConfig, train: FrameSet, elements: list[str], base: Callable[[Graph], Prediction] | None
) -> np.ndarray:
    """Reference energies (S,) eV, isolated atoms or least squares, of what `base` leaves over."""
    if config.references.method == "isolated_atoms":
        return isolated_atoms(config.references.energies, config.references.file, elements)
    chosen = [i for i in range(len(train)) if train.counts[i].energy]
    if not chosen:
        return np.zeros(len(elements))
    counts, labels = energy_labels([train.frames[i] for i in chosen], elements)
    if base is not None:
        labels = labels - [float(base(train.graph(i)).energy) for i in chosen]
    return least_squares(counts, labels)


def blocks_of(train: FrameSet, aggregation: str) -> Blocks:
    """Columns for the training frames: one ratio N / n_z for all, if that is so or does not matter."""
    n_species = len(train.elements)
    if aggregation == "sum":
        return Blocks(n_species, torch.ones(n_species, dtype=torch.float64))
    counts = np.array([np.bincount(train.graph(i).species, minlength=n_species) for i in range(len(train))])
    ratios = counts.sum(1, keepdims=True) / np.maximum(counts, 1)
    same = np.allclose(ratios, ratios[0], rtol=1e-12)
    return Blocks(n_species, torch.from_numpy(ratios[0]) if same else None)


def memory(blocks: Blocks, kernel: KernelArchitecture) -> float:
    """GiB of the sums over training and validation frames, and of one solution."""
    return 8 * 8 * (blocks.number * kernel.n_features) ** 2 / 2**30


class Earlier:
    """An earlier fit that is to be updated: its model and its sums."""

    def __init__(self, model: Potential, kernel: KernelArchitecture, sums: Accumulation):
        self.model, self.kernel, self.sums = model, kernel, sums

    @staticmethod
    def read(config: MekrrConfig, backbone: Backbone) -> Earlier:
        """From the folder config.update; InputError if it was made with another backbone or kernel."""
        folder = config.update
        for name in ("model.pt", "sums-train.pt", "run.json"):
            if not (folder / name).is_file():
                raise InputError(f"no {folder / name}", "the folder of a finished tl-mekrr", "correct `update`")
        record = read_run(folder)["record"]
        mine = config.model_dump(mode="json")
        same = {"kernel": (record["config"]["kernel"], mine["kernel"])}
        for key in ("layers", "baseline"):
            same[f"backbone.{key}"] = (record["config"]["backbone"][key], mine["backbone"][key])
        same["backbone.model"] = (record["files"]["backbone.model"]["sha256"], sha256(config.backbone.file()))
        same["data.labels"] = (record["config"]["data"]["labels"], mine["data"]["labels"])
        for key, (theirs, ours) in same.items():
            if theirs != ours:
                raise InputError(f"{key} {ours}", f"{theirs}, as in {folder}", "make both the same, or fit anew")
        model, card = load_model(folder / "model.pt")
        if model.elements != backbone.elements:
            raise InputError(f"elements {backbone.elements}", f"{model.elements}, as in {folder}", "fit anew")
        n_columns = torch.load(folder / "sums-train.pt", weights_only=True)["sums"]["energy"][1].numel()
        return Earlier(model.requires_grad_(False), card.kernel, Accumulation.read(folder / "sums-train.pt", n_columns))


def all_sums(
    config: MekrrConfig, rows: Rows, sets: dict[str, FrameSet | None], run: RunFolder, earlier: Earlier | None
) -> dict[str, Accumulation]:
    """Normal equations of the training and of the validation frames."""
    n_columns = rows.blocks.number * len(rows.head.common)
    forces = config.data.labels == "all"
    found = {}
    for name, directions in (("train", config.fit.directions), ("valid", config.fit.valid_directions)):
        frames = sets[name]
        if frames is None:
            continue
        before = earlier.sums if earlier and name == "train" else Accumulation(n_columns)
        if before.n_columns != n_columns:
            raise InputError(
                f"{before.n_columns} columns in {config.update}", f"{n_columns}", "give frames of the same composition"
            )
        start = time.monotonic()
        with run.progress(math.ceil(len(frames) / collective.world())) as bar:
            found[name] = accumulate(
                rows, frames, forces, directions, run.path / f"sums-{name}.pt", before,
                config.training.checkpoint_minutes, lambda bar=bar: bar.advance(bar.task_ids[0]), run.note_time,
            )  # fmt: skip
        seconds = time.monotonic() - start
        counts = ", ".join(f"{s.number} {kind}" for kind, s in found[name].sums.items() if s.number)
        run.say(f"{name}: {len(found[name].frames)} frames ({counts}) in {seconds:.1f} s")
        if not counts:
            raise InputError(f"{name} frames without labels", "energies or forces", "check the keys of the file")
    return found


def choose(config: MekrrConfig, solver: Solver, valid: Accumulation | None, run: RunFolder) -> tuple[Choice, Tensor]:
    """The choice with the smallest validation score, and its solution; grid.csv has all."""
    fit = config.fit
    weights = fit.force_weight if len(solver.sums) > 1 else [1.0]
    choices = [Choice(*each) for each in itertools.product(fit.alpha, weights, fit.ridge)]
    if valid is None:
        if len(choices) > 1:
            raise InputError(
                "no validation frames", "some, to choose from the grid", "set data.valid, or give single values in fit"
            )
        return choices[0], solver.solve(choices[0])
    start, world = time.monotonic(), collective.world()
    parts = collective.gather(grid(solver, valid.sums, choices[collective.rank() :: world]))
    rows = [parts[i % world][i // world] for i in range(len(choices))]
    best = int(np.argmin([row["score"] if math.isfinite(row["score"]) else math.inf for row in rows]))
    if not math.isfinite(rows[best]["score"]):
        raise InputError("no solution for any choice", "a larger lambda", "add larger values to fit.ridge")
    run.say(f"{len(choices)} solutions in {time.monotonic() - start:.1f} s")
    if run.main:
        write_grid(run.path / "grid.csv", rows)
        run.table(grid_table(rows, choices[best]))
    return choices[best], solver.solve(choices[best])


def set_spread(
    model: Potential,
    blocks: Blocks,
    solver: Solver,
    choice: Choice,
    sets: dict[str, FrameSet | None],
    run: RunFolder,
    plots: bool,
) -> None:
    """Give the head its standard deviations, in the size of the errors on the validation frames."""
    head = model.net.head
    head.spread = solver.spread(choice).view(blocks.number, len(head.common), -1).to(head.common.dtype)
    name = "valid" if sets["valid"] is not None else "train"
    found = reliability(model, sets[name])
    if not len(found.energies):
        return
    factor = float((found.errors / found.energies).square().mean().sqrt())
    head.spread *= factor
    scaled = found._replace(energies=factor * found.energies, atoms=factor * found.atoms)
    run.say(f"standard deviations of energies in the size of the errors on the {name} frames")
    for name in ("valid", "test"):
        if sets[name] is not None:
            found = scaled if name == "valid" else reliability(model, sets[name])
            inside = [float((found.errors < k * found.energies).double().mean()) for k in (1, 2)]
            run.say(
                f"{name}: {100 * inside[0]:.0f} % of energies within one, {100 * inside[1]:.0f} % within two of them"
            )
            if plots:
                reliability_plot(run.path / f"deviation_{name}.png", found, f"{run.path.name}: {name} frames")


def new_card(
    config: MekrrConfig, backbone: Backbone, model: Potential, kernel: KernelArchitecture, choice: Choice, n: int
) -> Card:
    """The model's card, without errors."""
    return Card(
        kind="mekrr",
        elements=backbone.elements,
        cutoff=backbone.cutoff,
        architecture=backbone.architecture,
        kernel=kernel.model_copy(update={"alpha": choice.alpha, "spread": tuple(model.net.head.spread.shape[::2])}),
        level_of_theory=config.data.level_of_theory,
        training_data=f"{config.data.train.name}, {n} frames, on features of {config.backbone.model.name} "
        f"({backbone.origin})",
        training_data_sha256=sha256(config.data.train),
    )


def conclude(
    config: MekrrConfig, run: RunFolder, model: Potential, card: Card, sets: dict[str, FrameSet | None], data: Sets
) -> dict[str, Errors]:
    """Errors on every set, model.pt, errors.json, pictures and table; rank 0 alone does it."""
    if not run.main:
        return {}
    errors = errors_by_set(model, sets, run, config.data.split_by, config.training.plots, batch_atoms=256)
    card = card.model_copy(update={"held_out_errors": held_out(errors)})
    save_model(run.path / "model.pt", model, card, data.train[0])
    write_errors(run.path, errors)
    run.table(error_table(errors, f"{run.path.name}: kernel on frozen features"))
    return errors
