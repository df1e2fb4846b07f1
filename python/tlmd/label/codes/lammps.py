"""A potential that LAMMPS runs, in DFT's place: ReaxFF, another network, a classical force field."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.lammps_include import Include
from tlmd.generate.teachers.lammps import ForceFieldConfig
from tlmd.label.codes.ase import version_of
from tlmd.label.interfaces import CodeConfig, NoLabel, PythonCode, Result, code

FOLDER = Path("forcefield")  # in that of a frame


class LammpsCodeConfig(ForceFieldConfig, CodeConfig):
    """A potential that LAMMPS runs, as in tl-generate's teacher of that name: a data file and an include. LAMMPS input
    can run other programs: such a file is code.
    """

    name: Literal["lammps"]
    level: str = Field(description="level of theory in words, written into each label")


@code
class LammpsCode(PythonCode):
    """The files of the force field are copied into the folder of each frame, so that the label's hash is theirs."""

    config: LammpsCodeConfig

    def __init__(self, config: LammpsCodeConfig):
        super().__init__(config)
        Include(config.include).require(config.variables, "calculator.variables")

    def level(self) -> dict[str, str | float]:
        return {"functional": self.config.level}

    def write(self, folder: Path, frame: Frame, stress: bool) -> list[str]:
        files = self.config.files()
        names = {key: FOLDER / key.removeprefix("include/") for key in files}
        for key, path in files.items():
            (folder / names[key]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / names[key])
        copied = self.config.model_copy(update={key: names[key] for key in ("data", "include")})
        return [*self.write_input(folder, copied, frame, stress), *map(str, names.values())]

    def compute(self, frame: Frame, stress: bool) -> Result:
        lammps = self.config.teacher()
        try:
            found = lammps.label(frame)
        except Unsuited as error:
            raise NoLabel(" ".join(f"LAMMPS: {error}".split())) from None
        finally:
            lammps.close()
        return Result(found.energy, found.forces, found.stress if stress else None, "LAMMPS", version_of("lammps"))
