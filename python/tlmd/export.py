"""Export of a trained model to TorchScript with its card, checked against the eager model.

The file also carries a small test cluster with the atom energies and the slopes dE/dr_ij that the eager model gives:
`pair_style tpainn ... check yes` evaluates it in its own libtorch before the first step.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers

from tlmd.baseline.kinds import open_baseline
from tlmd.engine import Engine
from tlmd.graph import Graph, build_graph
from tlmd.modelfile import (
    Card,
    Sample,
    card_and_text,
    compare_card,
    compare_checksum,
    describe,
    is_exported,
    load_model,
    load_sample,
    member_files,
    read_card,
)
from tlmd.models.features.module import load_script
from tlmd.models.network import engine_form
from tlmd.models.potential import Potential, Prediction, evaluate, slopes
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic
from tlmd.run.installed import named_or_path

CLUSTER = 24  # atoms of the test cluster
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # largest deviation in units of the largest value
NATIVE_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}  # with the error of the filter table


def export_model(
    model: Path | str, out: Path | str | None = None, dtype: str | None = None, frames: Sequence[Any] = ()
) -> Path:
    """Write `model` (model.pt) as TorchScript to `out` and return the path. Default: MODEL-lammps.pt beside the model,
    or in the working folder for the name of a shipped one.

    dtype: float32 | float64, default the model's own. frames: real frames (with the attributes of Sample) to compare
    on; default the sample in the model file. The file is written, read back, and its script and, for PaiNN, the native
    engine are compared with the eager model (energy, forces, virial of every frame); on a mismatch InputError is raised
    and no file is left.
    """
    model = Path(model)
    out = Path(out) if out else model.with_name(f"{model.stem}-lammps.pt")
    potential, card = load_model(model)
    if out.resolve() == named_or_path(model).resolve():
        raise InputError(f"--out {out}, the trained model itself", "another file", "choose another --out")
    if dtype not in (None, "float32", "float64"):
        raise InputError(f"dtype {dtype}", "float32 or float64", "correct --dtype")
    if dtype is not None:
        potential.cast(getattr(torch, dtype))
    native = engine_form(potential.net) is not None
    if not native:
        check_range(potential, str(model))
    frames = list(frames) or [f for f in [load_sample(model)] if f is not None]
    if not frames:
        raise InputError(f"{model} without a sample frame", "a real frame to compare on", "give one with --data")
    graphs = [graph_of(frame, potential) for frame in frames]
    add_self_test(potential, frames[0])

    content = script(potential, card)

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        reloaded = load_exported(temporary)[0]
        engine = Engine(reloaded, sample=graphs[0]) if native else None
        for number, graph in enumerate(graphs):
            eager = evaluate(potential, graph)
            compare(eager, evaluate(reloaded, graph), TOLERANCE[potential.dtype], f"frame {number}")
            if engine:
                found, tolerance = engine.evaluate(graph), NATIVE_TOLERANCE[potential.dtype]
                compare(eager, found, tolerance, f"frame {number} (native engine)")

    write_atomic(out, write)
    return out


def export_members(model: Path | str, first: Path, dtype: str | None = None, frames: Sequence[Any] = ()) -> list[Path]:
    """Export the other members of a committee, as export_model does, beside `first`, the exported file of `model`:
    model-lammps.pt, model-2-lammps.pt, ... (or NAME.pt, NAME-2.pt, ...).

    All files; `first` alone where there is no committee, or where its members are not in members/ beside the model.
    """
    members = member_files(named_or_path(model), read_card(model).deviation.get("members", 1))[1:]
    if not all(member.exists() for member in members):
        return [first]
    stem = first.stem.removesuffix("-lammps")
    names = [f"{stem}-{k}{first.stem.removeprefix(stem)}{first.suffix}" for k in range(2, len(members) + 2)]
    others = [
        export_model(member, first.with_name(name), dtype, frames) for member, name in zip(members, names, strict=True)
    ]
    return [first, *others]


def lammps_lines(files: Sequence[Path]) -> list[str]:
    """The lines of a LAMMPS input for an exported model with a baseline, whose files are written beside it, or for the
    members of a committee; none for a model by itself."""
    card, names = read_card(files[0]), " ".join(map(str, files))
    members, lines = card.deviation.get("members", 1), []
    if card.baseline is not None:
        with closing(open_baseline(card.baseline)) as baseline:
            baseline.write(files[0], card.elements)
            lines = baseline.lines(card.kind, names, card.elements)
    elif len(files) > 1:
        lines = [f"pair_coeff * * {names} {' '.join(card.elements)}"]
    if len(files) < members:
        lines.append(f"# the first of {members} members alone: the others are not in members/ beside it")
    return lines


def script(potential: Potential, card: Card) -> bytes:
    """The content of an exported file: the potential as TorchScript, and its card."""
    buffer = io.BytesIO()  # torch's own writer ends the process where a disk is full
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated upstream
        scripted = torch.jit.script(potential)
        extra = {"card.json": describe(potential, card, scripted.state_dict()).model_dump_json(indent=1)}
        torch.jit.save(scripted, buffer, _extra_files=extra)
    return buffer.getvalue()


def graph_of(frame: Any, potential: Potential) -> Graph:
    """The graph of a frame with the elements, cutoff and precision of a potential."""
    return build_graph(
        frame.numbers, frame.positions, frame.cell, frame.pbc, potential.elements, potential.cutoff, potential.dtype
    )


def compare(eager: Prediction, exported: Prediction, tolerance: float, where: str) -> None:
    """InputError if energy, forces or virial of the two predictions differ by more than `tolerance`, relative to the
    largest.
    """
    for name in ("energy", "forces", "virial"):
        a, b = getattr(eager, name), getattr(exported, name)
        deviation = float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))
        if not deviation <= tolerance:
            raise InputError(
                f"{name} of {where} off by {deviation:.1e} after export",
                f"at most {tolerance:.0e}",
                "report this model: the file was not written",
            )


def check_range(potential: Potential, name: str) -> None:
    """InputError unless the feature module of a kernel model states how far its features reach, and keeps to it: along
    a chain of atoms that see their two neighbours alone, those of the first one depend on no pair beyond n_layers.
    """
    n_layers, cutoff = potential.net.n_layers, potential.cutoff
    wanted = "a feature module with n_layers, within which its features depend on other atoms"
    if n_layers < 1:
        raise InputError(f"{name} on a module without n_layers", wanted, "give it that attribute and fit again")
    n_atoms = n_layers + 3
    numbers = np.resize([atomic_numbers[e] for e in potential.elements], n_atoms)
    positions = np.random.default_rng(0).uniform(0.0, 0.2 * cutoff, (n_atoms, 3))
    positions[:, 0] += 0.7 * cutoff * np.arange(n_atoms)
    graph = graph_of(Sample(numbers, positions, np.zeros((3, 3)), np.zeros(3, bool)), potential)
    vectors = graph.vectors.requires_grad_(True)
    try:
        with torch.enable_grad():
            reached = slopes(potential.net.features(graph.species, vectors, graph.neighbours)[0], vectors)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{name}, whose module fails in {potential.dtype} ({why})", "one that runs", "leave out --dtype"
        ) from None
    reached = reached.flatten(1).ne(0).any(1).nonzero()
    if len(reached) and int(reached.max()) >= n_layers:
        raise InputError(
            f"features that depend on atoms {int(reached.max()) + 1} pairs away and n_layers {n_layers} in {name}",
            wanted,
            "correct n_layers of the module (no means over all atoms) and fit again",
        )


def add_self_test(potential: Potential, frame: Any) -> None:
    """Give the potential the buffers test_species (n,), test_neighbours (n, k), test_vectors, test_slopes (n, k, 3) and
    test_energies (n,) eV.

    The cluster: the CLUSTER atoms nearest to the first atom, cut out of the frame without its periodic images.
    """
    shift = frame.positions - frame.positions[0]
    if np.all(frame.pbc):
        shift -= np.round(shift @ np.linalg.inv(frame.cell)) @ frame.cell
    nearest = np.argsort(np.linalg.norm(shift, axis=1))[:CLUSTER]
    cluster = Sample(np.asarray(frame.numbers)[nearest], shift[nearest], np.zeros((3, 3)), np.zeros(3, bool))
    graph = graph_of(cluster, potential)
    vectors = graph.vectors.requires_grad_(True)
    with torch.enable_grad():
        energies = potential(graph.species, vectors, graph.neighbours)
    tensors = {"species": graph.species, "neighbours": graph.neighbours, "vectors": vectors.detach()}
    tensors |= {"slopes": slopes(energies, vectors), "energies": energies.detach()}
    for name, tensor in tensors.items():
        potential.register_buffer(f"test_{name}", tensor)


def load_exported(path: Path | str, device: str = "cpu") -> tuple[torch.jit.ScriptModule, Card]:
    """An exported model as a callable (species, vectors, neighbours) -> atom energies, for
    models.potential.evaluate.
    """
    card, text = card_and_text(path)
    refusal = (f"{path}, not an exported model or damaged", "a file written by tl-export", "run `tl-export model.pt`")
    module = load_script(path, refusal, device)
    compare_checksum(path, text, module.state_dict())
    compare_card(path, card, module)
    return module, card


def load_any(path: Path | str, device: str = "cpu") -> tuple[torch.nn.Module, Card]:
    """A trained or an exported model and its card, ready for models.potential.evaluate."""
    read_card(path)
    if is_exported(path):
        return load_exported(path, device)
    potential, card = load_model(path)
    return potential.to(device), card


def sample_graph(path: Path | str, model: torch.nn.Module) -> Graph | None:
    """A real frame for choosing the engine's filter table: the test cluster of an exported file, else the sample of a
    trained one.
    """
    if is_exported(path):
        species, neighbours, vectors = model.test_species, model.test_neighbours, model.test_vectors
        frame, volumes = torch.zeros(len(species), dtype=torch.long), torch.zeros(1, dtype=torch.float64)
        return Graph(species, neighbours, vectors, frame, volumes)
    sample = load_sample(path)
    return sample and graph_of(sample, model)
