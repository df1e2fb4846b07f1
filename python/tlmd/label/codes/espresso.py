"""Quantum ESPRESSO's pw.x (Giannozzi et al., J. Phys.: Condens. Matter 29, 465901, 2017); input written by ase.io."""

from __future__ import annotations

import math
import re
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from ase.io.espresso import write_espresso_in
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.label.interfaces import Code, CodeConfig, NoLabel, Result, code, found, more_input
from tlmd.run.config import ConfigPath
from tlmd.run.errors import InputError
from tlmd.run.files import write_text
from tlmd.run.quantities import Precision, Steps
from tlmd.units import BAR_PER_EV_A3, BOHR_A, EV_PER_HARTREE

INPUT, OUTPUT, SCRATCH = "pw.in", "pw.out", "scratch"
NUMBER = r"-?\d+\.\d+(?:[EeDd][-+]?\d+)?"
GRID = Annotated[int, Field(gt=0, le=100)]
EV_PER_RY = EV_PER_HARTREE / 2
DISPERSION = {"D3": {"dftd3_version": 3}, "D3BJ": {"dftd3_version": 4}}


class EspressoConfig(CodeConfig):
    """Quantum ESPRESSO (pw.x): plane waves, any periodic system."""

    elsewhere: ClassVar[tuple[str, ...]] = ("command", "pseudo_dir")  # the files are known by their contents

    name: Literal["espresso"]
    command: str = Field(
        "pw.x", description='launch, e.g. "mpirun -np {cores} pw.x -nk 2"; {cores} is that of the executor'
    )
    pseudo_dir: ConfigPath = Field(description="folder of the pseudopotentials")
    pseudopotentials: dict[str, str] = Field(description='file of each element, e.g. {O = "O.upf", H = "H.upf"}')
    functional: str | None = Field(None, description="input_dft of pw.x; absent: that of the pseudopotentials")
    dispersion: Literal["none", "D3", "D3BJ"] = Field("none", description="D3 with zero damping, or Becke-Johnson's")
    ecutwfc_Ry: Annotated[float, Field(gt=0, le=1000)] = Field(80.0, description="Ry, cutoff of the wavefunctions")
    ecutrho_Ry: Annotated[float, Field(gt=0, le=10000)] | None = Field(
        None, description="Ry, of the density; absent: 4 times ecutwfc_Ry; ultrasoft and PAW need 8 to 12 times"
    )
    k_points: tuple[GRID, GRID, GRID] = Field((1, 1, 1), description="Monkhorst-Pack grid; 1 1 1: the point Gamma")
    smearing_Ry: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Ry, of cold smearing (Marzari-Vanderbilt), for metals; 0: fixed occupations"
    )
    spin: bool = Field(False, description="spin-polarised also where the multiplicity is 1")
    eps_scf_Ry: Precision = Field(1e-9, description="Ry, estimated error of the energy at convergence")
    max_scf: Steps = Field(100, description="SCF steps at most")
    mixing: Annotated[float, Field(gt=0, le=1)] = Field(0.4, description="part of the new density")
    input: dict[str, dict[str, Any]] = Field(
        {}, description="further keys of the namelists, e.g. {system = {nosym = true}}; they win over all others"
    )

    def files(self) -> dict[str, Path]:
        """The pseudopotentials."""
        return {f"pseudopotentials.{name}": self.pseudo_dir / file for name, file in self.pseudopotentials.items()}


