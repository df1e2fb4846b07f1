"""One frame in a process of its own: `python -P -m tlmd.label.evaluate` in its folder reads input.json and
frame.extxyz, and writes output.json."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from tlmd.frames.extxyz import read_extxyz
from tlmd.label.config import AnyCodeConfig
from tlmd.label.interfaces import CODES, GEOMETRY, INPUT, OUTPUT, guarded_compute
from tlmd.run.files import write_text


def evaluate(folder: Path) -> None:
    """Label the frame of a folder."""
    settings = json.loads((folder / INPUT).read_text(encoding="utf-8"))
    config = TypeAdapter(AnyCodeConfig).validate_python(settings["calculator"])
    (frame,) = read_extxyz(folder / GEOMETRY)
    code = CODES[config.name](config)
    output = guarded_compute(lambda: code.compute(frame, settings["stress"]))
    write_text(folder / OUTPUT, json.dumps(output) + "\n")


if __name__ == "__main__":
    evaluate(Path.cwd())
