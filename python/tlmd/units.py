"""The only unit conversions and signs of the package.

Inside tlmd: energy eV, length A, force eV/A, stress eV/A^3 (ASE's sign: tension positive), virial eV (LAMMPS' sign),
mass g/mol, time fs, charge e. CODATA 2018.
"""

from __future__ import annotations

import numpy as np

EV_PER_KCAL_MOL = 0.0433641153087705  # 1 kcal/mol in eV
EV_PER_KJ_MOL = EV_PER_KCAL_MOL / 4.184
EV_PER_HARTREE = 27.211386245988
BOHR_A = 0.529177210903
ATOMIC_TIME_FS = 2.4188843265857e-2  # atomic unit of time in fs
COULOMB_EV_A = EV_PER_HARTREE * BOHR_A  # energy of two elementary charges at 1 A
BOLTZMANN_J_K = 1.380649e-23  # J/K
BOLTZMANN_EV_K = BOLTZMANN_J_K / 1.602176634e-19  # eV/K
AVOGADRO = 6.02214076e23  # 1/mol
BAR_PER_EV_A3 = 1602176.634  # 1 eV/A^3 in bar
M2_S_PER_A2_FS = 1e-5  # 1 A^2/fs in m^2/s
A2_FS2_PER_EV_GMOL = 1.602176634e-19 * AVOGADRO * 1e-7  # 1 eV/(g/mol) in A^2/fs^2
WAVENUMBER_PER_FS = 2.99792458e-5  # 1 cm^-1 as a frequency in 1/fs
MPA_S_PER_BAR2_A3_FS_J = 1e-32  # 1 bar^2 A^3 fs / J in mPa s
S_M_PER_E2_A_FS_J = 1.602176634e-19**2 * 1e25  # 1 e^2 / (A fs J) in S/m
W_M_PER_EV2_FS_A_J = 1.602176634e-19**2 * 1e25  # 1 eV^2 / (fs A J) in W/m
MN_M_PER_BAR_A = 1e-2  # 1 bar A in mN/m
GCM3_PER_GMOL_A3 = 1e24 / AVOGADRO  # 1 (g/mol)/A^3 in g/cm^3

# LAMMPS unit style -> (energy in eV, time in fs, pressure in bar); lengths are A in both.
LAMMPS_UNITS = {
    "metal": {"energy_eV": 1.0, "time_fs": 1000.0, "pressure_bar": 1.0},
    "real": {"energy_eV": EV_PER_KCAL_MOL, "time_fs": 1.0, "pressure_bar": 1.01325},
}


def density_g_cm3(mass_g_mol: float | np.ndarray, volume_A3: float | np.ndarray) -> np.ndarray:
    """Mass density in g/cm^3 from the mass of a box in g/mol and its volume in A^3."""
    return np.asarray(mass_g_mol) / np.asarray(volume_A3) * GCM3_PER_GMOL_A3
