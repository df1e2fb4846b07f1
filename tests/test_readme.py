"""The README and the documentation: the snippet runs, links and files exist, lines are short, words are the field's."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import write

from tlmd.analysis.reference.table import read_references
from tlmd.generate.config import GenerateConfig
from tlmd.run.config import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "inputs").rglob("*.md"),
        *(ROOT / "lammps_plugin").rglob("*.md"),
    ]
)
NOT_OURS = re.compile(r"\b(roads?|lessons?|students?|bare|rivals?|taught|autotun\w*)\b", re.IGNORECASE)


def prose(text: str) -> str:
    """A page without its code: fenced, indented and inline."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`", "", re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE))


def slug(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_two_commands():
    assert "\n    pip install . && tl-demo\n" in README and "\n    pip install '.[test]' && pytest\n" in README


def test_python_snippet_runs():
    (snippet,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(snippet, "README.md", "exec"), {})
    energy, distance, angle = map(float, said.getvalue().split())
    assert energy < -100 and 0.9 < distance < 1.05 and 95 < angle < 115


def test_line_for_the_data_file(tmp_path):
    (line,) = re.findall(r"`(tl-init file [^`]*)`", README)
    methanol = molecule("CH3OH", vacuum=4.0)
    methanol.pbc = True
    methanol.calc = EMT()
    methanol.get_forces()
    write(tmp_path / "frames.extxyz", methanol)
    command = shlex.split(line)
    command[0] = str(Path(sysconfig.get_path("scripts")) / command[0])
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, capture_output=True)
    (data,) = (tmp_path / "DIR").glob("*.data")
    text = data.read_text()
    assert "3 atom types" in text and re.findall(r"# ([A-Z])$", text, flags=re.MULTILINE) == ["C", "H", "O"]


def test_toml_of_a_teacher_is_valid(tmp_path):
    (block,) = re.findall(r"^ +\[teacher\]\n.*?frames = 2000$", README, flags=re.DOTALL | re.MULTILINE)
    path = tmp_path / "teacher.toml"
    path.write_text("\n".join(line.strip() for line in block.splitlines()))
    assert load_config(GenerateConfig, path).systems["liquid"].frames == 2000


def test_toml_of_references_is_valid(tmp_path):
    text = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^ {4}\[experiment\]\n(?: {4}.*\n)+", text, flags=re.MULTILINE)
    path = tmp_path / "values.toml"
    path.write_text(textwrap.dedent(block))
    known = read_references(path).experiment.known("diffusion coefficient", "m2/s", "")
    assert (known.value, known.error, known.source) == (2.4e-9, 0.05e-9, "CRC Handbook")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages(page):
    text = page.read_text(encoding="utf-8")
    long = [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 120 and not line.startswith("|")]
    assert not [n for n in long if "](" not in text.splitlines()[n - 1]], f"{page.name}: lines over 120"
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= {slug(title) for title in titles}
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    assert not [target for target in targets if target and not (page.parent / target).exists()]
    words = NOT_OURS.findall(prose(text))
    if page.name == "README.md" and page.parent == ROOT:
        assert words == ["autotuning", "Autotuning"]  # said once, as a synonym, and in the title of the paper
    else:
        assert not words


def test_every_decision_is_in_the_index():
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    entries = [slug(title) for title in re.findall(r"^## (.*)$", text, flags=re.MULTILINE)]
    assert len(entries) > 40 and sorted(entries) == sorted(re.findall(r"\]\(#([^)]+)\)", text))
    assert text.count("Decision:") == len(entries) == text.count("Cost:")


def test_named_files_exist():
    text = "\n".join(prose(page.read_text(encoding="utf-8")) for page in PAGES if page.name != "CHANGELOG.md")
    named = set(re.findall(r"(?<![\w./*-])((?:docs|inputs|lammps_plugin|benchmarks|tests)/[\w./-]*\w)", text))
    assert len(named) > 10
    assert not sorted(name for name in named if not list(ROOT.glob(f"{name}*")))


def test_messages_of_the_troubleshooting_are_those_of_the_code():
    """What stands in bold code on that page is found there by its readers, so the code must say it."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"\*\*`([^`]+)`", page)
    files = [p for top in ("python", "lammps_plugin") for e in ("*.py", "*.cpp", "*.h") for p in (ROOT / top).rglob(e)]
    code = "\n".join(p.read_text(encoding="utf-8") for p in [*files, ROOT / "CMakeLists.txt"])
    words = re.sub(r'"\s*f?"|\s', "", code)  # strings that are joined, without spaces
    assert len(messages) > 8 and [m for m in messages if m.replace(" ", "") not in words] == []
