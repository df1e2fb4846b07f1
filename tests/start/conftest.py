"""A LAMMPS that evaluates a force field from SMILES on free molecules."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit")
from tlmd.lammps_serial import SerialLammps
from tlmd.start.datafile import data_file
from tlmd.start.forcefield import ForceField

ROOM_A = 30.0  # images are more than 55 A away
FREE = {  # the lines of an include that differ between a liquid and free molecules
    "pair_style lj/cut/coul/long ${cutoff}": "pair_style lj/cut/coul/cut 55",
    "pair_style lj/cut ${cutoff}": "pair_style lj/cut 55",
    "pair_modify tail yes": "",
    "kspace_style pppm ${accuracy}": "",
}
PARTS = ("ebond", "eangle", "edihed", "eimp", "evdwl", "ecoul")  # kcal/mol, of thermo_style


class Free:
    """Energies by parts (kcal/mol) and forces (N, 3) (kcal/mol/A) of free molecules."""

    def __init__(self, folder: Path):
        self.folder, self.serial = folder, SerialLammps("real")

    def __call__(self, field: ForceField, positions: np.ndarray, counts=(1,)) -> tuple[dict[str, float], np.ndarray]:
        low, high = positions.min(0) - ROOM_A, positions.max(0) + ROOM_A
        (self.folder / "system.data").write_text(data_file(field, counts, positions, low, high))
        text = field.include()
        for long, free in FREE.items():
            text = text.replace(long, free)
        (self.folder / "free.in").write_text(text)
        style = f"thermo_style custom step pe {' '.join(PARTS)}\nthermo_modify norm no"
        self.serial.commands(f"clear\nvariable data delete\ninclude free.in\n{style}\nrun 0 post no", self.folder)
        return {name: self.serial.lammps.get_thermo(name) for name in PARTS}, self.serial.gather("f")


@pytest.fixture
def free(tmp_path):
    evaluate = Free(tmp_path)
    yield evaluate
    evaluate.serial.close()
