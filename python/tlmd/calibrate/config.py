"""The configuration of tl-calibrate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlmd.frames.config import DataConfig
from tlmd.generate.teachers.lammps import ForceFieldConfig
from tlmd.run.config import Section, StageConfig
from tlmd.run.quantities import Count

Strength = Annotated[float, Field(gt=0, le=1e12)]
Start = Annotated[float, Field(gt=0, le=30)]
Weight = Annotated[float, Field(ge=0, le=1e12)]


class CalibrateTermsConfig(Section):
    """The terms of tl-calibrate and how firmly they keep to their priors: units of regularisation are eV/A."""

    cutoff_A: float = Field(6.0, gt=0, le=30, description="A, end of the pair splines")
    low_A: tuple[Start, Start, Start] = Field(
        (2.2, 1.2, 1.2),
        description="A, start of the O-O, O-H, H-H splines; not with `field`",
    )
    spacing_A: float = Field(0.24, ge=0.01, le=30, description="A, distance of their knots")
    smoothness: Strength = Field(10.0, description="on second differences of spline coefficients")
    ridge: Strength = Field(0.03, description="on spline coefficients")
    molecule: Strength = Field(3.0, description="on polynomials within molecules, at 0.2 A and 0.5 rad")
    charge: Strength = Field(0.3, description="on the factor of the product of charges; with `field` on changes in e")

    @model_validator(mode="after")
    def _splines_end_after_they_start(self) -> CalibrateTermsConfig:
        if self.cutoff_A <= max(self.low_A):
            raise ValueError(f"cutoff_A beyond the start of every spline, {max(self.low_A):g} A")
        return self


class FieldConfig(ForceFieldConfig):
    """A force field of any molecules to be corrected, as of tl-generate's teacher `lammps`. LAMMPS input can run other
    programs: such a file is code.
    """

    correct: list[Literal["bonds", "angles", "pairs", "charges"]] = Field(
        ["bonds", "angles", "pairs", "charges"], min_length=1, description="which terms; the others stay as they are"
    )


class CalibrateConfig(StageConfig):
    """tl-calibrate: a force field, of water or of `field`, matched to a few DFT frames by regularised least squares."""

    data: DataConfig = Field(description="the frames")
    field: FieldConfig | None = Field(None, description="the force field to correct; absent: a model of water")
    n_frames: Count | None = Field(None, description="number of frames of data.train to use; absent: all")
    select: Literal["random", "first"] = Field("random", description="which of them; random draws with the seed")
    energy: Weight = Field(1.0, description="weight of (eV/atom)^2, against forces")
    forces: Weight = Field(1.0, description="weight of (eV/A)^2")
    stress: Weight = Field(
        1.0, description="with `field`: weight of (eV/atom)^2, of stresses times the volume of an atom, against forces"
    )
    strengths: list[Strength] = Field(
        [0.001, 0.01, 0.1, 1.0, 10.0, 100.0],
        min_length=1,
        description="factors on the regularisation, chosen by leaving out a frame in turn; 1 if there is but one frame",
    )
    terms: CalibrateTermsConfig = Field(CalibrateTermsConfig(), description="the terms and their regularisation")
