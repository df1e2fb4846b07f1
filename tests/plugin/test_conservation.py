"""Energy conservation of water with the pretrained model that comes with the package."""

from __future__ import annotations

import numpy as np

from tlmd.export import export_model
from tlmd.run.installed import SHIPPED

from .conftest import water_box, write_data


def test_nve_drift_of_water(run_lammps, tmp_path):
    """2 ps of 8 molecules near 300 K in float32: drift of the total energy below 1e-4 eV/atom/ps."""
    atoms = water_box(2)
    write_data(tmp_path / "water.data", atoms)
    model = export_model(SHIPPED["water-spcfw-f64"], tmp_path / "model-lammps.pt")
    run_lammps(
        f"""
units metal
atom_style atomic
read_data water.data
pair_style tpainn
pair_coeff * * {model} O H
timestep 0.0005
minimize 0 0.2 100 200
reset_timestep 0
velocity all create 300 3 mom yes rot no dist gaussian
fix 1 all nvt temp 300 300 0.05
run 400
unfix 1
fix 1 all nve
thermo 20
thermo_style custom step time temp etotal
thermo_modify format float %.12g
log drift.log
run 4000
""",
        ranks=2,
    )
    rows = [line.split() for line in (tmp_path / "drift.log").read_text().splitlines()]
    table = np.array([row for row in rows if len(row) == 4 and row[0].isdigit()], float)
    assert len(table) == 201
    time_ps, temperature, energy = table[:, 1] - table[0, 1], table[:, 2], table[:, 3] / len(atoms)
    assert 100 < temperature.mean() < 600
    assert abs(np.polyfit(time_ps, energy, 1)[0]) < 1e-4
