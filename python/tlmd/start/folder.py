"""A folder of a new project: templates filled in, written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template

from tlmd.run.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which becomes `path` at the end of the block; taken away if that fails.

    Raises InputError if something is at `path` that is not an empty folder.
    """
    require_new(path)
    target = path.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        require_new(path)
        os.replace(temporary, target)  # an empty folder is replaced
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new(path: Path) -> None:
    """InputError if something is at `path` that is not an empty folder."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"{path}, which is no folder", "a new folder", "choose another name")
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path}, a folder with files in it", "a new or empty folder", "choose another name")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def filled(template: str, values: dict[str, object]) -> str:
    """The text of a template with its $names replaced; KeyError for a name without a value."""
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
