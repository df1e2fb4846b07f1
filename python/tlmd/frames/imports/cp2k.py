"""CP2K: trajectories PROJECT-pos-1.xyz with the files beside them, and the output of a single calculation.

Units in CP2K's files: energies hartree, forces hartree/bohr, cells and positions A, stress bar (trajectory) or as the
output says. CP2K's stress is the pressure tensor: compressed is positive, ASE's sign is the other. In a run of MD its
.stress holds the kinetic part as well, sum of m v v / V, which is taken off by means of PROJECT-vel-1.xyz.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.geometry import cell_to_cellpar, cellpar_to_cell

from tlmd.frames.frame import Frame
from tlmd.frames.imports.files import content, text
from tlmd.run.errors import InputError
from tlmd.units import A2_FS2_PER_EV_GMOL, ATOMIC_TIME_FS, BAR_PER_EV_A3, BOHR_A, EV_PER_HARTREE

WHAT = "a trajectory of CP2K"
OUTPUT = "an output of CP2K"
COMMENT = re.compile(r"\s*i =\s*(\d+),(?: time =\s*([\d.+-]+),)?\s*(?:time =.*?)?E =\s*([-+.\dEe]+)")
FORCE = EV_PER_HARTREE / BOHR_A  # eV/A
_STRESS_UNITS = {"bar": BAR_PER_EV_A3, "kbar": BAR_PER_EV_A3 / 1e3, "GPa": BAR_PER_EV_A3 / 1e4}
_NUMBER = r"[-+]?\d+\.\d*(?:[Ee][-+]?\d+)?"


class Step(NamedTuple):
    """A step of an xyz file of CP2K: its number, whether it has a time (MD), energy in hartree, symbols, (N, 3)."""

    index: int
    dynamics: bool
    energy: float
    symbols: tuple[str, ...]
    values: np.ndarray


def beside(path: Path) -> dict[str, Path]:
    """The files of the same run that there are, by what they hold: frc, vel, cell, stress, out (by any name)."""
    match = re.fullmatch(r"(.+)-pos(-\d+)\.xyz", path.name)
    if match is None:
        return {}
    project, number = match.groups()
    names = {
        "frc": f"{project}-frc{number}.xyz",
        "vel": f"{project}-vel{number}.xyz",
        "cell": f"{project}{number}.cell",
        "stress": f"{project}{number}.stress",
        "out": f"{project}.out",
    }
    found = {what: path.with_name(name) for what, name in names.items() if path.with_name(name).is_file()}
    if "out" not in found:
        mark = rb"Project name +%b\s" % re.escape(project).encode()
        written = sorted([*path.parent.glob("*.out"), *path.parent.glob("*.log")])
        output = next((file for file in written if re.search(mark, content(file, 8192))), None)
        found |= {} if output is None else {"out": output}
    return found


def read_trajectory(path: Path) -> tuple[list[Frame], list[str]]:
    """The frames of pos-1.xyz with the forces, cells and stresses beside it. InputError for what does not fit.

    Steps are matched by their numbers. Without .cell file the constant cell is that of PROJECT.out.
    """
    found, notes = beside(path), []
    steps = list(read_steps(path))
    output = text(found["out"]) if "out" in found else ""
    if output:
        refuse_unconverged(found["out"], output)
    forces = _by_step(found, "frc", steps)
    cells = {int(row[0]): row[2:11].reshape(3, 3) for row in read_columns(found["cell"], 11)} if "cell" in found else {}
    fixed = None if cells else fixed_cell(path, output)
    stresses, why = _stresses(found, steps, cells, fixed)
    notes += [why] if why else []
    frames = []
    for step in steps:
        cell = cells.get(step.index, None if fixed is None else fixed[0])
        if cell is None:
            raise InputError(f"{path}, step {step.index}: no cell", "the steps of pos in .cell", "print both as often")
        force, stress = forces.get(step.index), stresses.get(step.index)
        frames.append(
            Frame(
                numbers_of(step.symbols, path),
                step.values,
                cell,
                np.ones(3, bool) if fixed is None else fixed[1],
                step.energy * EV_PER_HARTREE,
                None if force is None else force.values * FORCE,
                stress,
                {"step": step.index},
            )
        )
    return frames, notes


def read_steps(path: Path) -> Iterator[Step]:
    """The steps of an xyz file of CP2K. InputError for one that is cut short."""
    lines, at, count = text(path).splitlines(), 0, 0
    while at < len(lines):
        head = COMMENT.match(lines[at + 1]) if at + 1 < len(lines) else None
        size = int(lines[at]) if lines[at].strip().isdecimal() else 0
        rows = [line.split() for line in lines[at + 2 : at + 2 + size]]
        try:
            if head is None or not size or len(rows) < size or len(rows[-1]) < 4:
                raise ValueError("cut short or none of CP2K")
            values = np.array([row[1:4] for row in rows], dtype=float).reshape(size, 3)
        except ValueError as error:
            got = f"{path}, step {count}: {error}"
            raise InputError(got, "whole steps 'i = ..., time = ..., E = ...'", "cut the last step off") from None
        yield Step(int(head[1]), head[2] is not None, float(head[3]), tuple(row[0] for row in rows), values)
        at, count = at + 2 + size, count + 1


def read_columns(path: Path, least: int) -> np.ndarray:
    """(B, k) numbers of a .cell or .stress file."""
    try:
        rows = [line.split() for line in text(path).splitlines() if line.strip() and not line.startswith("#")]
        return np.array([row[:least] for row in rows], dtype=float).reshape(len(rows), least)
    except ValueError:
        raise InputError(f"{path} with a line cut short", f"{least} columns of numbers", "cut that line off") from None


def numbers_of(symbols: tuple[str, ...], path: Path) -> np.ndarray:
    """(N,) atomic numbers; CP2K's kinds may have more letters or digits behind the symbol."""
    found = []
    for symbol in symbols:
        name = re.sub(r"[^A-Za-z].*", "", symbol)
        if not atomic_numbers.get(name):
            raise InputError(f"{path} with a kind {symbol}", "symbols of elements", "rename the kind")
        found.append(atomic_numbers[name])
    return np.array(found)


