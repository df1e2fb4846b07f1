"""Quantities of the TOMLs, with the bounds beyond which a value can only be a slip."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

FRAMES_AT_MOST = 10_000_000
Number = TypeVar("Number", bound=float)


def _ordered(value: tuple[Number, Number]) -> tuple[Number, Number]:
    if value[0] > value[1]:
        raise ValueError("the low end first, then the high end")
    return value


def between(kind: type) -> type:
    """A pair of values, the low end first."""
    return Annotated[tuple[kind, kind], AfterValidator(_ordered)]


Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e12)]  # of a part of a loss
Rate = Annotated[float, Field(gt=0, le=1)]  # of learning
Minutes = Annotated[float, Field(gt=0, le=1e7)]
Steps = Annotated[int, Field(gt=0, le=1_000_000_000)]
Threads = Annotated[int, Field(gt=0, le=1024)]
Cutoff = Annotated[float, Field(ge=0.5, le=20)]  # A, of a network: pairs grow with its third power
Width = Annotated[int, Field(gt=0, le=4096)]  # channels, radial functions
Degree = Annotated[int, Field(gt=0, le=10)]  # of a polynomial
Columns = Annotated[int, Field(gt=0, le=200_000)]  # of a matrix whose square is kept in memory
Temperature = Annotated[float, Field(gt=0, le=1e5)]  # K
Density = Annotated[float, Field(gt=0, le=100)]  # g/cm3
Time = Annotated[float, Field(gt=0, le=1e6)]  # ps
Timestep = Annotated[float, Field(gt=0, le=100)]  # fs
Length = Annotated[float, Field(gt=0, le=1000)]  # A, a distance or a cutoff
Amplitude = Annotated[float, Field(ge=0, le=10)]  # A, a standard deviation of positions
Shift = Annotated[float, Field(ge=-1000, le=1000)]  # A
Angle = Annotated[float, Field(gt=0, le=180)]  # degrees
Factor = Annotated[float, Field(gt=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]  # a fraction that is not nothing
Range = Annotated[float, Field(ge=1, le=50)]  # A, a cutoff in LAMMPS
Precision = Annotated[float, Field(ge=1e-10, le=1)]
HeavyAtoms = Annotated[int, Field(gt=0, le=100)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Frames = Annotated[int, Field(gt=0, le=FRAMES_AT_MOST)]
