"""The terminal, or the file that stands for it."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

WIDTH = 140  # columns of tables where there is no terminal: logs, pipes


def console(**settings: Any) -> Console:
    """A console on the standard output, or on `file`; with a fixed width where that is no terminal."""
    made = Console(**{"file": sys.stdout, "highlight": False} | settings)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def say(console: Console, text: str) -> None:
    """A line as it is: no markup, no colours, not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
