"""The floors of python/tlmd: imports, also those within functions, go down only, and nowhere in a circle; sizes."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "tlmd"
FLOORS = (
    "run",
    "units graph archive",
    "lammps_serial",
    "baseline",
    "frames models",
    "modelfile engine start generate lammps_job",
    "export",
    "committee",
    "evaluate calculator",
    "train calibrate label",
    "mekrr",
    "curves analysis select",
    "oracle data campaign",
    "bench demo learn",
    "cli __init__",
)
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names.split()}
LARGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines, as CONTRIBUTING.md says
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_of(path): path for path in SOURCES}


def imports(path: Path) -> set[str]:
    """The modules of tlmd that a file imports anywhere but for TYPE_CHECKING, by their names within the package."""
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    unrun = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(child) for node in unrun for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = {name.removeprefix("tlmd.") for name in found if name.startswith("tlmd.")}
    return {name for name in names if name in MODULES}


def test_every_module_has_a_floor():
    assert len(SOURCES) > 50
    assert {name.partition(".")[0] for name in MODULES} <= set(FLOOR)


def test_imports_go_down():
    up = set()
    for name, path in MODULES.items():
        here = name.partition(".")[0]
        for other in imports(path):
            there = other.partition(".")[0]
            if here != there and FLOOR[there] >= FLOOR[here]:
                up.add(f"{name} -> {other}")
    assert not up, f"imports that do not go down: {sorted(up)}"


def test_no_circles():
    edges = {(name, other) for name, path in MODULES.items() for other in imports(path)}
    order = graphlib.TopologicalSorter({name: {b for a, b in edges if a == name != b} for name in MODULES})
    order.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LARGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"
