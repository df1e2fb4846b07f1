"""The run folder of every stage: one command at a time, always the same run; log, metrics.csv, TensorBoard files.

run.json says which run it is: the stage, its configuration, and the hash of every file that it reads. Paths play no
part, contents do: a folder that was moved, or a TOML that is read from elsewhere, is the same run.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import tlmd
from tlmd.run import collective
from tlmd.run.config import StageConfig, to_toml
from tlmd.run.console import console
from tlmd.run.errors import InputError
from tlmd.run.files import sha256, write_text

FORMAT_VERSION = 2  # of run.json
LOCK = ".lock"
PARTS = "parts"  # a folder for what is joined at the end
HOUSEKEEPING = {"run.json", "config.toml", "log.txt"}


class RunFolder:
    """Folder of one run, open in a `with` block or until `close`. Rank 0 writes; on other ranks it writes nothing.

    results: names of the files that a finished run has. finished: it has ended before (see `finish`) and they are all
    there, so that there is nothing to do. minutes: wall time of all starts so far.
    Raises InputError, on all ranks, if another process uses the folder, if it holds another run (other settings, other
    contents of files) or files named as the results that no run made.
    """

    def __init__(self, path: Path, stage: str, config: StageConfig, results: Sequence[str] = ()):
        self.path, self.results = Path(path), tuple(results)
        self.main = collective.rank() == 0
        self.console = console(quiet=not self.main, soft_wrap=True)
        self._started = time.monotonic()
        self._tensorboard = self._log = self._lock = None
        try:
            self._notes, self.finished = collective.on_main(lambda: self._open(stage, config))
        except BaseException:
            self._forget()
            self.close()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        if error is not None:
            self._forget()
        self.close()

    def _open(self, stage: str, config: StageConfig) -> tuple[dict[str, Any], bool]:
        """Lock the folder, tidy it, claim it for this run, open the log; the notes of run.json, and `finished`."""
        self._lock = Lock(self.path)
        for place in (self.path, self.path / PARTS):
            for leftover in place.glob(".*.tmp"):  # of a killed process
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        notes = self._claim(run_record(stage, config))
        self._log = open(self.path / "log.txt", "a", encoding="utf-8")
        return notes, self._finished(notes)

    def _claim(self, record: dict[str, Any]) -> dict[str, Any]:
        if not (self.path / "run.json").exists():
            for name in (*self.results, f"{PARTS}/"):
                found = self.path / name
                if found.is_file() or (found.is_dir() and any(found.iterdir())):
                    raise InputError(
                        f"{self.path}, whose {name} is of another run or of an earlier version of tlmd",
                        "a folder without it",
                        "choose another --out, or delete the folder",
                    )
        elif self._begun():
            notes = read_run(self.path)
            refuse_difference(self.path, notes["record"], record)
            return notes
        machine = {"python": platform.python_version(), "tlmd": tlmd.__version__, "host": platform.machine()}
        if torch := sys.modules.get("torch"):
            machine |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
        machine["processes"] = collective.world()
        notes = {"format_version": FORMAT_VERSION, "record": record, "machine": machine, "minutes": 0.0}
        write_text(self.path / "config.toml", to_toml(record["config"]))
        self._write(notes)
        return notes

    def _finished(self, notes: dict[str, Any]) -> bool:
        """Whether the run has ended and its results are all there; InputError if they are not those of the run."""
        if "finished" not in notes or not all((self.path / name).is_file() for name in self.results):
            return False
        for name, written in notes["sha256"].items():
            if sha256(self.path / name) != written:
                raise InputError(
                    f"{self.path / name}, changed since the run ended",
                    "the file as it was written",
                    "delete it to have it made again, or choose another --out",
                )
        return True

    def _begun(self) -> bool:
        """Whether a run has left more than notes: one that failed before is no reason to refuse a corrected TOML."""
        parts = self.path / PARTS
        files = (file for file in self.path.iterdir() if file.is_file() and not file.name.startswith("."))
        return any(file.name not in HOUSEKEEPING for file in files) or (parts.is_dir() and any(parts.iterdir()))

    def _forget(self) -> None:
        """Remove the notes of a run that failed before its first step from a folder that it made."""
        if self._lock is not None and self._lock.made and not self._begun():
            for name in HOUSEKEEPING:
                (self.path / name).unlink(missing_ok=True)
            if (self.path / PARTS).is_dir():
                (self.path / PARTS).rmdir()  # empty

    def _write(self, notes: dict[str, Any]) -> None:
        write_text(self.path / "run.json", json.dumps(notes, indent=1) + "\n")

    @property
    def minutes(self) -> float:
        """Wall time of this start and of those before, as far as they have noted it, minutes."""
        return self._notes["minutes"] + (0.0 if self.finished else (time.monotonic() - self._started) / 60)

    @property
    def result(self) -> dict[str, Any]:
        """What `finish` was given, of a finished run."""
        return self._notes.get("result", {})

    def note_time(self) -> None:
        """Keep the wall time so far: at every point from which a killed run goes on."""
        if self.main:
            self._write(self._notes | {"minutes": self.minutes})

    def finish(self, **result: Any) -> None:
        """Note that the run has ended, with plain values as its `result`; started again it finds `finished`."""
        if self.main:
            ended = {"minutes": self.minutes, "finished": time.strftime("%Y-%m-%d %H:%M:%S"), "result": result}
            ended["sha256"] = {name: sha256(self.path / name) for name in self.results}
            self._write(self._notes | ended)

    def say(self, message: str) -> None:
        """One line on the terminal and in log.txt."""
        if self.main:
            self.console.print(message, highlight=False, markup=False)
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
            self._log.flush()

    def progress(self, total: int) -> Progress:
        """A bar with rate and time left; silent where the output is no terminal (the log lines are enough there)."""
        columns = (BarColumn(), TextColumn("step {task.completed}/{task.total}"), TextColumn("{task.fields[note]}"))
        bar = Progress(*columns, TimeRemainingColumn(), console=self.console, disable=not self.console.is_terminal)
        bar.add_task("train", total=total, note="")
        return bar

    def metrics(self, row: dict[str, float]) -> None:
        """Append a row to metrics.csv (and to the TensorBoard files once `tensorboard` was called)."""
        if not self.main:
            return
        file = self.path / "metrics.csv"
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
        if not file.exists() or file.stat().st_size == 0:
            writer.writeheader()
        writer.writerow({key: f"{value:.8g}" for key, value in row.items()})
        with open(file, "a", encoding="utf-8") as out:
            out.write(text.getvalue())
        if self._tensorboard:
            for key, value in row.items():
                self._tensorboard.add_scalar(key, value, int(row["step"]))

    def rewind(self, step: int) -> None:
        """Drop the rows of metrics.csv beyond `step`, and a row that was cut short: a resumed run writes them again."""
        file = self.path / "metrics.csv"
        if not self.main or not file.exists():
            return
        try:
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            width = lines[0].count(",") if lines else 0
            rows = [line for line in lines[1:] if line.endswith("\n") and line.count(",") == width]
            kept = [line for line in rows if float(line.split(",")[0]) <= step]
        except ValueError:  # also of UTF-8
            raise damaged(file, "rows of numbers") from None
        write_text(file, "".join(lines[:1] + kept))

    def tensorboard(self, purge_step: int) -> None:
        """Write event files from now on; those of steps beyond `purge_step` are hidden."""
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=purge_step)

    def table(self, table: Table, *notes: str) -> None:
        """A table, and lines below it, on the terminal and in log.txt."""
        if self.main:
            for place in (self.console, console(file=self._log)):
                place.print(table)
                for note in notes:
                    place.print(note, markup=False, soft_wrap=True)
            self._log.flush()

    def close(self) -> None:
        """Close files and let other processes use the folder."""
        for opened in (self._tensorboard, self._log, self._lock):
            if opened is not None:
                opened.close()


class Lock:
    """A folder, made if it is not there, in the hands of one process until `close` or its end. InputError if it is not
    free, or no folder. A folder that it made is removed again if nothing was written into it."""

    def __init__(self, folder: Path):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}, which is not a folder", "a run folder", "choose another --out")
        self.folder, self.made = folder, not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / LOCK, "w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = os.path.samestat(os.fstat(self._file.fileno()), os.stat(folder / LOCK))
        except (BlockingIOError, FileNotFoundError):  # the second where another process has just removed the folder
            free = False
        if not free:
            self._file.close()
            raise InputError(f"{folder}, in use by a run", "a free folder", "wait or choose another --out")

    def close(self) -> None:
        if self.made and not self._file.closed and os.listdir(self.folder) == [LOCK]:
            shutil.rmtree(self.folder)
        self._file.close()


def in_use(folder: Path) -> bool:
    """Whether a process has the folder in its hands."""
    try:
        with open(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def run_record(stage: str, config: StageConfig, fingerprint: Callable[[Path], str] = sha256) -> dict[str, Any]:
    """What makes a run the same run: stage, configuration but for the folder, hashes of the files that it reads."""
    files = {}
    for key, path in config.input_files().items():
        if not path.is_file():
            raise InputError(f"{key} = {path}, no file", "a file that can be read", "correct the path")
        files[key] = {"path": os.fspath(path), "sha256": fingerprint(path)}
    return {"stage": stage, "config": config.model_dump(mode="json", exclude={"out"}), "files": files}


def read_run(folder: Path) -> dict[str, Any] | None:
    """The content of run.json, None if there is none; InputError if it is damaged or of another version."""
    file = folder / "run.json"
    if not file.exists():
        return None
    try:
        notes = json.loads(file.read_text(encoding="utf-8"))
        version = notes.get("format_version", 1)
        if version == FORMAT_VERSION:
            record = notes["record"]
            whole = isinstance(record["config"], dict) and all("sha256" in entry for entry in record["files"].values())
            if whole and float(notes["minutes"]) >= 0:
                return notes
    except (ValueError, TypeError, KeyError, AttributeError):
        raise damaged(file, "the notes of a run") from None
    raise InputError(
        f"{folder}, with run.json of format {version}",
        f"format {FORMAT_VERSION}, of this version of tlmd",
        "finish it with the tlmd that made it, or choose another --out",
    )


def damaged(file: Path, wanted: str) -> InputError:
    """The error for a file of a run folder that no longer is what was written."""
    return InputError(f"{file}, which is damaged", wanted, "delete the folder to start again, or choose another --out")


def refuse_another(folder: Path, record: dict[str, Any]) -> bool:
    """Whether `folder` holds a run; InputError if it is not the run of this record."""
    notes = read_run(folder)
    if notes is None:
        return False
    refuse_difference(folder, notes["record"], record)
    return True


def refuse_difference(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """InputError that names the first difference between the record of `folder` and another."""
    if old["stage"] != new["stage"]:
        raise _another(folder, f"tl-{new['stage']}", f"tl-{old['stage']}")
    for key in dict.fromkeys([*old["files"], *new["files"]]):
        before, now = (record["files"].get(key) for record in (old, new))
        if before is None or now is None or before["sha256"] != now["sha256"]:
            got = "no file" if now is None else f"{now['path']} with other content" if before else now["path"]
            raise _another(folder, f"{key} = {got}", f"that of {before['path']} then" if before else "no file")
    difference = first_difference(_comparable(old), _comparable(new))
    if difference:
        key, before, now = difference
        raise _another(folder, f"{key} = {now}", f"{before}")


def _another(folder: Path, got: str, wanted: str) -> InputError:
    return InputError(
        got, f"{wanted}, as in the run that {folder} holds", "choose another --out, or delete the folder to start again"
    )


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the paths of files whose contents are compared, and without keys that are not set:
    one that a later version adds is no difference."""
    paths = sorted({entry["path"] for entry in record["files"].values()}, key=len, reverse=True)

    def without(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: without(value) for key, value in item.items() if value is not None}
        if isinstance(item, list):
            return [without(value) for value in item]
        for path in paths if isinstance(item, str) else ():
            if item == path or item.startswith(f"{path}:"):  # file.py:function
                return item.replace(path, "(file)", 1)
        return item

    return without(record["config"])


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """Dotted key and the two values of the first difference between nested dicts, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            found = first_difference(
                old.get(name, "nothing"), new.get(name, "nothing"), f"{key}.{name}" if key else name
            )
            if found:
                return found
        return None
    return None if old == new else (key, old, new)