def refuse_unconverged(path: Path, output: str) -> None:
    """InputError where the output says that a self-consistent field did not converge."""
    found = re.search(r"SCF run NOT converged|Self-consistent.*NOT converged", output)
    if found:
        step = output[: found.start()].count("ENERGY| Total FORCE_EVAL")
        got = f"{path}, {OUTPUT} with an SCF run that did not converge, step {step}"
        raise InputError(got, "converged electronic steps", "converge it, or take that step out and the output away")


def cell_of_output(output: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The cell (3, 3) A of an output, and its periodic directions.

    The vectors have 3 decimals, lengths and angles 6: the vectors give the orientation alone.
    """
    rows = re.findall(
        rf"CELL\| Vector [abc].*?({_NUMBER}) +({_NUMBER}) +({_NUMBER}) +\|[abc]\| = +({_NUMBER})", output
    )[:3]
    angles = re.findall(rf"CELL\| Angle .*?({_NUMBER})\n", output)[:3]
    if len(rows) < 3 or len(angles) < 3:
        return None
    rough = np.array([row[:3] for row in rows], dtype=float)
    u, _, v = np.linalg.svd(np.linalg.solve(cellpar_to_cell(cell_to_cellpar(rough)), rough))
    exact = cellpar_to_cell([*(float(row[3]) for row in rows), *map(float, angles)])
    directions = re.search(r"CELL\| Periodicity\s+(\w+)", output)
    return exact @ (u @ v), np.array([axis in (directions[1] if directions else "XYZ") for axis in "XYZ"])


def fixed_cell(path: Path, output: str) -> tuple[np.ndarray, np.ndarray]:
    """The constant cell of the run of the positions `path`, by its output (or ""). InputError if there is none."""
    changing = re.search(r"Ensemble type +(NP\w+)|Run type +(CELL_OPT)", output)
    fixed = cell_of_output(output)
    if changing is None and fixed is not None:
        return fixed
    got = f"{path} without a cell" + (f", which changes in {changing[1] or changing[2]}" if changing else "")
    do = "print it (MOTION / PRINT / CELL), or for a constant one put the output beside it (PRINT_LEVEL MEDIUM)"
    raise InputError(got, "PROJECT-1.cell of the same run", do)


def _by_step(found: dict[str, Path], what: str, steps: list[Step]) -> dict[int, Step]:
    """The steps of another xyz file by their numbers; InputError if there are fewer than in pos."""
    if what not in found:
        return {}
    others = {step.index: step for step in read_steps(found[what])}
    for step in steps:
        other = others.get(step.index)
        if other is not None and other.symbols != step.symbols:
            raise InputError(f"{found[what]} of other atoms than pos", "one run", "put the files of one run together")
    missing = next((step.index for step in steps if step.index not in others), None)
    if missing is not None:
        got = f"{found[what]} without step {missing}"
        raise InputError(got, "the steps of the positions", "print both as often, or cut the positions to those steps")
    return others


def _stresses(
    found: dict[str, Path], steps: list[Step], cells: dict[int, np.ndarray], fixed: tuple[np.ndarray, np.ndarray] | None
) -> tuple[dict[int, np.ndarray], str | None]:
    """(3, 3) eV/A^3 in ASE's sign by step, without the kinetic part; and why there are none although printed."""
    if "stress" not in found:
        return {}, None
    if fixed is not None and not fixed[1].all():
        return {}, "stress: not read, the cell is not periodic in all directions"
    unit = re.search(r"xx \[(\w+)\]", text(found["stress"]))
    if unit is None or unit[1] not in _STRESS_UNITS:
        raise InputError(f"{found['stress']} in {unit and unit[1]}", f"{', '.join(_STRESS_UNITS)}", "print it in bar")
    rows = read_columns(found["stress"], 11)
    pressures = {int(row[0]): row[2:].reshape(3, 3) / _STRESS_UNITS[unit[1]] for row in rows}
    if not any(step.dynamics for step in steps):
        return {index: -value for index, value in pressures.items()}, None
    if "vel" not in found:
        return {}, (
            "stress: not read, CP2K's .stress of MD holds the kinetic part; print the velocities too (MOTION / PRINT / "
            "VELOCITIES), by which it is taken off"
        )
    stresses = {}
    for index, step in _by_step(found, "vel", steps).items():
        if index in pressures and (index in cells or fixed is not None):
            cell = cells[index] if cells else fixed[0]
            v = step.values * BOHR_A / ATOMIC_TIME_FS  # A/fs; CP2K has bohr and atomic units of time
            mass = atomic_masses[numbers_of(step.symbols, found["vel"])]
            kinetic = (v.T * mass) @ v / A2_FS2_PER_EV_GMOL / abs(np.linalg.det(cell))
            stresses[index] = kinetic - pressures[index]
    return stresses, None


def labels_of_output(output: str) -> tuple[list[float], np.ndarray | None, np.ndarray | None]:
    """Energies of the steps in eV, and forces (N, 3) eV/A and stress (3, 3) eV/A^3 in ASE's sign, if they are there.

    Raises ValueError for a stress in a unit that is not known.
    """
    energies = re.findall(rf"ENERGY\| Total FORCE_EVAL.*?({_NUMBER})", output)
    forces = re.search(r"ATOMIC FORCES in \[a\.u\.\]\s+# Atom.*\n((?:\s*\d+ .*\n)+)", output)
    kinds = ("Analytical", "Numerical")
    found = (re.search(rf"STRESS\| {kind} stress tensor \[(\w+)\].*\n.*\n((?:.*\n){{3}})", output) for kind in kinds)
    stress = next(filter(None, found), None)
    if stress is not None and stress[1] not in _STRESS_UNITS:
        raise ValueError(f"stress in {stress[1]}, none of {', '.join(_STRESS_UNITS)}")
    return (
        [float(energy) * EV_PER_HARTREE for energy in energies],
        forces and np.array([line.split()[-3:] for line in forces[1].strip().splitlines()], float) * FORCE,
        stress and -np.array([line.split()[2:5] for line in stress[2].splitlines()], float) / _STRESS_UNITS[stress[1]],
    )


def read_output(path: Path) -> tuple[list[Frame], list[str]]:
    """The frame of an output of RUN_TYPE ENERGY or ENERGY_FORCE. InputError for one of several steps."""
    output = text(path)
    if "PROGRAM ENDED AT" not in output:
        raise InputError(f"{path}, {OUTPUT} that is cut short", "one with 'PROGRAM ENDED AT'", "let the run end")
    refuse_unconverged(path, output)
    try:
        energies, forces, stress = labels_of_output(output)
    except ValueError as error:
        raise InputError(f"{path} with {error}", "a known unit", "print it in GPa") from None
    if len(energies) != 1:
        got = f"{path}, {OUTPUT} of {len(energies)} steps"
        raise InputError(got, "one step", "read PROJECT-pos-1.xyz (several) or look why it stopped (none)")
    atoms = re.search(r"ATOMIC COORDINATES IN ANGSTROM\s+Atom.*\n((?:\s*\d+ .*\n)+)", output)
    cell = cell_of_output(output)
    if atoms is None or cell is None:
        do = "set PRINT_LEVEL MEDIUM, or read PROJECT-pos-1.xyz"
        raise InputError(f"{path}, {OUTPUT} without coordinates", "those of PRINT_LEVEL MEDIUM", do)
    rows = [line.split() for line in atoms[1].strip().splitlines()]
    numbers, positions = np.array([int(row[3]) for row in rows]), np.array([row[4:7] for row in rows], dtype=float)
    return [Frame(numbers, positions, *cell, energies[0], forces, stress if cell[1].all() else None)], []
