"""Memory that stays with the process.

Eager PyTorch asks for and returns the same large blocks in every step, and glibc by default gives each of them back to
the kernel: page faults that can cost more than the arithmetic. The plugin does the same (backends/memory.cpp).
"""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of malloc.h


def keep_memory() -> bool:
    """Tell glibc to keep freed memory; TLMD_MALLOC=system in the environment turns this off. Whether it was done."""
    if platform.libc_ver()[0] != "glibc" or os.environ.get("TLMD_MALLOC") == "system":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all((mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_TOP_PAD, 2**28)))
