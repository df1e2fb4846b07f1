"""The tl-* commands: one thin function each; the work is in the modules they call."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from tlmd.errors import InputError

Config = Annotated[Path, typer.Argument(help="TOML file of this stage; paths in it are relative to it")]
Out = Annotated[Optional[Path], typer.Option("--out", help="run folder to write (default: from the TOML)")]
Set = Annotated[Optional[list[str]], typer.Option("--set", help="override a key, e.g. training.max_steps=200")]
Json = Annotated[Optional[Path], typer.Option("--json", help="write the result as JSON to this file")]


def entry(function):
    """A console script from a typer-annotated function: InputError and OSError end in one line and exit code 1."""

    @functools.wraps(function)
    def run() -> None:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(function)
        guarded(app)

    return run


def guarded(app: typer.Typer) -> None:
    """Run a typer application; a user's mistake is one line on stderr, never a traceback."""
    try:
        app()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def analyze() -> None:
    """tl-analyze: density, diffusion, structure and a report from LAMMPS logs and dumps."""
    from tlmd.analysis.commands import app

    guarded(app)
