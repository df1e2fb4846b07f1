"""The kinds of baselines, as a TOML and as a card have them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from tlmd.baseline.d3 import D3, D3Config
from tlmd.baseline.interfaces import Baseline
from tlmd.baseline.lammps import LammpsBaseline, LammpsBaselineConfig
from tlmd.run.errors import InputError

BASELINES: dict[str, type[Baseline]] = {"d3": D3, "lammps": LammpsBaseline}
BaselineConfig = Annotated[D3Config | LammpsBaselineConfig, Field(discriminator="kind")]


def open_baseline(described: dict[str, Any]) -> Baseline:
    """The baseline that a card describes; InputError if it cannot be."""
    kind = described.get("kind")
    if kind not in BASELINES:
        raise InputError(f"a baseline of kind {kind}", f"one of {', '.join(BASELINES)}", "install a newer tlmd")
    try:
        return BASELINES[kind](described)
    except (KeyError, TypeError, AttributeError, ValidationError):
        raise InputError(f"a damaged description of a baseline {kind}", "that of a card", "train again") from None


def same_baseline(wanted: dict[str, Any] | None, start: dict[str, Any] | None, model: str) -> dict[str, Any] | None:
    """The baseline of a model that starts from `model`: that of the start, else `wanted`; InputError if they differ."""
    if start is None or wanted in (None, start):
        return start or wanted
    (mine, theirs) = (f"data.baseline {told(each)}" for each in (wanted, start))
    raise InputError(
        mine, f"{theirs}, with which {model} was trained", "leave data.baseline out, or pretrain with the other one"
    )


def told(described: dict[str, Any]) -> str:
    """A description in a few words."""
    return ", ".join(
        f"{key} {value}" if not isinstance(value, dict) else f"{key} {' '.join(map(str, value.values()))}"
        for key, value in described.items()
        if key != "files"
    )
