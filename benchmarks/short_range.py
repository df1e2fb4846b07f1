"""Give a trained model of an older tlmd its smallest training distances and the repulsion below them.

python benchmarks/short_range.py model.pt FRAMES...   (training frames of all its stages; the file is replaced)

Parameters and all else in the card stay. New models have both from the start: tl-pretrain, tl-finetune, tl-mekrr.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tlmd.frames.read import read_frames
from tlmd.frames.shortest import line_of, shortest_distances, table_of
from tlmd.modelfile import load_model, load_sample, save_model
from tlmd.models.repulsion import repulsion_radii


def complete(path: Path, shortest: Mapping[str, float]) -> None:
    """Write `shortest` and the radii that follow into the file."""
    model, card = load_model(path)
    model.repulsion.radius.copy_(repulsion_radii(table_of(shortest, model.elements), model.elements))
    save_model(path, model, card.model_copy(update={"shortest_A": dict(shortest)}), load_sample(path))


def main(path: Path, files: list[Path]) -> None:
    """The tool."""
    model, card = load_model(path)
    shortest = card.shortest_A
    for file in files:
        shortest = shortest_distances(read_frames(file), model.elements, model.cutoff, shortest)
        print(f"{file}: {line_of(shortest)}", flush=True)
    complete(path, shortest)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
