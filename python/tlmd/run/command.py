"""Console scripts: whatever a user's input, disk, memory or Ctrl-C causes ends in one line and an exit code."""

from __future__ import annotations

import errno
import functools
import lzma
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.files import refuse_input, target

EXPECTED = (InputError, OSError, MemoryError, EOFError, zlib.error, lzma.LZMAError)
ADVICE = {
    errno.ENOSPC: "; make room, then the same command goes on",
    errno.EDQUOT: "; make room, then the same command goes on",
    errno.EACCES: "; ask for the right to it, or choose another place",
    errno.EROFS: "; choose another place",
    errno.EISDIR: "; wanted a file",
    errno.ENOTDIR: "; wanted a folder",
    errno.EEXIST: "; choose another name",
}
OUTPUTS = ("json", "json_", "plot", "out", "chemiscope")  # parameters of commands that name what is written
INTERRUPTED = 130  # as shells count SIGINT


def guarded(work: Callable[[], Any]) -> Any:
    """The result of `work()`; an expected error is said in one line on stderr, by one rank, and ends all ranks."""
    try:
        return work()
    except EXPECTED as error:
        collective.end(f"error: {in_words(error)}", 1, error)
    except KeyboardInterrupt:
        collective.end("interrupted; the same command goes on", INTERRUPTED)
    except Exception as error:
        if ran_out_of_memory(error):
            collective.end(f"error: {in_words(MemoryError())}", 1, error)
        if not type(error).__module__.startswith(("click", "typer")):  # those are about the command line
            collective.end_unexpected()
        raise


def in_words(error: BaseException) -> str:
    """One line for an expected error: what was got, what was wanted, what to do."""
    if isinstance(error, OSError) and error.strerror:
        files = [os.fspath(name) for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
        return ": ".join([*files[:1], error.strerror[0].lower() + error.strerror[1:]]) + ADVICE.get(error.errno, "")
    if isinstance(error, MemoryError):
        return "got no more memory; wanted room for this input; take fewer frames or atoms at once, or a larger machine"
    if isinstance(error, EOFError | zlib.error | lzma.LZMAError):
        return f"got a damaged compressed file ({error}); wanted a whole one; fetch or write it again"
    return " ".join(str(error).split())


def ran_out_of_memory(error: Exception) -> bool:
    """Whether torch says so: it has no error of its own for that on the CPU."""
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class Command(TyperCommand):
    """A command whose errors are said in one line, and that does not write over what it reads."""

    def invoke(self, ctx):
        def work():
            check_outputs(ctx.params)
            return super(Command, self).invoke(ctx)

        return guarded(work)


def check_outputs(parameters: Mapping[str, Any]) -> None:
    """InputError, before any work, for an output file that cannot be one or that is an input of the same command."""
    paths = {name: value for name, value in parameters.items() if isinstance(value, Path)}
    inputs = [path for name, path in paths.items() if name not in OUTPUTS]
    inputs += [path for value in parameters.values() if isinstance(value, list | tuple) for path in value]
    for path in (path for name, path in paths.items() if name in OUTPUTS):
        refuse_input(path, inputs)
        if not path.is_dir():  # else a run folder, or refused when it is written
            target(path)


class Group(TyperGroup):
    """A command with sub-commands, likewise."""

    def invoke(self, ctx):
        return guarded(functools.partial(super().invoke, ctx))


class Application(typer.Typer):
    """A typer application of sub-commands, all of them of the kind above."""

    def __init__(self, **settings: Any):
        super().__init__(cls=Group, pretty_exceptions_enable=False, no_args_is_help=True, **settings)

    def command(self, *arguments: Any, **settings: Any):
        return super().command(*arguments, **{"cls": Command} | settings)


def entry(function: Callable[..., None]) -> Callable[[], None]:
    """A console script from a typer-annotated function."""

    @functools.wraps(function)
    def run() -> None:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(cls=Command)(function)
        app()

    return run
