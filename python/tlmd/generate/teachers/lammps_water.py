"""Water evaluated by LAMMPS with a force field: labels of frames, and trajectories that propose frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.composition import Composition, nearest_contact
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.lammps_data import DataFile
from tlmd.generate.teachers.lammps_base import LammpsConfig, LammpsTeacher, edges_and_tilts
from tlmd.lammps_serial import FREE_A
from tlmd.run.errors import InputError
from tlmd.run.quantities import Length, Precision, Range

CHARGES = (-0.82, 0.41, 0.41)  # of O H H in the data file, e
FREE_CUTOFF_A = 100.0  # of free clusters: everything sees everything
LONGEST_EDGE_A = 200.0  # of periodic boxes
DATA = DataFile(
    f"""Water

2 atom types
1 bond types
1 angle types
0 9 xlo xhi
0 9 ylo yhi
0 9 zlo zhi

Masses

1 15.9994
2 1.008

Atoms # full

1 1 1 {CHARGES[0]} 0 0 0
2 1 2 {CHARGES[1]} 1.012 0 0
3 1 2 {CHARGES[2]} -0.3993 0.9299 0

Bonds

1 1 1 2
2 1 1 3

Angles

1 1 2 1 3
""",
    "water",
)
(WATER,) = DATA.species({"1": 8, "2": 1})


class WaterTeacherConfig(LammpsConfig):
    """What every teacher of water has; LAMMPS evaluates it."""

    matter: ClassVar[tuple[str, ...]] = ("liquid",)
    cutoff_A: Range = Field(9.0, description="A, cutoff for the labels of periodic frames; free clusters have none")
    accuracy: Precision = Field(1e-6, description="relative accuracy of pppm in labels")
    sampling_cutoff_A: Range = Field(
        6.0, description="A, cutoff of the trajectories, which only propose configurations"
    )
    sampling_accuracy: Precision = Field(1e-3, description="relative accuracy of pppm in the trajectories")
    min_contact_A: Length = Field(
        1.25, description="A: frames with a shorter O-H or O-O distance of two molecules are dropped"
    )


class LammpsWater(LammpsTeacher):
    """A teacher of water, atoms O H H, O H H, ... `commands`, in LAMMPS' `units`, give the force field to an atom_style
    full box (types 1 = O, 2 = H; bond type 1, angle type 1); they may read the variables coulomb (long in a periodic
    box, cut for a free cluster), cutoff (A) and accuracy (of the mesh), and files in `folder`.
    """

    config: WaterTeacherConfig
    molecules = ((WATER, 1),)

    def __init__(self, config: WaterTeacherConfig, units: str, commands: str, folder: Path | str = "."):
        super().__init__(config, units)
        self.commands, self.folder = commands, folder

    def unfit(self, frame: Frame) -> str | None:
        """The word contact if O and H of different molecules come nearer than `min_contact_A`."""
        require_water(frame)
        return "contact" if nearest_contact(frame, water(len(frame) // 3)) < self.config.min_contact_A else None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and, where periodic, stress (eV/A^3, virial part, tension positive).

        Raises InputError if the atoms are not O H H, O H H, ... or only some directions are periodic.
        """
        self._setup(frame, self.config.cutoff_A, self.config.accuracy)
        return self._labelled(frame)

    def trajectory(
        self, frame: Frame, temperature_K: float, equilibrate_ps: float, spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield `count` frames without labels from Langevin dynamics, `spacing_ps` apart."""
        self._setup(frame, self.config.sampling_cutoff_A, self.config.sampling_accuracy)
        yield from self._liquid(frame, temperature_K, equilibrate_ps, spacing_ps, count, seed)

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


def water(count: int) -> Composition:
    """So many molecules of water."""
    return Composition([WATER], [0] * count)


def _data_file(frame: Frame) -> str:
    """The frame as a LAMMPS data file with its bonds and angles."""
    if frame.pbc.all():
        edges_and_tilts(frame)
        low, cell = np.zeros(3), frame.cell
    else:
        low, high = frame.positions.min(0) - FREE_A, frame.positions.max(0) + FREE_A
        cell = np.diag(high - low)
    return DATA.written(DATA.patterns * (len(frame) // 3), frame.positions, low, cell)
