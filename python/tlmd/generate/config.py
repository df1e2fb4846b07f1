"""The configuration of tl-generate: what its tables share; teachers and systems bring theirs in their own files."""

from __future__ import annotations

import re
from typing import Annotated, Any, Union

from pydantic import Field, model_validator

from tlmd.generate import systems, teachers
from tlmd.generate.registry import SYSTEMS, TEACHERS, config_of, configs_of, scan
from tlmd.generate.teachers.spcfw import SPCFwConfig
from tlmd.run.config import StageConfig
from tlmd.run.quantities import FRAMES_AT_MOST, Part

scan(teachers)
scan(systems)
AnyTeacherConfig = Annotated[Union[configs_of(TEACHERS)], Field(discriminator="name")]
AnySystemConfig = Annotated[Union[configs_of(SYSTEMS)], Field(discriminator="kind")]
NAME = r"\w[\w .+-]{0,49}"  # of a system: it goes into names of files
Tolerance = Annotated[float, Field(gt=0, le=1e6)]


class GenerateConfig(StageConfig):
    """tl-generate: which systems, labelled by which teacher."""

    teacher: AnyTeacherConfig = Field(
        SPCFwConfig(), description="what labels the frames; its `name` chooses the further keys"
    )
    scale: Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="factor on the number of frames of every system"
    )
    max_force: Tolerance = Field(30.0, description="eV/A: frames with a larger force component are dropped")
    energy_tolerance: Tolerance = Field(
        1e-6, description="eV/atom, largest difference of a label and its evaluation from the written file"
    )
    force_tolerance: Tolerance = Field(
        5e-5, description="eV/A, the same for forces; the mesh of pppm may change by the rounding of the box"
    )
    recheck: Part = Field(1.0, description="part of the labels that is evaluated again from the file")
    systems: dict[str, AnySystemConfig] = Field(
        description="the systems, each under a name of your choice; their `kind` chooses the further keys"
    )

    @model_validator(mode="after")
    def _has_systems(self) -> GenerateConfig:
        if not self.systems:
            raise ValueError("at least one table [systems.NAME]")
        if strange := [name for name in self.systems if not re.fullmatch(NAME, name)]:
            raise ValueError(f"systems named by up to 50 letters, digits, _ - + . and spaces, not '{strange[0][:60]}'")
        if sum(system.frames for system in self.systems.values()) * self.scale > FRAMES_AT_MOST:
            raise ValueError(f"at most {FRAMES_AT_MOST} frames in all, times scale")
        for name, system in self.systems.items():
            require_fit(self.teacher.matter, self.teacher.name, system.matter, name)
            if self.teacher.needs_smiles and system.matter == "liquid" and not system.smiles:
                raise ValueError(f"smiles of {name}: the teacher {self.teacher.name} brings no molecules of its own")
        return self

    @model_validator(mode="before")
    @classmethod
    def _kinds_go_with_the_teacher(cls, data: Any) -> Any:
        """First of all: in a kind that does not fit, unknown keys are not what is wrong."""
        tables = data if isinstance(data, dict) else {}
        teacher, systems = tables.get("teacher", {"name": "spcfw"}), tables.get("systems")
        label = TEACHERS.get(str(teacher.get("name"))) if isinstance(teacher, dict) else None
        for name, system in systems.items() if isinstance(systems, dict) and label else ():
            kind = SYSTEMS.get(str(system.get("kind"))) if isinstance(system, dict) else None
            if kind:
                require_fit(config_of(label).matter, teacher["name"], config_of(kind).matter, name)
        return data


def require_fit(known: tuple[str, ...], teacher: str, matter: str, system: str) -> None:
    """ValueError unless a teacher that knows `known` can label a system of `matter`."""
    if matter not in ("any", *known):
        raise ValueError(f"systems of {' or '.join(known)} for {teacher}; {system} is {matter}")
