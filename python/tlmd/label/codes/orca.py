"""Molecules by ORCA (Neese et al., J. Chem. Phys. 152, 224108, 2020); input and gradient by ase.io."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from ase.io.orca import read_orca_engrad, write_orca
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.label.interfaces import Code, CodeConfig, NoLabel, Result, code, found, refuse_periodic
from tlmd.run.files import write_text
from tlmd.run.quantities import Steps
from tlmd.units import EV_PER_HARTREE

INPUT, OUTPUT, GRADIENT = "orca.inp", "orca.out", "orca.engrad"


class OrcaConfig(CodeConfig):
    """Molecules by ORCA: hybrids, double hybrids, coupled cluster with gradients."""

    elsewhere: ClassVar[tuple[str, ...]] = ("command", "memory_GB")

    name: Literal["orca"]
    command: str = Field("orca", description="launch; several processes want the full path of orca")
    keywords: str = Field(
        "wB97M-V def2-TZVPD TightSCF DefGrid3", description="the line with ! of the input; EnGrad is added"
    )
    blocks: str = Field("", description="further blocks of the input, e.g. %scf ... end")
    max_scf: Steps = Field(200, description="SCF steps at most")
    memory_GB: float = Field(2.0, gt=0, le=10000, description="memory of each process")


@code
class Orca(Code):
    """`cores` of the executor is the number of ORCA's processes."""

    config: OrcaConfig
    output = OUTPUT

    def level(self) -> dict[str, str | float]:
        return {"functional": self.config.keywords}

    def check(self, frame: Frame) -> None:
        refuse_periodic(frame, "orca")
        self.multiplicity(frame)

    def command(self, cores: int) -> str:
        processes = f"printf '%%pal nprocs {cores} end\\n' | cat - {INPUT} > run.inp"
        return (
            f"{processes}; {self.config.command} run.inp > {OUTPUT}; code=$?; mv -f run.engrad {GRADIENT}; exit $code"
        )

    def write(self, folder: Path, frame: Frame, stress: bool) -> list[str]:
        config = self.config
        blocks = f"%maxcore {1000 * config.memory_GB:.0f}\n%scf maxiter {config.max_scf} end\n{config.blocks}"
        settings = {"orcasimpleinput": f"EnGrad {config.keywords}", "orcablocks": blocks}
        settings |= {"charge": self.charge(frame), "mult": self.multiplicity(frame)}
        text = StringIO()
        write_orca(text, frame.atoms(), settings)
        write_text(folder / INPUT, text.getvalue())
        return [INPUT]

    def read(self, folder: Path, frame: Frame, stress: bool) -> Result:
        text = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
        if "SCF NOT CONVERGED" in text.upper():
            raise NoLabel("SCF not converged")
        if "ORCA TERMINATED NORMALLY" not in text:
            raise NoLabel("ORCA did not end: killed, out of memory, or still running")
        if stress:
            raise NoLabel("a molecule has no stress")
        if not (folder / GRADIENT).is_file():
            raise NoLabel(f"no {GRADIENT}")
        energy = float(found(r"FINAL SINGLE POINT ENERGY\s+(-?\d+\.\d+)", text, "energy")[1])
        forces = np.array(read_orca_engrad(str(folder / GRADIENT)))
        if forces.shape != (len(frame), 3):
            raise NoLabel(f"forces of {len(forces)} atoms in {GRADIENT}, {len(frame)} in the frame")
        version = found(r"Program Version\s+(\S+)", text, "version of ORCA")[1]
        steps = re.findall(r"SCF CONVERGED AFTER\s+(\d+) CYCLES", text)
        return Result(energy * EV_PER_HARTREE, forces, None, "ORCA", version, int(steps[-1]) if steps else None)
