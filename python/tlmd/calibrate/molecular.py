"""tl-calibrate with `field`: the user's force field of any molecules is corrected to match a few DFT frames."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tlmd.calibrate.config import CalibrateConfig
from tlmd.calibrate.corrections import Corrections
from tlmd.calibrate.frames import frames_by_set
from tlmd.calibrate.geometry import BROKEN, Geometry
from tlmd.calibrate.given import Given
from tlmd.calibrate.least_squares import fit
from tlmd.evaluate.errors import Errors
from tlmd.evaluate.table import error_table, show_finished, sums_of, write_errors
from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.teachers.calibrated import INCLUDE, TABLE
from tlmd.generate.teachers.lammps import Lammps
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder

AGREED_EV_A = 0.01  # of forces by the fit and by LAMMPS with the include


def calibrate_field(config: CalibrateConfig, out: Path) -> dict[str, Errors]:
    """Write forcefield.in, an include for the teacher `lammps` with the same data file, forcefield.table and
    errors.json into the run folder; the errors by set, of this and of the given force field (`before`), by LAMMPS with
    energies moved by one constant per species.

    Frames with a bond 1.6 times as long as in the data file are left out. Raises InputError for frames of other
    molecules, styles that cannot be corrected, and fewer labels than coefficients.
    """
    data, results = config.data, (INCLUDE, *([TABLE] if "pairs" in config.field.correct else []), "errors.json")
    with RunFolder(out, "calibrate", config, results) as run:
        if run.finished:
            return show_finished(run)
        given = Given(config.field)
        try:
            sets, count = read_sets(config, given.teacher)
            terms = Corrections(given, config, sets["train"])
            refuse_few(sets["train"], terms, config)
            strength, change, designs = solve(sets["train"], terms, config)
            used = len(sets["train"])
            note = f"matched to {data.level_of_theory} by tl-calibrate: {used} frames, strength {strength:g}"
            kept = f"; as given: {', '.join(terms.kept)}" if terms.kept else ""
            numbers = f"{used} of {count} frames, {terms.size} coefficients, regularisation times {strength:g}"
            run.say(f"{numbers}{kept}")
            before = errors_of(given.teacher, sets, [prior for prior, _ in designs])[0]
            with tempfile.TemporaryDirectory() as folder:
                include = terms.write(Path(folder), change, note)
                with contextlib.closing(config.field.teacher(include)) as teacher:
                    after, labelled = errors_of(teacher, sets)
            refuse_different(designs, labelled, terms.factors(change))
            include = terms.write(run.path, change, note)
            run.say(f"{include}: an include for the teacher lammps with {config.field.data}")
        finally:
            given.close()
        errors = after | {f"{name} before": each for name, each in before.items()}
        write_errors(run.path, errors)
        run.finish(errors=sums_of(errors))
        run.table(error_table(errors, f"{run.path.name}: energies moved by one constant per species"))
        return errors


def read_sets(config: CalibrateConfig, teacher: Lammps) -> tuple[dict[str, list[Geometry]], int]:
    """The frames of whole molecules by set, and how many of the training frames were chosen. InputError if none of them
    is whole."""
    frames = frames_by_set(config)
    sets = {name: geometries(mine, teacher, f"data.{name}") for name, mine in frames.items()}
    if not sets["train"]:
        got = f"no frame of whole molecules among {len(frames['train'])} of {config.data.train}"
        raise InputError(got, f"bonds shorter than {BROKEN:g} times those of the data file", "give more frames")
    return sets, len(frames["train"])


def geometries(frames: Sequence[Frame], teacher: Lammps, key: str) -> list[Geometry]:
    """The frames whose bonds are whole. InputError for one with other molecules than the data file."""
    found = []
    for k, frame in enumerate(frames):
        try:
            composition, patterns = teacher.parts(frame)
        except Unsuited as error:
            got = f"frame {k} of {key} with {error.why}"
            wanted = f"molecules of {teacher.config.data.name}, atoms in its order"
            raise InputError(got, wanted, "order the atoms so, or leave the frame out") from None
        kinds = np.array([teacher.number(kind) for pattern in patterns for kind in pattern.types])
        geometry = Geometry(frame, composition, patterns, kinds)
        if geometry.longest < BROKEN:
            found.append(geometry)
    return found


def refuse_few(train: Sequence[Geometry], terms: Corrections, config: CalibrateConfig) -> None:
    """InputError if there are fewer labels than coefficients."""
    labels = 0
    for frame in (geometry.frame for geometry in train):
        labels += 3 * len(frame) * bool(config.forces and frame.forces is not None)
        labels += bool(config.energy and frame.energy is not None)
        labels += 6 * bool(config.stress and frame.stress is not None)
    if labels < terms.size:
        got = f"{labels} labels of {len(train)} frames of whole molecules for {terms.size} coefficients"
        raise InputError(got, "no fewer labels", "give more frames, raise terms.spacing_A, or shorten field.correct")


def solve(train: Sequence[Geometry], terms: Corrections, config: CalibrateConfig):
    """Strength, change of the coefficients, and the designs of the frames, see `Corrections.design`."""
    designs = [terms.design(geometry) for geometry in train]
    energies = species_energies(train, [prior for prior, _ in designs])
    equations = [terms.normal(g, *design, energies) for g, design in zip(train, designs, strict=True)]
    strength, change = fit(equations, *terms.penalty(), config.strengths, terms.stable, terms.curve)
    return strength, change, designs


def species_energies(sets: Sequence[Geometry], labelled: Sequence[Frame]) -> np.ndarray:
    """(S,) eV for each molecule of a species, by which the labels of the frames lie above others, in the mean."""
    known = [k for k, geometry in enumerate(sets) if geometry.frame.energy is not None]
    if not known:
        return np.zeros(len(sets[0].counts))
    counts = np.array([sets[k].counts / len(sets[k]) for k in known])
    rest = [(sets[k].frame.energy - labelled[k].energy) / len(sets[k]) for k in known]
    return np.linalg.lstsq(counts, np.array(rest), rcond=1e-9)[0]


def errors_of(
    teacher: Lammps, sets: dict[str, list[Geometry]], train: Sequence[Frame] | None = None
) -> tuple[dict[str, Errors], list[Frame]]:
    """Errors of a teacher by set, and its labels of the training frames, which may be given."""
    errors, energies = {}, None
    for name, mine in sets.items():
        known = train if name == "train" and train is not None else [teacher.label(each.frame) for each in mine]
        if name == "train":
            train, energies = known, species_energies(mine, known)
        errors[name] = Errors(n_frames=len(mine))
        for geometry, label in zip(mine, known, strict=True):
            frame, n = geometry.frame, len(geometry)
            if frame.energy is not None:
                moved = label.energy + geometry.counts @ energies
                errors[name].add("energy", torch.tensor([[frame.energy / n, moved / n]], dtype=torch.float64))
            if frame.forces is not None:
                errors[name].add("forces", _pairs(frame.forces, label.forces))
            if frame.stress is not None and label.stress is not None:
                errors[name].add("stress", _pairs(frame.stress, label.stress))
                errors[name].add("pressure", _pairs(*(-np.trace(each.stress)[None] / 3 for each in (frame, label))))
    return errors, list(train or ())


def _pairs(label: np.ndarray, found: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([label.ravel(), found.ravel()], axis=1))


def refuse_different(designs, labelled: Sequence[Frame], factors: np.ndarray) -> None:
    """InputError where LAMMPS with the include does not give the forces of the fit."""
    difference = max(
        float(np.abs(label.forces - prior.forces - columns.forces @ factors).max())
        for (prior, columns), label in zip(designs, labelled, strict=True)
    )
    if not difference < AGREED_EV_A:
        got = f"forces of LAMMPS and of the fit that differ by {difference:.1e} eV/A"
        wanted = f"less than {AGREED_EV_A:g}: terms that add up, and charges that enter as a product of two"
        raise InputError(got, wanted, "set the accuracy of kspace_style to 1e-6, or shorten field.correct")
