"""The teacher SPC/Fw: flexible water (Wu, Tepper, Voth, J. Chem. Phys. 124, 024503, 2006)."""

from __future__ import annotations

from typing import Literal

from tlmd.generate.registry import teacher
from tlmd.generate.teachers.lammps_water import LammpsWater, WaterTeacherConfig

BOND_A, ANGLE_DEG = 1.012, 113.24
MASS_G_MOL = 15.9994 + 2 * 1.008
EPSILON_KCAL_MOL, SIGMA_A = 0.1554253, 3.165492
_COMMANDS = f"""
pair_style lj/cut/coul/${{coulomb}} ${{cutoff}}
bond_style harmonic
angle_style harmonic
special_bonds lj/coul 0 0 0
bond_coeff 1 {1059.162 / 2} {BOND_A}
angle_coeff 1 {75.90 / 2} {ANGLE_DEG}
pair_coeff * * 0.0 1.0
pair_coeff 1 1 {EPSILON_KCAL_MOL} {SIGMA_A}
if "${{coulomb}} == long" then "kspace_style pppm ${{accuracy}}"
"""


class SPCFwConfig(WaterTeacherConfig):
    """The teacher SPC/Fw: flexible water (Wu, Tepper, Voth 2006)."""

    name: Literal["spcfw"] = "spcfw"


@teacher
class SPCFw(LammpsWater):
    """Nothing in SPC/Fw keeps O and H of different molecules apart: frames with such contacts are unfit."""

    config: SPCFwConfig

    def __init__(self, config: SPCFwConfig):
        super().__init__(config, "real", _COMMANDS)