@code
class Espresso(Code):
    """One scf with forces and stress. Odd numbers of electrons without smearing are spin-polarised."""

    config: EspressoConfig
    output = OUTPUT

    def level(self) -> dict[str, str | float]:
        config = self.config
        k_points = {} if config.k_points == (1, 1, 1) else {"k_points": "x".join(map(str, config.k_points))}
        return {
            "functional": config.functional or "of the pseudopotentials",
            "basis": "plane waves, " + " ".join(config.pseudopotentials.values()),
            "cutoff_Ry": config.ecutwfc_Ry,
            "dispersion": config.dispersion,
        } | (k_points | more_input(config.input))

    def check(self, frame: Frame) -> None:
        if abs(np.linalg.det(frame.cell)) < 1e-3:
            raise InputError("a frame without a cell for espresso", "three cell vectors", "add vacuum around it")
        missing = {chemical_symbols[z] for z in frame.numbers} - self.config.pseudopotentials.keys()
        if missing:
            got = f"no pseudopotential of {' '.join(sorted(missing))}"
            raise InputError(got, "one for each element", "add it to calculator.pseudopotentials")
        if not self.config.smearing_Ry:
            self.multiplicity(frame)

    def command(self, cores: int) -> str:
        run = f"{self.config.command.replace('{cores}', str(cores))} -in {INPUT} > {OUTPUT}"
        return f"{run}; code=$?; rm -rf {SCRATCH}; exit $code"

    def write(self, folder: Path, frame: Frame, stress: bool) -> list[str]:
        config = self.config
        gamma = config.k_points == (1, 1, 1)
        text = StringIO()
        write_espresso_in(
            text,
            frame.atoms(),
            input_data=self._namelists(frame, stress),
            pseudopotentials=config.pseudopotentials,
            kpts=None if gamma else config.k_points,
        )
        write_text(folder / INPUT, text.getvalue())
        return [INPUT]

    def _namelists(self, frame: Frame, stress: bool) -> dict[str, dict[str, Any]]:
        config = self.config
        control = {"calculation": "scf", "tprnfor": True, "tstress": stress, "disk_io": "none", "outdir": SCRATCH}
        control["pseudo_dir"] = str(config.pseudo_dir)
        system: dict[str, Any] = {
            "ecutwfc": config.ecutwfc_Ry,
            "ecutrho": config.ecutrho_Ry or 4 * config.ecutwfc_Ry,
            "tot_charge": self.charge(frame),
        }
        if config.functional:
            system["input_dft"] = config.functional
        if config.dispersion != "none":
            system |= {"vdw_corr": "dft-d3", "dftd3_threebody": False} | DISPERSION[config.dispersion]
        if config.smearing_Ry:
            system |= {"occupations": "smearing", "smearing": "mv", "degauss": config.smearing_Ry}
        given = "multiplicity" in frame.info or config.multiplicity is not None
        if given or not config.smearing_Ry:
            multiplicity = self.multiplicity(frame)
            if config.spin or multiplicity > 1:
                system |= {"nspin": 2, "tot_magnetization": multiplicity - 1}
        elif config.spin:
            first = chemical_symbols[frame.numbers[0]]
            raise InputError(f"spin with smearing and no multiplicity ({first})", "a multiplicity", "give it")
        electrons = {
            "conv_thr": config.eps_scf_Ry,
            "electron_maxstep": config.max_scf,
            "mixing_beta": config.mixing,
        }
        tables = {"control": control, "system": system, "electrons": electrons}
        for name, more in config.input.items():
            tables[name.lower()] = tables.get(name.lower(), {}) | more
        return tables

    def read(self, folder: Path, frame: Frame, stress: bool) -> Result:
        return read_output((folder / OUTPUT).read_text(encoding="utf-8", errors="replace"), len(frame), stress)


def read_output(text: str, n_atoms: int, stress: bool) -> Result:
    """The labels in an output of pw.x; NoLabel if the run or its SCF did not end well.

    The energy with smearing is the free energy E - TS, whose derivatives the forces are: what pw.x calls total energy.
    """
    if error := re.search(r"Error in routine (.*?)%{20}", text, flags=re.DOTALL):
        raise NoLabel(f"pw.x: {' '.join(error[0].replace('%', ' ').split())[:200]}")
    if "convergence NOT achieved" in text:
        raise NoLabel(f"SCF not converged in {len(re.findall(r'iteration #', text))} steps")
    if "JOB DONE" not in text or "convergence has been achieved" not in text:
        raise NoLabel("pw.x did not end: killed, out of memory, or still running")
    energy = float(found(rf"^!\s+total energy\s+=\s+({NUMBER}) Ry", text, "energy")[1])
    rows = re.findall(rf"^\s+atom\s+(\d+) type\s+\d+\s+force =\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})", text, re.M)
    block = rows[:n_atoms]  # the total forces come first, then their parts
    if [int(row[0]) for row in block] != list(range(1, n_atoms + 1)):
        raise NoLabel("no forces of all atoms in the output")
    forces = np.array([row[1:] for row in block], dtype=float) * EV_PER_RY / BOHR_A
    tensor = None
    if stress:
        start = found(r"total\s+stress.*$", text, "stress").end()
        numbers = [float(word) for word in text[start:].split()[:18]]
        kbar = np.array(numbers).reshape(3, 6)[:, 3:]
        tensor = -(kbar + kbar.T) / 2 * 1000 / BAR_PER_EV_A3  # pw.x counts compression positive
    if not math.isfinite(energy):
        raise NoLabel(f"energy {energy}")
    version = found(r"Program PWSCF v\.\s*(\S+)", text, "version of pw.x")[1]
    steps = len(re.findall(r"iteration #", text))
    return Result(energy * EV_PER_RY, forces, tensor, "Quantum ESPRESSO", version, steps)
