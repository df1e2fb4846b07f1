"""Surface tension of pressure tensors whose mean is known."""

import numpy as np
import pytest

from tlmd.analysis.registry import Lacking, measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError

EDGES = {"x": 30.0, "y": 32.0, "z": 120.0}


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def log_of(path, rng, normal="z", tension=0.072, rows=4000, units="metal", edges=EDGES, atoms=600):
    """A log with the pressure tensor of two surfaces of this tension in N/m, and noise correlated over 5 rows."""
    noise = np.repeat(rng.normal(scale=150.0, size=(rows // 5, 6)), 5, axis=0)
    anisotropy = 2 * tension / (edges[normal] * 1e-10) / 1e5  # bar: P_n - P_t = 2 gamma / L
    for k, axis in enumerate("xyz"):
        noise[:, k] -= 0.0 if axis == normal else anisotropy
    noise /= 1.01325 if units == "real" else 1.0
    box = " ".join(f"{edge}" for edge in edges.values())
    lines = "".join(f"{10 * k} 298.0 {box} {' '.join(f'{p:.6f}' for p in row)}\n" for k, row in enumerate(noise))
    head = f"units {units}\ntimestep 0.001\nStep Temp Lx Ly Lz Pxx Pyy Pzz Pxy Pxz Pyz\n"
    path.write_text(head + lines + f"Loop time of 1 on 1 procs for 1 steps with {atoms} atoms\n")
    return path


@pytest.mark.parametrize("units", ["metal", "real"])
@pytest.mark.parametrize("normal", ["z", "x"])
def test_a_known_tension(rng, tmp_path, units, normal):
    edges = EDGES if normal == "z" else {"x": 120.0, "y": 32.0, "z": 30.0}
    log = log_of(tmp_path / "slab.log", rng, normal, units=units, edges=edges)
    (record,) = measure("surface-tension", Simulation(log=log)).records
    assert record["unit"] == "mN/m" and f"two surfaces across {normal}" in record["source"]
    assert record["value"] == pytest.approx(72.0, abs=3 * record["standard_error"])
    # L / 2 sqrt(1 + 1/2) sigma / sqrt(independent rows)
    expected = 60e-10 * 150e5 * np.sqrt(1.5) / np.sqrt(800) * 1000
    assert record["standard_error"] == pytest.approx(expected, rel=0.4)


def test_no_surface_is_no_slab(rng, tmp_path):
    log = log_of(tmp_path / "cube.log", rng, edges={"x": 30.0, "y": 30.0, "z": 31.0}, tension=0.0)
    with pytest.raises(Lacking, match=r"got a box of 30 30 31 A; wanted a slab"):
        measure("surface-tension", Simulation(log=log))
    (record,) = measure("surface-tension", Simulation(log=log), normal="z").records
    assert abs(record["value"]) < 4 * record["standard_error"]
    with pytest.raises(InputError, match="got --normal a; wanted x, y or z"):
        measure("surface-tension", Simulation(log=log), normal="a")


def test_the_start_is_left_out(rng, tmp_path, tl_analyze):
    log = log_of(tmp_path / "slab.log", rng)
    code, printed, _ = tl_analyze("surface-tension", log, "--leave-out", "10", "--plot", tmp_path / "o.png")
    assert code == 0 and "first 10 ps left out" in printed and (tmp_path / "o.png").exists()
    code, _, errors = tl_analyze("surface-tension", log, "--leave-out", "100")
    assert code != 0 and "got --leave-out 100; wanted 0 to 39.99 ps, the run; correct it" in errors
