"""LAMMPS text dumps -> arrays of unwrapped positions and cells in A."""

from __future__ import annotations

import gzip
import lzma
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from tlmd.run.errors import InputError, nearest
from tlmd.units import LAMMPS_UNITS

# Column names of a position, with and without image flags; the first complete set in this order is read.
POSITION_COLUMNS = (("xu", "yu", "zu"), ("x", "y", "z"), ("xsu", "ysu", "zsu"), ("xs", "ys", "zs"))
IMAGE_COLUMNS = ("ix", "iy", "iz")
VELOCITY_COLUMNS = ("vx", "vy", "vz")
LARGEST_STEP = 0.15  # r.m.s. displacement between frames, in box lengths, above which wrapped positions are ambiguous


@dataclass(frozen=True)
class Trajectory:
    """T frames of N atoms, sorted by atom id."""

    path: Path
    steps: np.ndarray  # (T,) MD steps, increasing
    times_fs: np.ndarray | None  # (T,) when the dump has `ITEM: TIME` and `ITEM: UNITS`
    species: np.ndarray  # (N,) element symbols, or the LAMMPS types as strings
    masses: np.ndarray | None  # (N,) g/mol; None when neither masses nor elements are known
    positions: np.ndarray  # (T, N, 3) unwrapped, A
    cells: np.ndarray  # (T, 3, 3) rows are the box vectors, A
    periodic: np.ndarray  # (3,) bool
    units: str | None  # LAMMPS unit style when the dump states it
    velocities: np.ndarray | None = None  # (T, N, 3) in LAMMPS' unit; None without vx vy vz
    charges: np.ndarray | None = None  # (N,) e, of the first frame; None without q

    @property
    def volumes(self) -> np.ndarray:
        """(T,) box volumes in A^3."""
        return np.abs(np.linalg.det(self.cells))

    def after(self, first: int) -> Trajectory:
        """The frames from index `first` on."""
        times = None if self.times_fs is None else self.times_fs[first:]
        parts = {name: getattr(self, name)[first:] for name in ("steps", "positions", "cells")}
        velocities = None if self.velocities is None else self.velocities[first:]
        return replace(self, times_fs=times, velocities=velocities, **parts)


@dataclass
class _Frame:
    step: int = -1
    time: float | None = None
    units: str | None = None
    n_atoms: int = -1
    cell: np.ndarray | None = None  # (3, 3)
    origin: np.ndarray | None = None  # (3,)
    periodic: np.ndarray | None = None  # (3,)
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


class _CutShort(Exception):
    """The file ends inside a frame."""


