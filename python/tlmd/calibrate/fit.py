"""tl-calibrate: a classical water model is matched to a few DFT frames, to be the teacher of a network.

Every term is linear in its coefficients (tlmd.calibrate.terms), so that the fit is one regularised least-squares
solution. It is written as a LAMMPS include (tlmd.calibrate.forcefield), and LAMMPS itself gives the errors that are
reported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tlmd.calibrate.config import CalibrateConfig
from tlmd.calibrate.forcefield import charges, molecule, write_forcefield
from tlmd.calibrate.frames import frames_by_set
from tlmd.calibrate.least_squares import Normal, fit
from tlmd.calibrate.molecular import calibrate_field
from tlmd.calibrate.splines import MARGIN_A
from tlmd.calibrate.terms import PAIRS, Design, Molecules, Terms, molecules_of
from tlmd.evaluate.errors import Errors
from tlmd.evaluate.table import error_table, show_finished, sums_of, write_errors
from tlmd.frames.frame import Frame
from tlmd.generate.teachers.calibrated import Calibrated, CalibratedConfig
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder


def calibrate(config: CalibrateConfig, out: Path) -> dict[str, Errors]:
    """Write forcefield.in, forcefield.table and errors.json into the run folder; the errors by set, evaluated by LAMMPS
    with energies moved by one constant per atom. With `field` see `calibrate_field`.

    Frames in which a proton has left its molecule are left out. Raises InputError for frames that are not water, too
    few of them, or a fit that gives no stable molecule.
    """
    if config.field is not None:
        return calibrate_field(config, out)
    data = config.data
    with RunFolder(out, "calibrate", config, ("forcefield.in", "forcefield.table", "errors.json")) as run:
        if run.finished:
            return show_finished(run)
        frames = frames_by_set(config)
        sets = {name: whole(mine) for name, mine in frames.items()}
        usable = sets["train"]
        if not usable or not any(has_labels(frame, config) for frame, _ in usable):
            raise InputError(f"{len(usable)} frames of whole molecules with labels", "at least one", "give more frames")
        terms = Terms(config.terms)
        designs = [terms.design(molecules, frame.cell) for frame, molecules in usable]
        mean = np.mean([frame.energy / len(frame) for frame, _ in usable if frame.energy is not None] or [0.0])
        equations = [normal(*pair, terms, config, mean) for pair in zip(designs, usable, strict=True)]
        strength, coefficients = solve(equations, terms, config.strengths)
        nearest = shortest_pairs(designs, config) - MARGIN_A

        def write(folder: Path) -> Path:
            text, n = f"strength {strength:g}", len(usable)
            return write_forcefield(folder, terms, coefficients, nearest, data.level_of_theory, n, text)

        bond, angle, _, _ = molecule(coefficients)
        run.say(
            f"{len(usable)} of {len(frames['train'])} frames, {terms.size} coefficients, regularisation times "
            f"{strength:g}; "
            f"charge of O {charges(coefficients)[0]:.3f} e, bond {bond[0]:.3f} A, angle {angle[0]:.1f} degrees"
        )
        with tempfile.TemporaryDirectory() as folder:
            errors, difference = measure(write(Path(folder)), sets, designs, coefficients)
        refuse_not_finite(errors)
        run.say(f"{write(run.path)}: LAMMPS and the fit agree within {difference:.1e} eV/A")
        write_errors(run.path, errors)
        run.finish(errors=sums_of(errors))
        run.table(error_table(errors, f"{run.path.name}: energies moved by one constant per atom"))
        return errors


def shortest_pairs(designs: Sequence[Design], config: CalibrateConfig) -> np.ndarray:
    """The shortest intermolecular O-O, O-H and H-H distances (3,) A; InputError if the splines do not reach one."""
    nearest = np.min([design.nearest for design in designs], axis=0)
    if missing := [name for name, length in zip(PAIRS, nearest, strict=True) if not np.isfinite(length)]:
        got = f"no {' and no '.join(f'{a}-{b}' for a, b in missing)} distance of two molecules below terms.cutoff_A"
        raise InputError(f"{got} = {config.terms.cutoff_A:g}", "one in the training frames", "raise terms.cutoff_A")
    return nearest


def refuse_not_finite(errors: dict[str, Errors]) -> None:
    """InputError for an error that is no finite number: such a force field is not written."""
    for name, found in errors.items():
        for key, value in found.to_json().items():
            if value is not None and not np.isfinite(value):
                raise InputError(f"{key} = {value} on the {name} frames", "a finite number", "change `terms`")


def whole(frames: Sequence[Frame]) -> list[tuple[Frame, Molecules]]:
    """The frames in which every proton is with its molecule, and their molecules."""
    return [(frame, molecules) for frame in frames if (molecules := molecules_of(frame)) is not None]


def has_labels(frame: Frame, config: CalibrateConfig) -> bool:
    """Whether the fit can learn from a frame."""
    return bool((config.energy and frame.energy is not None) or (config.forces and frame.forces is not None))


def normal(
    design: Design, labelled: tuple[Frame, Molecules], terms: Terms, config: CalibrateConfig, mean: float
) -> Normal:
    """Equations of one frame for the change from the prior; the last unknown is a constant energy per atom, `mean` eV
    taken away before.

    The energy per atom weighs as much as all force components of the frame together.
    """
    frame, molecules = labelled
    n = len(frame)
    rows, values = [np.zeros((0, terms.size + 1))], [np.zeros(0)]
    if config.forces and frame.forces is not None:
        weight = np.sqrt(config.forces)
        rest = frame.forces[molecules.atoms].ravel() - design.fixed_forces - design.forces @ terms.prior
        rows.append(weight * np.pad(design.forces, ((0, 0), (0, 1))))
        values.append(weight * rest)
    if config.energy and frame.energy is not None:
        weight = np.sqrt(config.energy * 3 * n)
        rows.append(weight * np.append(design.energy / n, 1.0)[None])
        values.append([weight * ((frame.energy - design.fixed_energy - design.energy @ terms.prior) / n - mean)])
    a, y = np.concatenate(rows), np.concatenate(values)
    return Normal.of(a, y)


def solve(equations: Sequence[Normal], terms: Terms, strengths: Sequence[float]) -> tuple[float, np.ndarray]:
    """The strength that predicts left-out frames best, and the coefficients (P,) by all frames.

    A larger strength is taken where the molecule of the best one would have no stable shape.
    """
    rows = np.pad(terms.regularisation(), ((0, 0), (0, 1)))
    constant = np.zeros((terms.size + 1,) * 2)
    constant[-1, -1] = 1e-12  # where no label has an energy

    def stable(change: np.ndarray) -> bool:
        coefficients = terms.prior + change[:-1]
        try:
            molecule(coefficients)
        except InputError:
            return False
        return coefficients[-1] > 0

    strength, change = fit(equations, rows.T @ rows, constant, strengths, stable)
    return strength, terms.prior + change[:-1]


def measure(
    include: Path,
    sets: dict[str, list[tuple[Frame, Molecules]]],
    designs: Sequence[Design],
    coefficients: np.ndarray,
) -> tuple[dict[str, Errors], float]:
    """Errors by set from LAMMPS with the include, and its largest difference (eV/A) from the fit on the fitted frames.

    The constant energy per atom is the mean over the training frames.
    """
    teacher = Calibrated(CalibratedConfig(name="calibrated", include=include))
    errors, shift, difference = {}, None, 0.0
    for name, pairs in sets.items():
        labelled = [teacher.label(ordered(*pair)) for pair in pairs]
        if name == "train":
            for design, label in zip(designs, labelled, strict=True):
                fit = design.fixed_forces + design.forces @ coefficients
                difference = max(difference, float(np.abs(label.forces.ravel() - fit).max()))
        energies = [
            [frame.energy / len(frame), label.energy / len(frame)]
            for (frame, _), label in zip(pairs, labelled, strict=True)
            if frame.energy is not None
        ]
        errors[name] = Errors(n_frames=len(pairs))
        if energies:
            table = torch.tensor(energies)
            shift = (table[:, 0] - table[:, 1]).mean() if shift is None else shift
            errors[name].add("energy", table + torch.tensor([0.0, float(shift)]))
        for (frame, molecules), label in zip(pairs, labelled, strict=True):
            if frame.forces is not None:
                both = np.stack([frame.forces[molecules.atoms].ravel(), label.forces.ravel()], axis=1)
                errors[name].add("forces", torch.from_numpy(both))
    teacher.close()
    return errors, difference


def ordered(frame: Frame, molecules: Molecules) -> Frame:
    """The frame as O H H, O H H, ... without labels."""
    numbers = np.tile([8, 1, 1], len(frame) // 3)
    return Frame(numbers, molecules.positions.reshape(-1, 3), frame.cell, frame.pbc)
