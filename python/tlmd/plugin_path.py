"""Where the compiled LAMMPS plugin lies."""

from __future__ import annotations

import os
from pathlib import Path

from tlmd.errors import InputError


def plugin_folder() -> Path:
    """The folder to put into LAMMPS_PLUGIN_PATH: TLMD_PLUGIN if set (a build of one's own), else the installed one."""
    folder = Path(os.environ.get("TLMD_PLUGIN") or Path(__file__).parent / "plugin")
    if not (folder / "tlmdplugin.so").exists():
        raise InputError(
            f"no tlmdplugin.so in {folder}", "the compiled plugin", "install tlmd with pip, or build with cmake"
        )
    return folder
