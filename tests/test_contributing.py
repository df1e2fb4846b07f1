"""Rules of CONTRIBUTING.md that a program can read: where TorchScript and conversions of units are known."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "tlmd"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
SCRIPTED = ("export.py", "models/features/module.py")  # the others in models/ mark what is scripted
MARKS = {"torch.jit.export", "torch.jit.unused"}
# e in C, k_B in J/K and eV/K, Avogadro, bohr in A, hartree in eV, e^2 / (4 pi eps0) in eV A, kcal/mol in eV and back
CONSTANTS = ("1.602176", "1.380649", "8.617", "6.02214", "0.529177", "27.2113", "14.3996", "0.04336", "23.060")


def code(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_torchscript_is_known_to_networks_and_export(path):
    names = {ast.unparse(node) for node in ast.walk(code(path)) if isinstance(node, ast.Attribute)}
    known = {name for name in names if name.startswith(("torch.jit.", "torch._C"))}
    if path.as_posix().startswith("models/"):
        known -= MARKS
    assert not known or path.as_posix() in SCRIPTED


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_gradients_are_taken_in_one_place(path):
    names = {ast.unparse(node) for node in ast.walk(code(path)) if isinstance(node, ast.Attribute)}
    assert "torch.autograd.grad" not in names or path.as_posix() == "models/potential.py"


def test_libtorch_is_known_to_one_backend():
    plugin = ROOT / "lammps_plugin"
    sources = [path for path in plugin.rglob("*") if path.suffix in (".h", ".cpp")]
    found = [path.relative_to(plugin) for path in sources if re.search(r"#include [<\"]torch/", path.read_text())]
    assert found and all(path.as_posix().startswith("backends/torchscript") for path in found)


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "units.py"], ids=str)
def test_conversions_live_in_units(path):
    numbers = [n.value for n in ast.walk(code(path)) if isinstance(n, ast.Constant) and isinstance(n.value, float)]
    assert not [number for number in numbers if f"{number:.12g}".startswith(CONSTANTS)]
