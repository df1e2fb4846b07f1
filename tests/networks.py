"""The network of docs/extending.md, as a module of the package tlmd.models."""

import importlib
import tempfile
from pathlib import Path

import tlmd.models

from .test_extending import write

FOLDER = Path(tempfile.mkdtemp())
write(FOLDER, "A network")
tlmd.models.__path__.append(str(FOLDER / "python" / "tlmd" / "models"))
Scalars = importlib.import_module("tlmd.models.scalars").Scalars
