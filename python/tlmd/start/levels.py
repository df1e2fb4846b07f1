"""What labels frames in label.toml, and what cheap teacher goes with elements, as text of TOMLs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from tlmd.run.errors import InputError
from tlmd.start.folder import filled

Labels = Literal["xtb", "cp2k", "pyscf"]
LEVELS = {"cp2k": "revPBE-D3 (CP2K)", "pyscf": "PBE0-D3BJ (PySCF)"}
TIGHT_BINDING = {True: "GFN1-xTB", False: "GFN2-xTB"}  # periodic or not: GFN2-xTB binds liquids too weakly
MMFF94 = ("MMFF94", '''name = "mmff94"                 # or "xtb": GFN1-xTB, in which bonds break (pip install tblite)
energies = "{}"          # bonds: tabulated bond energies, molecules compare; mmff94: its own zero''')  # fmt: skip
COMB3 = ("COMB3", 'name = "comb3"                  # reactive; or "xtb": GFN1-xTB (pip install tblite)')
XTB = ("GFN1-xTB", '''name = "xtb"                    # GFN1-xTB (pip install tblite); or any ASE calculator, such as
# name = "ase"                  # a foundation model:
# calculator = "mace.calculators:mace_mp"
# arguments = {model = "small", device = "cpu"}''')  # fmt: skip
COMB3_ELEMENTS = {"Cu", "C", "H", "O"}


def calculators(labels: Labels, periodic: bool) -> str:
    """The table [calculator] of label.toml, and the other ones as comments. InputError for PySCF in a box."""
    if labels == "pyscf" and periodic:
        raise InputError("--labels pyscf for periodic frames", "xtb or cp2k", "PySCF here labels free molecules")
    values = {"method": TIGHT_BINDING[periodic]}
    found = [filled(f"calculator-{labels}.toml", values).rstrip()]
    for other in get_args(Labels):
        if other != labels and not (other == "pyscf" and periodic):
            lines = filled(f"calculator-{other}.toml", values).rstrip().splitlines()
            found.append("\n".join(line if line.startswith("#") else f"# {line}" for line in lines))
    return "\n\n".join(found)


def level(labels: Labels, periodic: bool) -> str:
    """The level of theory of the table [calculator] of label.toml."""
    return LEVELS.get(labels, TIGHT_BINDING[periodic])


def surface_teacher(elements: Iterable[str]) -> tuple[str, str]:
    """The name of a cheap level for these elements, and the lines of its table [teacher]."""
    return COMB3 if set(elements) <= COMB3_ELEMENTS and "Cu" in elements else XTB
