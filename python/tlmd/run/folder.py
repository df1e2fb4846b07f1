"""The run folder: one run at a time, always the same configuration; log, metrics.csv and TensorBoard files."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import tlmd
from tlmd.run import distributed
from tlmd.run.config import StageConfig
from tlmd.run.errors import InputError
from tlmd.run.files import sha256, write_atomic


class RunFolder:
    """Folder of one run. Process 0 writes; the other processes of a run get an object that writes nothing.

    Raises InputError if another process uses the folder, or if it holds a run with another configuration or other data.
    """

    def __init__(self, path: Path, stage: str, config: StageConfig, data: dict[str, Path], main: bool | None = None):
        self.path = Path(path)
        self.main = distributed.rank() == 0 if main is None else main
        self.console = Console(file=sys.stdout, quiet=not self.main, soft_wrap=True)
        record = run_record(stage, config, {name: sha256(file) for name, file in data.items()})
        self._tensorboard = self._log = None
        if self.main:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock_file = open(self.path / ".lock", "w")
            try:
                self._open(record)
            except InputError:
                self._lock_file.close()
                raise
        distributed.barrier()

    def _open(self, record: dict[str, Any]) -> None:
        """Lock the folder, tidy it, claim it for this configuration, open the log."""
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{self.path}, in use by a run", "a free folder", "wait or choose another --out") from None
        for leftover in self.path.glob(".*.tmp"):  # of a killed process
            leftover.unlink()
        self._claim(record)
        self._log = open(self.path / "log.txt", "a", encoding="utf-8")

    def _claim(self, record: dict[str, Any]) -> None:
        if refuse_another(self.path, record):
            return
        machine = {"python": platform.python_version(), "torch": torch.__version__, "tlmd": tlmd.__version__}
        machine |= {"host": platform.machine(), "threads": torch.get_num_threads(), "processes": distributed.world()}
        text, settings = json.dumps({"record": record, "machine": machine}, indent=1), to_toml(record["config"])
        write_atomic(self.path / "config.toml", lambda temporary: temporary.write_text(settings))
        write_atomic(self.path / "run.json", lambda temporary: temporary.write_text(text))

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
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        width = lines[0].count(",") if lines else 0
        whole = [x for x in lines[1:] if x.endswith("\n") and x.count(",") == width and float(x.split(",")[0]) <= step]
        write_atomic(file, lambda temporary: temporary.write_text("".join(lines[:1] + whole)))

    def tensorboard(self, purge_step: int) -> None:
        """Write event files from now on; those of steps beyond `purge_step` are hidden."""
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=purge_step)

    def table(self, table: Table) -> None:
        """A table on the terminal and in log.txt."""
        if self.main:
            self.console.print(table)
            Console(file=self._log, width=120).print(table)

    def close(self) -> None:
        """Close files and let other processes use the folder."""
        if self._tensorboard:
            self._tensorboard.close()
        if self.main:
            self._log.close()
            self._lock_file.close()


def run_record(stage: str, config: StageConfig, fingerprints: dict[str, str]) -> dict[str, Any]:
    """What makes a run the same run: stage, configuration but for the folder, hashes of the files that it reads."""
    return {"stage": stage, "config": config.model_dump(mode="json", exclude={"out"}), "data_sha256": fingerprints}


def refuse_another(folder: Path, record: dict[str, Any]) -> bool:
    """Whether `folder` holds a run; InputError if it is not the run of this record."""
    file = folder / "run.json"
    if not file.exists():
        return False
    difference = first_difference(json.loads(file.read_text())["record"], record)
    if difference:
        key, old, new = difference
        raise InputError(
            f"{key} = {new}",
            f"{old}, as in the run that {folder} holds",
            "choose another --out, or delete the folder to start again",
        )
    return True


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
    return None if old == new else (key.removeprefix("config."), old, new)


def to_toml(config: dict[str, Any]) -> str:
    """TOML text of nested dicts of plain values: the tables of the first level as sections, deeper ones inline."""

    def value(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {value(v)}" for k, v in item.items()) + "}"
        return json.dumps(item)  # strings, numbers, booleans and lists are written alike in JSON and TOML

    def lines(table: dict[str, Any]) -> list[str]:
        return [f"{key} = {value(item)}" for key, item in table.items() if item is not None]

    plain = {key: item for key, item in config.items() if not isinstance(item, dict)}
    sections = [f"\n[{key}]\n" + "\n".join(lines(item)) for key, item in config.items() if isinstance(item, dict)]
    return "\n".join([*lines(plain), *sections]) + "\n"
