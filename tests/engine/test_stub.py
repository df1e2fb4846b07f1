"""The stub of the compiled module (_engine.pyi) says what the module has: classes, methods, arguments by name."""

import ast
import re
from pathlib import Path

import pytest

import tlmd
from tlmd import _engine

STUB = ast.parse((Path(tlmd.__file__).parent / "_engine.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = [node for node in STUB.body if isinstance(node, ast.FunctionDef)]
PUBLIC = [name for name in CLASSES if not name.startswith("_")]


def members(name: str) -> list[ast.FunctionDef]:
    """Methods of a class and of its bases in the stub."""
    node = CLASSES[name]
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    inherited = [method for base in bases if base.id in CLASSES for method in members(base.id)]
    return inherited + [method for method in node.body if isinstance(method, ast.FunctionDef)]


def arguments_of(method: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(argument.arg for argument in method.args.args if argument.arg != "self")


def compiled_arguments(function: object) -> set[tuple[str, ...]]:
    """Names of the arguments of each overload, as nanobind tells them."""
    signatures = [signature for signature, *_ in function.__nb_signature__]
    return {tuple(a for a in re.findall(r"[(,] *(\w+): ", signature) if a != "self") for signature in signatures}


def test_the_stub_names_what_the_module_has():
    stated = {*PUBLIC, *(function.name for function in FUNCTIONS)}
    assert stated == {name for name in dir(_engine) if not name.startswith("_")}


@pytest.mark.parametrize("name", PUBLIC)
def test_methods_and_their_arguments(name):
    compiled = getattr(_engine, name)
    methods = members(name)
    assert {method.name for method in methods} - {"__init__"} == {m for m in dir(compiled) if not m.startswith("_")}
    stated: dict[str, set[tuple[str, ...]]] = {}
    for method in methods:
        if not any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list):
            stated.setdefault(method.name, set()).add(arguments_of(method))
    assert stated == {method: compiled_arguments(getattr(compiled, method)) for method in stated}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda node: node.name)
def test_functions_and_their_arguments(function):
    assert {arguments_of(function)} == compiled_arguments(getattr(_engine, function.name))


def test_everything_is_documented():
    nodes = [STUB, *CLASSES.values(), *FUNCTIONS, *(method for name in CLASSES for method in members(name))]
    assert all(ast.get_docstring(node) for node in nodes)
