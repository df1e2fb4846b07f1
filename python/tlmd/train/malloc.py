"""Memory that stays with the process.

Eager PyTorch asks for and returns the same large blocks in every step, and glibc gives each of them back to the kernel,
which costs up to two thirds of a training step on a CPU. glibc reads its settings once, when a process starts; so the
command starts itself again with them. TLMD_MALLOC=system in the environment turns this off.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

SETTINGS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "200000000000", "MALLOC_TOP_PAD_": "268435456"}


def keep_memory() -> None:
    """Start this tl-* script again with glibc told to keep memory; does nothing the second time or elsewhere."""
    script = Path(sys.argv[0]).name.startswith("tl-")
    known = any(name in os.environ for name in (*SETTINGS, "TLMD_MALLOC"))
    if script and not known and platform.libc_ver()[0] == "glibc":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | SETTINGS)
