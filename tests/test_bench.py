"""tl-bench: a model runs in LAMMPS in boxes of several sizes, by threads and by ranks."""

import math
import os

import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from tlmd.bench import bench, repeats
from tlmd.frames.lammps_data import write_data
from tlmd.run.errors import InputError
from tlmd.run.installed import water_inputs

WATER = water_inputs() / "water64.data"


def test_speeds_of_two_sizes(capsys):
    found = bench("water-gfn1-f64", WATER, seconds=0.5, timestep_fs=1.0, sizes=(192, 384))
    ways = {(1, 1), (1, len(os.sched_getaffinity(0))), (len(os.sched_getaffinity(0)), 1)}
    assert {(s["atoms"], s["ranks"], s["threads"]) for s in found["speeds"]} == {
        (n, *w) for n in (192, 384) for w in ways
    }
    for speed in found["speeds"]:
        assert speed["ns_per_day"] == pytest.approx(86400e-6 / speed["step_s"])
        assert 1e-7 < speed["step_s"] / speed["atoms"] < 1e-2
    assert "us an atom" in capsys.readouterr().out and found["lammps"].startswith("2025")


@pytest.mark.parametrize(("atoms", "size"), [(192, 192), (192, 1536), (192, 20_000), (96, 20_000), (40_000, 192)])
def test_boxes_are_repeated_evenly(atoms, size):
    shape = repeats(atoms, size)
    assert atoms * math.prod(shape) == pytest.approx(size, rel=0.1) or shape == (1, 1, 1)
    assert max(shape) <= 2 * min(shape)


def test_boxes_that_do_not_fit(tmp_path):
    write(tmp_path / "free.xyz", molecule("H2O"), format="extxyz")
    with pytest.raises(InputError, match="not periodic"):
        bench("water-gfn1-f64", tmp_path / "free.xyz", seconds=0.1)
    write(tmp_path / "methane.xyz", Atoms("CH4", molecule("CH4").positions, cell=[9, 9, 9], pbc=True), format="extxyz")
    with pytest.raises(InputError, match="methane.xyz with C; wanted elements of the model: "):
        bench("water-gfn1-f64", tmp_path / "methane.xyz", seconds=0.1)


def test_types_of_another_file_are_not_taken(tmp_path):
    """Atoms that ASE read from a data file carry its types, which its writer would prefer to the elements asked for."""
    atoms = read(WATER, format="lammps-data", atom_style="atomic")
    write_data(tmp_path / "new.data", atoms, ["H", "O"])
    again = read(tmp_path / "new.data", format="lammps-data", atom_style="atomic")
    assert (again.numbers == atoms.numbers).all()
