"""A run in parts, one for each start of LAMMPS: their logs and dumps as one, without doubled steps.

A part begins at the step of the restart file that it read. What an earlier part had written beyond it is left out.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlmd.analysis.trajectory import complete_lines
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic, write_text

LOG, DUMP = "md.log", "md.dump.gz"
MAGIC = b"LammpS RestartT\0"  # the first and the last thing that LAMMPS writes into a restart file


class Table(NamedTuple):
    """The thermo rows of a log: head and lines as LAMMPS wrote them, steps (R,)."""

    head: str
    lines: list[str]
    steps: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """(R,) of one column; empty where there is none."""
        names = self.head.split()
        if name not in names:
            return np.zeros(0)
        return np.array([float(line.split()[names.index(name)]) for line in self.lines])


def number_of(path: Path) -> int:
    """The number of the part that wrote md.N.log or md.N.dump."""
    return int(path.name.split(".")[1])


def parts_of(folder: Path, suffix: str) -> list[Path]:
    """The logs or dumps of the parts, in order."""
    found = [path for path in folder.glob(f"md.*.{suffix}") if re.fullmatch(rf"md\.\d+\.{suffix}", path.name)]
    return sorted(found, key=number_of)


def newest_restart(folder: Path) -> Path | None:
    """The restart file that was written last; one that was cut short by a kill is passed over."""
    files = sorted(folder.glob("restart_*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next((path for path in files if _whole(path)), None)


def _whole(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.tell() > 0 and file.read() == MAGIC


def read_table(path: Path) -> Table:
    """All rows of a log, of steps that were done again the last ones; of a log without any, none."""
    head, lines, inside = "", [], False
    for line in complete_lines(path):
        words = line.split()
        if words[:1] == ["Step"]:
            head, inside = line, True
        elif line.startswith("Loop time of"):
            inside = False
        elif inside and len(words) == len(head.split()) and _numbers(words):
            while lines and int(lines[-1].split()[0]) >= int(words[0]):
                lines.pop()
            lines.append(line)
    return Table(head, lines, np.array([int(line.split()[0]) for line in lines], dtype=np.int64))


def _numbers(words: Sequence[str]) -> bool:
    try:
        return all(float(word) is not None for word in words)
    except ValueError:
        return False


def joined_table(folder: Path) -> Table:
    """The rows of all parts, each step once."""
    tables = [read_table(path) for path in parts_of(folder, "log")]
    starts = starts_of(tables)
    head, lines, last = "", [], -1
    for table, until in zip(tables, starts, strict=True):
        head = table.head or head
        for step, line in zip(table.steps, table.lines, strict=True):
            if last < step < until:
                lines.append(line)
                last = step
    return Table(head, lines, np.array([int(line.split()[0]) for line in lines], dtype=np.int64))


def starts_of(tables: Sequence[Table]) -> list[float]:
    """For each part the step at which what it wrote ends to count: where a later one began."""
    firsts = [table.steps[0] if len(table.steps) else np.inf for table in tables]
    return [min(firsts[index + 1 :], default=np.inf) for index in range(len(tables))]


def write_log(folder: Path, header: str, n_atoms: int, first: int, every: int) -> Path:
    """md.log: the rows of the recorded steps of all parts, those from `first` on at the interval `every`, as one table
    that tl-analyze reads. header: LAMMPS commands that say units and thermostat."""
    table = joined_table(folder)
    kept = [
        line for step, line in zip(table.steps, table.lines, strict=True) if step >= first and step % every == 0
    ]  # the last row of a part that its wall time ended may lie between
    names = " ".join(path.name for path in parts_of(folder, "log"))
    text = f"# the recorded rows of {names}, joined by tl-campaign\n{header}\n{table.head}{''.join(kept)}"
    write_text(folder / LOG, f"{text}Loop time of 0 on parts that were joined, with {n_atoms} atoms\n")
    return folder / LOG


def write_dump(folder: Path, every: int) -> Path:
    """md.dump.gz: the frames of all parts, each step once; the dumps of the parts are removed. InputError where frames
    are missing between two parts."""
    dumps = parts_of(folder, "dump")
    tables = {number_of(path): read_table(path) for path in parts_of(folder, "log")}
    ends = dict(zip(tables, starts_of(list(tables.values())), strict=True))
    sources = [(folder / DUMP, np.inf)] if (folder / DUMP).exists() else []
    sources += [(path, ends.get(number_of(path), np.inf)) for path in dumps]

    def write(temporary: Path) -> None:
        last = None
        with gzip.open(temporary, "wt", encoding="utf-8", compresslevel=4) as out:
            for path, until in sources:
                for step, text in frames_of(path):
                    if step >= until or (last is not None and step <= last):
                        continue
                    if last is not None and step != last + every:
                        got = f"{folder.name}: frames from step {last} to {step}"
                        raise InputError(got, f"one each {every} steps", "delete its folder to run it again")
                    out.write(text)
                    last = step

    if dumps:
        write_atomic(folder / DUMP, write)
        for path in dumps:
            path.unlink()
    return folder / DUMP


def frames_of(path: Path) -> Iterator[tuple[int, str]]:
    """Step and text of each whole frame of a text dump."""
    lines: list[str] = []
    for line in complete_lines(path):
        if line.startswith("ITEM:") and _is_frame(lines):
            yield _step(lines), "".join(lines)
            lines = []
        lines.append(line)
    if _is_frame(lines):
        yield _step(lines), "".join(lines)


def _is_frame(lines: Sequence[str]) -> bool:
    """Whether all rows of its atoms are there."""
    n_atoms = next((int(b) for a, b in itertools.pairwise(lines) if a.startswith("ITEM: NUMBER")), None)
    head = next((index for index, line in enumerate(lines) if line.startswith("ITEM: ATOMS")), None)
    return head is not None and n_atoms is not None and len(lines) == head + 1 + n_atoms


def _step(lines: Sequence[str]) -> int:
    return int(lines[lines.index("ITEM: TIMESTEP\n") + 1])
