"""docs/extending.md is true: its files are added to the package and run as its text says.

A block that begins with `# FILE` becomes that file. Python files under python/ join their package, in a process of its
own; the others lie in the working folder, where the `sh` blocks run.
"""

import lzma
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(heading: str) -> list[tuple[str, str]]:
    """(language, text) of the code blocks under the headings `## heading`."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    found = re.findall(r"^```(\w+)\n(.*?)^```", section, re.M | re.S)
    assert found
    return found


def write(folder: Path, *headings: str) -> None:
    """The files of the sections: packages under `folder`/python, the others in `folder`."""
    for _, text in (block for heading in headings for block in blocks(heading)):
        if name := re.match(r"# (\S+\.\w+)\n", text):
            path = folder / name.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def run(folder: Path, code: str, *arguments: str) -> str:
    """What a Python process prints that runs `code` in `folder` with the files there added to their packages."""
    added = [str(path.parent.relative_to(folder / "python")) for path in (folder / "python").rglob("*.py")]
    start = [
        f"import {package.replace('/', '.')} as p; p.__path__.append({str(folder / 'python' / package)!r})"
        for package in dict.fromkeys(added)
    ]
    command = [sys.executable, "-c", "\n".join([*start, code]), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tl(folder: Path, heading: str) -> list[str]:
    """Run the tl-* commands of the `sh` blocks of a section; what each prints."""
    lines = [line for kind, text in blocks(heading) if kind == "sh" for line in text.splitlines()]
    commands = [line.split() for line in lines]
    assert commands and all(command[0].startswith("tl-") for command in commands)
    return [
        run(folder, f"from tlmd import cli; cli.{name[3:].replace('-', '_')}()", *words) for name, *words in commands
    ]


@pytest.fixture
def argon(tmp_path):
    """Two frames of four argon atoms in a box."""
    rng, grid = np.random.default_rng(1), np.array([[0.0, 0, 0], [3.5, 0, 0], [0, 3.5, 0], [0, 0, 3.5]])
    frames = [
        Frame(np.full(4, 18), grid + rng.normal(scale=0.2, size=grid.shape), np.eye(3) * 9.0, np.ones(3, bool))
        for _ in range(2)
    ]
    write_frames(tmp_path / "argon.extxyz", frames)
    return tmp_path


def test_a_teacher(argon):
    write(argon, "A teacher")
    (said,) = tl(argon, "A teacher")
    assert "argon" in said
    frames = read_frames(argon / "morse" / "frames.extxyz.xz")
    shifts = 9.0 * (np.array(list(np.ndindex(3, 3, 3))) - 1)
    for frame in frames:
        lengths = np.linalg.norm(frame.positions[:, None, None] - frame.positions[:, None] + shifts, axis=-1)
        lengths = lengths[(lengths > 0) & (lengths < 8.0)]
        x = np.exp(-(lengths - 2.5) / 0.5)
        assert frame.energy == pytest.approx(0.5 * 0.3 * (x**2 - 2 * x).sum(), abs=1e-7)
        assert frame.forces.sum(0) == pytest.approx(0, abs=1e-7) and frame.stress is not None
    assert len(frames) == 2


def test_a_system(tmp_path):
    write(tmp_path, "A teacher", "A system")
    tl(tmp_path, "A system")
    frames = read_frames(tmp_path / "gas" / "frames.extxyz.xz")
    assert len(frames) == 6 and {frame.info["kind"] for frame in frames} == {"gas"}
    assert len({frame.energy for frame in frames}) == 6


def test_a_network(tmp_path):
    """Trained and exported; tests/plugin/test_networks.py runs it in LAMMPS."""
    write(tmp_path, "A teacher", "A system", "A network")
    tl(tmp_path, "A system")
    exported = tl(tmp_path, "A network")[1].strip()
    assert exported == "trained/model-lammps.pt" and (tmp_path / exported).is_file()


def test_an_analysis(tmp_path):
    """The mean and error of the log's pressure are those of numpy; a file of references fills its columns."""
    import json

    from tlmd.analysis.thermo import read_log

    data = Path(__file__).parent / "data" / "spcfw64.log.xz"
    (tmp_path / "water.log").write_bytes(lzma.decompress(data.read_bytes()))
    write(tmp_path, "An analysis")
    printed, _ = tl(tmp_path, "An analysis")
    (record,) = json.loads((tmp_path / "pressure.json").read_text())
    series = read_log(data).runs[-1].columns["Press"][10:]
    assert record["value"] == pytest.approx(series.mean(), rel=1e-9) and record["unit"] == "bar"
    assert record["standard_error"] > 0.5 * series.std() / np.sqrt(len(series))
    assert "pressure" in printed and (tmp_path / "pressure.png").read_bytes()[:4] == b"\x89PNG"
    (density,) = json.loads((tmp_path / "density.json").read_text())
    assert (density["experiment"], density["level_of_theory"]) == (0.7866, 0.80)
