"""What a model may say of its short range: the smallest distances of training, and the repulsion below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlmd.frames.frame import Frame
from tlmd.frames.shortest import line_of, shortest_distances, table_of
from tlmd.models.potential import Potential
from tlmd.models.repulsion import repulsion_radii
from tlmd.run.folder import RunFolder


def set_short_range(
    model: Potential, frames: Sequence[Frame], run: RunFolder, repulsion: bool, *earlier: Mapping[str, float]
) -> dict[str, float]:
    """Smallest distances of the training frames and of `earlier` stages, for the card; the log has them, too.

    The repulsion of the model gets its radii by them, none if there shall be no repulsion. Collective.
    """
    shortest = shortest_distances(frames, model.elements, model.cutoff, *earlier)
    run.say(f"smallest distances in training: {line_of(shortest)}")
    radii = repulsion_radii(table_of(shortest, model.elements), model.elements)
    model.repulsion.radius.copy_(radii * repulsion)
    return shortest
