"""The teacher of a force field of water that tl-calibrate matched to DFT frames."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.registry import teacher
from tlmd.generate.teachers.lammps_water import LammpsWater, WaterTeacherConfig
from tlmd.lammps_serial import beside
from tlmd.run.config import ConfigPath
from tlmd.run.errors import InputError

INCLUDE, TABLE = "forcefield.in", "forcefield.table"
MOLECULE_A = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


class CalibratedConfig(WaterTeacherConfig):
    """A force field of water that tl-calibrate matched to a few DFT frames. Its include is run by LAMMPS, whose input
    can run other programs: such a file is code.
    """

    name: Literal["calibrated"]
    include: ConfigPath = Field(description="forcefield.in of the run folder of tl-calibrate; LAMMPS runs it")

    def files(self) -> dict[str, Path]:
        """The include, its table, and whatever else beside it is named in it."""
        found = {"include": self.include, f"include/{TABLE}": self.include.with_name(TABLE)}
        return found | {f"include/{name}": path for name, path in beside(self.include).items()}


@teacher
class Calibrated(LammpsWater):
    """The force field in the include of a run folder of tl-calibrate. InputError if LAMMPS cannot run it."""

    config: CalibratedConfig

    def __init__(self, config: CalibratedConfig):
        include = Path(config.include).absolute()
        for path in (include, include.with_name(TABLE)):
            if not path.is_file():
                raise InputError(f"no file {path}", f"{INCLUDE} and {TABLE} of tl-calibrate", "check teacher.include")
        commands = include.read_text(encoding="utf-8", errors="replace")
        commands = f"variable table delete\nvariable table index {TABLE}\n{commands}"
        super().__init__(config, "metal", commands, include.parent)
        try:
            self.label(Frame(np.array([8, 1, 1]), MOLECULE_A))
        except Unsuited as error:
            self.close()
            raise InputError(f"{include}: {error.why}", f"{INCLUDE} of tl-calibrate", "check teacher.include") from None
