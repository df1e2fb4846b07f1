"""Standard deviations of a kernel model in LAMMPS: fix pair, compute pair, halt, dump; equal to Python's."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from ase.io import read

from tlmd.calculator import TLCalculator
from tlmd.modelfile import Card
from tlmd.models.architecture import Architecture, KernelArchitecture, kernel_potential

from .conftest import CUTOFF, ELEMENTS, exported, run_in, with_head

RUN = """
units metal
atom_style atomic
read_data water.data
{style}
pair_coeff * * {model} O H
velocity all create 300 7 loop geom
fix nve all nve
fix d all pair 2 mekrr deviation 1
compute c all pair mekrr
thermo_style custom step pe c_c[1] c_c[2]
thermo 2
dump d all custom 2 dev.dump id f_d
dump_modify d sort id format float %.12g
run {steps}
print "RESULT $(step) $(c_c[1]:%.12g) $(c_c[2]:%.12g)"
write_data end.data
"""


@pytest.fixture(params=["native", "torchscript", "module"])
def case(request, tmp_path):
    """Kernel models and what runs decks with them: on PaiNN with each backend, on a module."""
    if request.param == "module":
        return request.getfixturevalue("module_models"), functools.partial(run_in, tmp_path)
    return request.getfixturevalue("kernel_models"), functools.partial(run_in, tmp_path, backend=request.param)


@pytest.mark.parametrize("ranks", [1, 3])
def test_equal_to_python(case, water, tmp_path, ranks):
    kernel_models, run = case
    text = run(RUN.format(style="pair_style mekrr", model=kernel_models["float64"], steps=0), ranks).text
    _, largest, whole = next(line.split()[1:] for line in text.splitlines() if line.startswith("RESULT"))
    frame, atoms = TLCalculator(kernel_models["float64"]).deviations(water)
    assert float(largest) == pytest.approx(atoms.max(), rel=1e-8)
    assert float(whole) == pytest.approx(frame, rel=1e-8)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "dev.dump", skiprows=9)[:, 1], atoms, rtol=1e-8)


@pytest.mark.parametrize("ranks", [1, 2])
def test_halt_ends_the_run_and_dump_keeps_the_frames(case, water, tmp_path, ranks):
    kernel_models, run = case
    threshold = 0.5 * TLCalculator(kernel_models["float64"]).deviations(water)[1].max()
    style = f"pair_style mekrr every 5 dump {threshold} strange.extxyz halt {threshold}"
    text = run(RUN.format(style=style, model=kernel_models["float32"], steps=200), ranks).text
    assert "the run ends" in text
    step = int(next(line.split()[1] for line in text.splitlines() if line.startswith("RESULT")))
    assert step < 200
    assert (tmp_path / "end.data").exists()  # the commands after the run are carried out
    frames = read(tmp_path / "strange.extxyz", ":")
    assert len(frames) >= 1
    first = frames[0]
    assert first.info["step"] == 0 and first.pbc.all()
    assert sorted(first.get_chemical_symbols()) == sorted(water.get_chemical_symbols())
    assert first.arrays["deviation"].max() == pytest.approx(first.info["largest_deviation"], rel=1e-4)
    np.testing.assert_allclose(first.cell.array, water.cell.array, atol=1e-6)
    again = TLCalculator(kernel_models["float64"]).deviations(first)[1]
    np.testing.assert_allclose(first.arrays["deviation"], again, rtol=1e-2)


def test_a_model_without_deviations_is_refused(run_lammps, water, models, kernel_models):
    deck = RUN.format(style="pair_style mekrr halt 0.1", model=models["float32"], steps=1)
    assert "wanted kind mekrr" in run_lammps(deck, ok=False).text
    deck = RUN.format(style="pair_style mekrr halt -1", model=kernel_models["float32"], steps=1)
    assert "got -1 for halt; wanted a number above zero" in run_lammps(deck, ok=False).text


def test_a_kernel_without_deviations_gives_none(run_as_written, water, tmp_path):
    """fix pair and halt are refused; compute pair has the energy alone."""
    kernel = KernelArchitecture(
        kind="gaussian", map="fourier", layers=[2], aggregation="sum", alpha=0.0, length=2.0, n_features=100
    )
    architecture = Architecture(width=16, n_layers=3, n_radial=8)
    potential = with_head(kernel_potential(ELEMENTS, CUTOFF, architecture, kernel))
    card = Card(kind="mekrr", elements=ELEMENTS, cutoff=CUTOFF, architecture=architecture, kernel=kernel)
    model = exported(tmp_path, potential, card)["float32"]
    deck = RUN.format(style="pair_style mekrr", model=model, steps=0)
    assert re.search("ERROR: Thermo .*c.* vector", run_as_written(deck, ok=False).text)
    head = deck.split("velocity")[0]
    words = "got a model without deviations; wanted one by fit.deviation; leave out halt, dump and fix pair"
    for refused in (head + "fix d all pair 2 mekrr deviation 1\n", head.replace("mekrr", "mekrr halt 1")):
        assert words in run_as_written(refused + "run 0\n", 2, ok=False).text


def test_a_model_read_again_keeps_its_composition(run_lammps, water, kernel_models):
    """K_alpha of means: the second pair_coeff finds the numbers of atoms anew."""
    deck = RUN.format(style="pair_style mekrr", model=kernel_models["float64"], steps=0)
    again = f"pair_coeff * * {kernel_models['float64']} O H\nrun 0\n" + 'print "AGAIN $(pe:%.12g)"\n'
    text = run_lammps(deck + again).text
    energy = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("AGAIN"))
    water.calc = TLCalculator(kernel_models["float64"])
    assert energy == pytest.approx(water.get_potential_energy(), rel=1e-9)
