"""What tl-select reads from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tlmd.frames.imports.formats import frame_files
from tlmd.run.config import ConfigPath, StageConfig
from tlmd.run.quantities import Count, Fraction, Threads
from tlmd.train.config import ModelPath


class SelectConfig(StageConfig):
    """tl-select: the frames of a pool that are worth labelling, by the features of a model."""

    out: ConfigPath = Field(Path("selected"), description="run folder to write")
    pool: list[ConfigPath] = Field(min_length=1, description="files of frames to choose from; labels play no part")
    exclude: list[ConfigPath] = Field([], description="files of frames that are labelled already")
    model: ModelPath = Field(description="PaiNN model whose features tell frames apart, or the name of a shipped one")
    layers: list[int] = Field([-1], min_length=1, description="message layers, from 0 or from the last (-1)")
    n_frames: Count = Field(description="number of frames to choose")
    method: Literal["farthest", "d-optimal", "random"] = Field(
        "farthest",
        description="farthest: each is the one farthest from all before; d-optimal: each adds most to the determinant "
        "of the normal equations of energies and forces; random",
    )
    balance: list[str] = Field(
        [], description="info keys; equally many frames from each of their ranges that the pool has"
    )
    bins: int = Field(3, ge=1, le=100, description="ranges of equal width of each key of numbers in `balance`")
    nearest: Fraction = Field(
        0.1,
        description="frames nearer to one chosen or excluded than this part of the pool's typical distance are left "
        "out",
    )
    directions: Count = Field(8, description="d-optimal: random directions in which a frame's forces are looked at")
    threads: Threads = Field(1, description="of the engine")

    def files(self) -> dict[str, Path]:
        """The files by key, pool.0 and so on; a folder by its files."""
        found = dict(super().files())
        for key in ("pool", "exclude"):
            for index, path in enumerate(getattr(self, key)):
                found |= frame_files(f"{key}.{index}", path)
        return found
