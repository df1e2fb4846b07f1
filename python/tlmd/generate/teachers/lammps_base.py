"""What teachers evaluated by LAMMPS share: the instance, labels of what is set up, Langevin dynamics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.dynamics import WALL_EV_A2, wall_radius
from tlmd.generate.interfaces import Teacher, TeacherConfig, Unsuited
from tlmd.lammps_serial import SerialLammps, Stopped
from tlmd.run.errors import InputError
from tlmd.run.quantities import Timestep
from tlmd.units import EV_PER_KCAL_MOL

DAMP_FS = 100.0  # relaxation time of the Langevin thermostat
RELAXED_EV_A = 0.1 * EV_PER_KCAL_MOL  # before a trajectory


class LammpsConfig(TeacherConfig):
    """What every teacher evaluated by LAMMPS has."""

    timestep_fs: Timestep = Field(1.0, description="fs, time step of the trajectories")


class LammpsTeacher(Teacher):
    """A force field in LAMMPS' `units`.

    Each instance owns one serial LAMMPS, so the ranks of an MPI job work independently.
    """

    config: LammpsConfig

    def __init__(self, config: LammpsConfig, units: str):
        super().__init__(config)
        self._serial = SerialLammps(units)
        self.style, self.units = units, self._serial.units

    def close(self) -> None:
        self._serial.close()

    def _commands(self, commands: str, folder: Path | str = ".") -> None:
        """Run LAMMPS commands in `folder`, see SerialLammps. Raises Unsuited if LAMMPS stops."""
        with unsuited():
            self._serial.commands(commands, folder)

    def _labelled(self, frame: Frame, runs: int = 1) -> Frame:
        """`frame` with the labels of what is set up, after `runs` evaluations; stress (virial part) if periodic."""
        with unsuited():
            energy, forces, stress = self._serial.labels(bool(frame.pbc.all()), runs)
        return frame.replace(energy=energy, forces=forces, stress=stress)

    def _liquid(
        self, frame: Frame, temperature_K: float, equilibrate_ps: float, spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield `count` frames `spacing_ps` apart of molecules that are set up. They are relaxed, heated to twice the
        temperature for a third of `equilibrate_ps` to forget their start, then kept at `temperature_K`; free ones,
        about the origin, are held by a soft spherical wall.
        """
        if not frame.pbc.any():
            radius = wall_radius(self._serial.gather("x"))
            stiffness = WALL_EV_A2 / self.units["energy_eV"]
            self._commands(f"fix wall all indent {stiffness} sphere 0 0 0 {radius} side in units box")
        self._commands(f"minimize 0.0 {RELAXED_EV_A / self.units['energy_eV']} 100 200")
        stages = ((2 * temperature_K, equilibrate_ps / 3), (temperature_K, equilibrate_ps * 2 / 3))
        yield from self._langevin(frame, stages, spacing_ps, count, seed)

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
            yield Frame(frame.numbers, self._serial.gather("x"), frame.cell, frame.pbc, info=dict(frame.info))


@contextlib.contextmanager
def unsuited() -> Iterator[None]:
    """Where LAMMPS stops, Unsuited is raised."""
    try:
        yield
    except Stopped as error:
        raise Unsuited(*error.parts) from None


def edges_and_tilts(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Edges xx yy zz and tilts xy xz yz (A) of a LAMMPS box. Raises InputError for another orientation of the cell."""
    (xx, xy0, xz0), (xy, yy, yz0), (xz, yz, zz) = frame.cell
    if np.abs([xy0, xz0, yz0]).max() > 1e-8 or min(xx, yy, zz) <= 0:
        raise InputError("a cell of general orientation", "a lower-triangular cell (a on x, b in xy)", "rotate it")
    return np.array([xx, yy, zz]), np.array([xy, xz, yz])
