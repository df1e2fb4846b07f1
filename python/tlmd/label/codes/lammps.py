"""A potential that LAMMPS runs, in DFT's place: ReaxFF, another network, a classical force field."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.lammps_include import Include
from tlmd.generate.teachers.lammps import Lammps, LammpsFilesConfig, Variables, files_of
from tlmd.label.codes.ase import version_of
from tlmd.label.interfaces import CodeConfig, NoLabel, PythonCode, Result, code
from tlmd.run.config import ConfigPath

FOLDER = Path("forcefield")  # in that of a frame


class LammpsCodeConfig(CodeConfig):
    """A potential that LAMMPS runs, as in tl-generate's teacher of that name: a data file and an include. LAMMPS input
    can run other programs: such a file is code.
    """

    name: Literal["lammps"]
    data: ConfigPath = Field(description="LAMMPS data file with the molecules of the frames, or their elements")
    include: ConfigPath = Field(
        description="commands: units (real or metal), atom_style, `read_data ${data}`, coefficients, kspace_style"
    )
    variables: Variables = Field({}, description="variables of the include: {accuracy = 1e-6}")
    elements: list[str] = Field([], description="of the atom types 1, 2, ...; absent: by their masses")
    level: str = Field(description="level of theory in words, written into each label")

    def files(self) -> dict[str, Path]:
        return files_of(self.data, self.include)


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
        names = {key: FOLDER / key.removeprefix("include/") for key in self.config.files()}
        for key, path in self.config.files().items():
            (folder / names[key]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / names[key])
        copied = self.config.model_copy(update={key: names[key] for key in ("data", "include")})
        return [*self.write_input(folder, copied, frame, stress), *map(str, names.values())]

    def compute(self, frame: Frame, stress: bool) -> Result:
        wanted = self.config.model_dump(include=set(LammpsFilesConfig.model_fields))
        lammps = Lammps(LammpsFilesConfig(**wanted))
        try:
            found = lammps.label(frame)
        except Unsuited as error:
            raise NoLabel(" ".join(f"LAMMPS: {error}".split())) from None
        finally:
            lammps.close()
        return Result(found.energy, found.forces, found.stress if stress else None, "LAMMPS", version_of("lammps"))
