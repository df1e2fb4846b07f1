"""An exported float64 model in LAMMPS: minimisation to the end, and an energy that keeps to the square of the step."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tlmd.export import export_model

from .conftest import water_box, write_data

MODEL = "water-spcfw-f64"
STEPS_FS = (0.4, 0.2, 0.1)
STYLE = """
pair_style tpainn
pair_coeff * * {model} O H
"""
START = """
units metal
atom_style atomic
read_data water.data
{style}
min_style cg
minimize 0 1e-6 1000 4000
velocity all create 300 7 loop geom
reset_timestep 0
write_data start.data nocoeff
"""
RUN = """
clear
units metal
atom_style atomic
read_data start.data
{style}
fix 1 all nve
thermo_style custom step etotal
thermo_modify format float %.12f
thermo 1
timestep {step}
run {n}
"""


def tables(text: str) -> list[np.ndarray]:
    """Total energies, eV, of each run."""
    rows, found = [line.split() for line in text.splitlines()], []
    for k, row in enumerate(rows):
        if row == ["Step", "TotEng"]:
            end = next(j for j in range(k, len(rows)) if rows[j][:2] == ["Loop", "time"])
            found.append(np.array([float(energy) for _, energy in rows[k + 1 : end]]))
    return found


def test_minimisation_ends_and_fluctuations_fall_with_the_square_of_the_step(tmp_path, run_as_written):
    """From one start, in NVE runs that differ in the step alone; judged by physical-validation (Merz and Shirts, PLoS
    ONE 13, e0202764, 2018)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from physical_validation.data import ObservableData, SimulationData
        from physical_validation.integrator import convergence
    write_data(tmp_path / "water.data", water_box(2))
    model = export_model(MODEL, tmp_path / "model.pt", "float64")
    style = STYLE.format(model=model)
    runs = [RUN.format(style=style, step=1e-3 * step, n=round(40 / step)) for step in STEPS_FS]
    text = run_as_written(START.format(style=style) + "".join(runs)).text
    assert "Stopping criterion = force tolerance" in text
    energies = tables(text)
    assert [len(found) for found in energies] == [round(40 / step) + 1 for step in STEPS_FS]
    simulations = [
        SimulationData(dt=step, observables=ObservableData(constant_of_motion=found))
        for step, found in zip(STEPS_FS, energies, strict=True)
    ]
    fluctuations = [found.std() for found in energies]
    assert fluctuations[-1] > 1e-7  # eV, far above rounding
    assert convergence(simulations, verbose=False) < 0.1
    assert fluctuations[0] / fluctuations[-1] == pytest.approx(16, rel=0.1)
