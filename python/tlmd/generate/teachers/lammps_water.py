"""Water evaluated by LAMMPS with a force field: labels of frames, and trajectories that propose frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.teachers.lammps_base import LammpsConfig, LammpsTeacher, edges_and_tilts
from tlmd.run.errors import InputError
from tlmd.run.quantities import Length, Precision, Range
from tlmd.units import EV_PER_KCAL_MOL

CHARGES = (-0.82, 0.41, 0.41)  # of O H H in the data file, e
FREE_CUTOFF_A = 100.0  # of free clusters: everything sees everything
LONGEST_EDGE_A = 200.0  # of periodic boxes
WALL_EV_A2 = 10.0 * EV_PER_KCAL_MOL  # stiffness of the wall that holds a free cluster while it is sampled


class WaterTeacherConfig(LammpsConfig):
    """What every teacher of water has; LAMMPS evaluates it."""

    matter: ClassVar[tuple[str, ...]] = ("water",)
    cutoff_A: Range = Field(9.0, description="A, cutoff for the labels of periodic frames; free clusters have none")
    accuracy: Precision = Field(1e-6, description="relative accuracy of pppm in labels")
    sampling_cutoff_A: Range = Field(
        6.0, description="A, cutoff of the trajectories, which only propose configurations"
    )
    sampling_accuracy: Precision = Field(1e-3, description="relative accuracy of pppm in the trajectories")
    min_contact_A: Length = Field(
        1.25, description="A: frames with a shorter O-H distance of two molecules are dropped"
    )


class LammpsWater(LammpsTeacher):
    """A teacher of water, atoms O H H, O H H, ... `commands`, in LAMMPS' `units`, give the force field to an atom_style
    full box (types 1 = O, 2 = H; bond type 1, angle type 1); they may read the variables coulomb (long in a periodic
    box, cut for a free cluster), cutoff (A) and accuracy (of the mesh), and files in `folder`.
    """

    config: WaterTeacherConfig

    def __init__(self, config: WaterTeacherConfig, units: str, commands: str, folder: Path | str = "."):
        super().__init__(config, units)
        self.commands, self.folder = commands, folder

    def unfit(self, frame: Frame) -> str | None:
        """The word contact if O and H of different molecules come nearer than `min_contact_A`."""
        require_water(frame)
        return "contact" if nearest_contact(frame) < self.config.min_contact_A else None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and, where periodic, stress (eV/A^3, virial part, tension positive).

        Raises InputError if the atoms are not O H H, O H H, ... or only some directions are periodic.
        """
        self._setup(frame, self.config.cutoff_A, self.config.accuracy)
        return self._labelled(frame)

    def trajectory(
        self, frame: Frame, temperature_K: float, equilibrate_ps: float, spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield `count` frames without labels from Langevin dynamics, `spacing_ps` apart.

        The start is relaxed, heated to twice the temperature for a third of `equilibrate_ps` (a lattice has to melt),
        then kept at `temperature_K`. A free cluster is held by a soft spherical wall.
        """
        self._setup(frame, self.config.sampling_cutoff_A, self.config.sampling_accuracy)
        command = self._commands
        if not frame.pbc.any():
            radius = 3.0 + 2.5 * (len(frame) / 3) ** (1 / 3)
            stiffness = WALL_EV_A2 / self.units["energy_eV"]
            command(f"fix wall all indent {stiffness} sphere 0 0 0 {radius} side in units box")
        command(f"minimize 0.0 {0.1 * EV_PER_KCAL_MOL / self.units['energy_eV']} 100 200")
        stages = ((2 * temperature_K, equilibrate_ps / 3), (temperature_K, equilibrate_ps * 2 / 3))
        yield from self._langevin(frame, stages, spacing_ps, count, seed)

    def _setup(self, frame: Frame, cutoff: float, accuracy: float) -> None:
        """Put the frame and the force field into an empty LAMMPS."""
        require_water(frame)
        periodic = bool(frame.pbc.all())
        coulomb, cutoff = ("long", cutoff) if periodic else ("cut", FREE_CUTOFF_A)
        if periodic and np.diag(frame.cell).max() > LONGEST_EDGE_A:
            got = f"a cell of {np.diag(frame.cell).max():g} A"
            raise Unsuited(got, f"edges of at most {LONGEST_EDGE_A:g} A: pppm's mesh", "cut it out of the file")
        variables = {"coulomb": coulomb, "cutoff": cutoff, "accuracy": accuracy}
        start = [f"variable {name} delete\nvariable {name} index {value}" for name, value in variables.items()]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "water.data").write_text(_data_file(frame), encoding="utf-8")
            self._commands(
                "\n".join(["clear", *start])
                + f"""
units {self.style}
atom_style full
boundary {"p p p" if periodic else "s s s"}
read_data water.data
""",
                folder,
            )
        self._commands(
            f"""
{self.commands}
neighbor 1.0 {"bin" if periodic else "nsq"}
{"" if periodic else "comm_modify cutoff 20.0"}
thermo_modify norm no
""",
            self.folder,
        )


def require_water(frame: Frame) -> None:
    """InputError unless the atoms are O H H, O H H, ... and all directions are periodic, or none."""
    if len(frame) % 3 or (frame.numbers.reshape(-1, 3) != [8, 1, 1]).any():
        raise InputError(f"{len(frame)} atoms in another order", "water as O H H, O H H, ...", "reorder the atoms")
    if frame.pbc.any() and not frame.pbc.all():
        raise InputError(f"pbc {frame.pbc}", "all directions periodic or none", "change pbc of the frame")


def nearest_contact(frame: Frame) -> float:
    """The shortest O-H distance (A) between different molecules, minimum image; inf for a single molecule."""
    molecules = frame.positions.reshape(-1, 3, 3)
    vectors = molecules[:, None, None, 0] - molecules[None, :, 1:]  # (M, M, 2, 3)
    if frame.pbc.all():
        vectors = minimum_image(vectors, frame.cell)
    distances = np.linalg.norm(vectors, axis=-1)
    distances[np.arange(len(molecules)), np.arange(len(molecules))] = np.inf
    return float(distances.min())


def _data_file(frame: Frame) -> str:
    """The frame as a LAMMPS data file with its bonds and angles."""
    count = len(frame)
    if frame.pbc.all():
        high, tilt = edges_and_tilts(frame)
        low = np.zeros(3)
    else:
        low, high, tilt = frame.positions.min(0) - 5, frame.positions.max(0) + 5, (0, 0, 0)
    lines = ["Water", "", f"{count} atoms", f"{2 * count // 3} bonds", f"{count // 3} angles"]
    lines += ["2 atom types", "1 bond types", "1 angle types"]
    lines += [f"{a:.12f} {b:.12f} {x}lo {x}hi" for a, b, x in zip(low, high, "xyz", strict=True)]
    if any(tilt):
        lines += ["{:.12f} {:.12f} {:.12f} xy xz yz".format(*tilt)]
    lines += ["", "Masses", "", "1 15.9994", "2 1.008", "", "Atoms # full", ""]
    for i, x in enumerate(frame.positions):
        kind, charge = (1, 2, 2)[i % 3], CHARGES[i % 3]
        lines.append("{} {} {} {} {:.12f} {:.12f} {:.12f}".format(i + 1, i // 3 + 1, kind, charge, *x))
    bonds = ((3 * (i // 2) + 1, 3 * (i // 2) + 2 + i % 2) for i in range(2 * count // 3))
    lines += ["", "Bonds", ""] + [f"{i + 1} 1 {a} {b}" for i, (a, b) in enumerate(bonds)]
    lines += ["", "Angles", ""] + [f"{i + 1} 1 {3 * i + 2} {3 * i + 1} {3 * i + 3}" for i in range(count // 3)]
    return "\n".join(lines) + "\n"