def complete_lines(path: Path) -> Iterator[str]:
    """The lines of a plain, .gz or .xz text file; a last line without its newline (a killed run) is left out.

    Raises InputError for a compressed file that is damaged, OSError for one that cannot be opened.
    """
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(Path(path).suffix, open)
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        try:
            for line in file:
                if line.endswith("\n"):
                    yield line
        except EOFError:  # compressed stream of a run that was killed
            return
        except (lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{path} ({error})", f"a valid {path.suffix} file", "compress or copy it again") from None


def read_dump(path: str | Path, elements: Sequence[str] | None = None) -> Trajectory:
    """Read `dump custom` text (plain, .gz, .xz; orthogonal or triclinic box) into unwrapped positions.

    Columns: id, type or element, one of xu yu zu | x y z [ix iy iz] | xsu ysu zsu | xs ys zs [ix iy iz], and mass,
    vx vy vz, q. `elements` names the types 1, 2, ... as in pair_coeff. A last frame that is cut short is dropped with a
    warning.
    Raises InputError for a file that is no such dump, or whose atoms change.
    """
    path = Path(path)
    frames: list[tuple[_Frame, np.ndarray]] = []  # with (N, 3), or (N, 6) of position and velocity
    lines = complete_lines(path)
    reader: _Atoms | None = None
    for line in lines:
        try:
            frame = _read_frame(path, line, lines)
        except _CutShort:
            warnings.warn(f"{path}: the last frame is incomplete and is left out", stacklevel=2)
            break
        reader = reader or _Atoms(path, frame, elements)
        positions = reader.positions(frame)
        frame.rows = ()
        if frames and frame.step <= frames[-1][0].step:
            if frame.step < frames[-1][0].step:
                raise InputError(
                    f"{path}: step {frame.step} after step {frames[-1][0].step}", "increasing steps", "split the dump"
                )
            frames.pop()  # a restarted run wrote its first frame again
        frames.append((frame, positions))
    if not frames:
        raise InputError(f"{path} without a complete frame", "a LAMMPS text dump", "check that the run wrote it")
    return _assemble(path, frames, reader)


def unwrap(positions: np.ndarray, cells: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """(T, N, 3) unwrapped positions from wrapped ones: minimum-image displacements between frames, added up.

    cells (T, 3, 3) may change: the sum of displacements is the scheme that keeps diffusion right at constant pressure
    (von Buelow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101, 2020). Raises InputError when frames are too far apart.
    """
    fractional = positions @ np.linalg.inv(cells)
    fractional = fractional - np.floor(fractional) * periodic
    wrapped = fractional @ cells
    move = np.diff(wrapped, axis=0)
    scaled = move @ np.linalg.inv(cells[1:])
    images = np.rint(scaled) * periodic
    rms = np.sqrt(np.mean((scaled - images) ** 2)) if len(move) else 0.0
    if rms > LARGEST_STEP:
        raise InputError(
            f"wrapped positions that move {rms:.2f} box lengths between frames",
            f"less than {LARGEST_STEP}",
            "dump more often, or dump xu yu zu",
        )
    unwrapped = wrapped.copy()
    unwrapped[1:] = wrapped[0] + np.cumsum(move - images @ cells[1:], axis=0)
    return unwrapped


def _read_frame(path: Path, line: str, lines: Iterator[str]) -> _Frame:
    """The frame whose first line is `line`; raises _CutShort when the file ends inside it."""

    def following() -> str:
        text = next(lines, None)
        if text is None:
            raise _CutShort
        return text

    frame = _Frame()
    while True:
        if not line.startswith("ITEM: "):
            raise InputError(f"{path}: line '{line.strip()[:40]}'", "a LAMMPS text dump (ITEM: ...)", "use dump custom")
        item = line[len("ITEM: ") :].strip()
        try:
            if item == "UNITS":
                frame.units = following().strip()
            elif item == "TIME":
                frame.time = float(following())
            elif item == "TIMESTEP":
                frame.step = int(following())
            elif item == "NUMBER OF ATOMS":
                frame.n_atoms = int(following())
            elif item.startswith("BOX BOUNDS"):
                flags = item.split()[2:]
                bounds = np.array([following().split() for _ in range(3)], dtype=float)
                frame.cell, frame.origin = _cell(path, bounds, flags)
                if not (np.all(np.isfinite(bounds)) and np.linalg.det(frame.cell) > 0):
                    raise InputError(f"{path}: a box without volume at step {frame.step}", "edges above 0", "run again")
                frame.periodic = np.array([flag == "pp" for flag in flags[-3:]] if len(flags) >= 3 else [True] * 3)
            elif item.startswith("ATOMS"):
                frame.columns = tuple(item.split()[1:])
                frame.rows = tuple(islice(lines, max(frame.n_atoms, 0)))
                if len(frame.rows) < frame.n_atoms:
                    raise _CutShort
                break
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: {error} under ITEM: {item}", "numbers", "write the dump again") from None
        line = following()
    if frame.cell is None or frame.n_atoms < 1 or frame.step < 0:
        raise InputError(f"{path}: a frame without box, atoms or step", "a LAMMPS text dump", "use dump custom")
    return frame


def _cell(path: Path, bounds: np.ndarray, flags: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Box vectors (3, 3) and origin (3,) from the BOX BOUNDS lines, orthogonal or restricted triclinic."""
    if "abc" in flags:
        raise InputError(
            f"{path}: a general triclinic box", "orthogonal or restricted triclinic", "drop triclinic/general"
        )
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    low = bounds[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = bounds[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    edge = high - low
    return np.array([[edge[0], 0.0, 0.0], [xy, edge[1], 0.0], [xz, yz, edge[2]]]), low


class _Atoms:
    """How the ATOMS columns of one dump become positions; fixed by its first frame."""

    def __init__(self, path: Path, frame: _Frame, elements: Sequence[str] | None):
        self.path, self.columns = path, frame.columns
        kinds = [names for names in POSITION_COLUMNS if set(names) <= set(self.columns)]
        if not kinds or "id" not in self.columns or not {"element", "type"} & set(self.columns):
            raise InputError(
                f"{path}: columns {' '.join(self.columns)}", "id, type or element, and xu yu zu or x y z", "add them"
            )
        self.names = kinds[0]
        self.scaled = self.names[0].startswith("xs")
        self.images = not self.names[0].endswith("u") and set(IMAGE_COLUMNS) <= set(self.columns)
        self.wrapped = not self.names[0].endswith("u") and not self.images
        self.moving = set(VELOCITY_COLUMNS) <= set(self.columns)
        wanted = ["id", *self.names, *(IMAGE_COLUMNS if self.images else ())]
        wanted += VELOCITY_COLUMNS if self.moving else ()
        self.usecols = [self.columns.index(name) for name in wanted]
        ids = self._numbers(frame, self.usecols[:1])[:, 0]
        order = np.argsort(ids)
        self.ids = ids[order]
        if not np.all(np.isfinite(ids)) or np.any(np.diff(self.ids) <= 0) or np.any(ids % 1):
            raise InputError(f"{path}: ids that are no different whole numbers", "the ids of LAMMPS", "dump again")
        words = [frame.rows[i].split() for i in order]
        if any(len(word) != len(self.columns) for word in words):
            raise InputError(
                f"{path}: rows of other than {len(self.columns)} columns", f"{' '.join(self.columns)}", "dump again"
            )
        self.species = self._species(words, elements)
        self.masses = self._masses(frame)
        self.charges = self._numbers(frame, [self.columns.index("q")])[order, 0] if "q" in self.columns else None

    def _numbers(self, frame: _Frame, columns: list[int]) -> np.ndarray:
        try:
            return np.loadtxt(frame.rows, usecols=columns, ndmin=2, comments=None)
        except ValueError as error:
            raise InputError(
                f"{self.path}: step {frame.step}: {error}", "numbers in every column", "write the dump again"
            ) from None

    def _species(self, words: list[list[str]], elements: Sequence[str] | None) -> np.ndarray:
        if "element" in self.columns and not elements:
            return np.array([word[self.columns.index("element")] for word in words])
        if "type" not in self.columns:
            raise InputError(f"{self.path}: no column type", "one, for --elements", "leave out --elements")
        types = [word[self.columns.index("type")] for word in words]
        if not elements:
            return np.array(types)
        odd = next((word for word in types if not word.isdecimal() or int(word) < 1), None)
        if odd is not None:
            raise InputError(f"{self.path}: type {odd}", "numbers from 1, for --elements", "leave out --elements")
        largest = max(map(int, types))
        if largest > len(elements):
            raise InputError(f"{len(elements)} elements", f"one for each of {largest} types", "name them all")
        unknown = [name for name in elements if name not in atomic_numbers]
        if unknown:
            raise InputError(f"element {unknown[0]}{nearest(unknown[0], atomic_numbers)}", "a symbol", "correct it")
        return np.array([elements[int(kind) - 1] for kind in types])

    def _masses(self, frame: _Frame) -> np.ndarray | None:
        if "mass" in self.columns:
            masses = self._numbers(frame, [self.usecols[0], self.columns.index("mass")])
            masses = masses[np.argsort(masses[:, 0]), 1]
            if not (np.all(np.isfinite(masses)) and np.all(masses > 0)):
                raise InputError(f"{self.path}: masses that are not above 0", "masses in g/mol", "dump again")
            return masses
        if all(name in atomic_numbers for name in self.species):
            return np.array([atomic_masses[atomic_numbers[name]] for name in self.species])
        return None

    def positions(self, frame: _Frame) -> np.ndarray:
        """(N, 3) in A, sorted by id, relative to the box origin; (N, 6) with the velocities, where there are some."""
        if frame.columns != self.columns or frame.n_atoms != len(self.ids):
            raise InputError(
                f"{self.path}: {frame.n_atoms} atoms, columns {' '.join(frame.columns)} at step {frame.step}",
                f"{len(self.ids)} atoms and the columns of the first frame",
                "analyse a run of constant composition",
            )
        values = self._numbers(frame, self.usecols)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{self.path}: nan or inf at step {frame.step}", "finite positions", "the run is unstable")
        values = values[np.argsort(values[:, 0])]
        if not np.array_equal(values[:, 0], self.ids):
            raise InputError(
                f"{self.path}: other atom ids at step {frame.step}", "the same atoms", "dump a fixed group"
            )
        positions = values[:, 1:4] @ frame.cell if self.scaled else values[:, 1:4] - frame.origin
        positions = positions + values[:, 4:7] @ frame.cell if self.images else positions
        return np.concatenate([positions, values[:, -3:]], axis=1) if self.moving else positions


def _assemble(path: Path, frames: list[tuple[_Frame, np.ndarray]], reader: _Atoms) -> Trajectory:
    first = frames[0][0]
    if first.units is not None and first.units not in LAMMPS_UNITS:
        raise InputError(f"{path}: units {first.units}", " or ".join(LAMMPS_UNITS), "run in one of these")
    positions = np.array([position for _, position in frames])
    positions, velocities = (positions[..., :3], positions[..., 3:]) if reader.moving else (positions, None)
    cells = np.array([frame.cell for frame, _ in frames])
    if reader.wrapped or not np.allclose(cells, cells[0], rtol=1e-9, atol=1e-9):
        positions = unwrap(positions, cells, first.periodic)
    times = None
    if first.units and all(frame.time is not None for frame, _ in frames):
        times = np.array([frame.time for frame, _ in frames]) * LAMMPS_UNITS[first.units]["time_fs"]
    steps = np.array([frame.step for frame, _ in frames])
    rest = first.periodic, first.units, velocities, reader.charges
    return Trajectory(path, steps, times, reader.species, reader.masses, positions, cells, *rest)
