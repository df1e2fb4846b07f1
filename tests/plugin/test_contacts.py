"""`closest warn|halt|off`: pairs that are nearer than in training are told of once, with their atoms and the step."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from ase import Atoms

from tlmd.calculator import TLCalculator
from tlmd.export import export_model
from tlmd.frames.frame import Frame
from tlmd.frames.shortest import CLOSE, shortest_distances
from tlmd.modelfile import load_model, load_sample, save_model
from tlmd.run.installed import PACKAGE

from .conftest import run_in, water_box, write_data
from .test_keywords import STYLE
from .test_parity import NKTV2P

SHORTEST = {"H-H": 1.3, "C-H": 1.0, "C-C": 1.0, "O-H": 0.9, "O-O": 2.05}
# two O and two H fly at each other, far from the molecules and across the border of two ranks
DECK = """
units metal
atom_style atomic
read_data contacts.data
pair_style {style}
pair_coeff * * {model} O H
group left id 1 3
group right id 2 4
timestep 0.0005
fix left left move linear 100 0 0
fix right right move linear -100 0 0
run {steps}
print "ENDED $(step)"
run 1
"""


@pytest.fixture(params=["native", "torchscript", "kernel", "module"])
def case(request, tmp_path):
    """An exported model whose card has SHORTEST, its style, and what runs decks."""
    fixture = {"kernel": "kernel_models", "module": "module_models"}.get(request.param, "models")
    trained = request.getfixturevalue(fixture)["trained"]
    potential, card = load_model(trained)
    save_model(tmp_path / "near.pt", potential, card.model_copy(update={"shortest_A": SHORTEST}), load_sample(trained))
    backend = {"backend": request.param} if request.param in ("native", "torchscript") else {}
    style = "tpainn" if fixture == "models" else "mekrr"
    return export_model(tmp_path / "near.pt"), style, functools.partial(run_in, tmp_path, **backend)


@pytest.fixture
def contacts(tmp_path) -> Atoms:
    positions = [[8.0, 3, 3], [12.0, 3, 3], [8.5, 8, 8], [11.5, 8, 8]]
    atoms = Atoms("OOHH", positions, cell=np.diag([20.0, 12, 12]), pbc=True)
    write_data(tmp_path / "contacts.data", atoms)
    return atoms


def told(text: str) -> list[tuple]:
    pattern = (
        r"WARNING: pair_style (\w+): (\S+) at ([\d.]+) A, atoms (\d+) and (\d+), at step (\d+); "
        r"in training at least ([\d.]+) A(.*) \(\S+contacts.cpp:\d+\)"
    )
    return [match.groups() for match in re.finditer(pattern, text)]


@pytest.mark.parametrize("ranks", [1, 2])
def test_each_pair_is_told_of_once_a_run(case, contacts, ranks):
    """They move by 0.1 A a step towards each other: H-H from 3 A, O-O from 4 A."""
    model, style, run = case
    text = run(DECK.format(style=style, model=model, steps=25), ranks).text
    found = told(text)
    assert [(name, {a, b}, step, least) for _, name, _, a, b, step, least, _ in found] == [
        ("H-H", {"3", "4"}, "19", "1.300"),
        ("O-O", {"1", "2"}, "22", "2.050"),
        ("H-H", {"3", "4"}, "25", "1.300"),  # of the second run
        ("O-O", {"1", "2"}, "25", "2.050"),
    ]
    assert [float(at) for _, _, at, *_ in found[:2]] == [pytest.approx(1.1, abs=1e-3), pytest.approx(1.8, abs=1e-3)]
    assert {words for *_, words in found} == {": forces and energies are guesses"} and found[0][0] == style
    assert "ENDED 25" in text


@pytest.mark.parametrize("ranks", [1, 2])
def test_halt_ends_the_run_at_the_first_contact(case, contacts, ranks):
    model, style, run = case
    text = run(DECK.format(style=f"{style} closest halt", model=model, steps=25), ranks).text
    first = told(text)[0]
    assert first[1] == "H-H" and first[5] == "19" and first[-1] == ": the run ends"
    assert "ENDED 19" in text


def test_off_and_cards_without_distances_say_nothing(case, contacts, models, run_as_written):
    model, style, run = case
    text = run(DECK.format(style=f"{style} closest off", model=model, steps=25)).text
    assert told(text) == [] and "ENDED 25" in text
    text = run_as_written(DECK.format(style="tpainn", model=models["float32"], steps=25)).text
    assert told(text) == [] and "ENDED 25" in text


def test_the_nearest_pairs_of_a_liquid_are_those_of_python(case, tmp_path):
    """On two ranks and through the faces: told of where training had them by more than the tolerance farther apart."""
    _, style, run = case
    water = water_box(3)
    write_data(tmp_path / "contacts.data", water)
    frame = Frame(water.numbers, water.positions, water.cell.array, water.pbc)
    nearest = shortest_distances([frame], ["O", "H"], 5.0)
    potential, card = load_model(tmp_path / "near.pt")
    for factor, n_told in ((0.99, 0), (1.01, 3)):
        shortest = {name: factor * value / CLOSE for name, value in nearest.items()}
        changed = card.model_copy(update={"shortest_A": shortest})
        save_model(tmp_path / "near.pt", potential, changed, load_sample(tmp_path / "near.pt"))
        model = export_model(tmp_path / "near.pt", tmp_path / f"{factor}.pt")
        found = told(run(DECK.format(style=style, model=model, steps=0).split("group")[0] + "run 0\n", 2).text)
        assert len(found) == n_told
        for _, name, at, first, second, *_ in found:
            i, j = int(first) - 1, int(second) - 1
            assert sorted(water.symbols[[i, j]]) == sorted(name.split("-"))
            assert float(at) == pytest.approx(water.get_distance(i, j, mic=True), abs=1e-3)
            assert float(at) == pytest.approx(nearest["-".join(sorted(name.split("-"))[::-1])], abs=1e-3)


def test_the_tolerance_is_that_of_python():
    source = (STYLE / "contacts.cpp").read_text()
    assert float(re.search(r"CLOSE = ([\d.]+);", source)[1]) == CLOSE
    help_texts = (STYLE / "keywords.cpp").read_text(), (PACKAGE / "calculator.py").read_text()
    assert f"nearer than {CLOSE} of" in help_texts[0] and "CLOSE of" in help_texts[1]


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_repulsion_is_that_of_python(case, tmp_path, ranks):
    """Energy, forces and pressure of a liquid all of whose pairs are nearer than the radii, cut into ranks."""
    _, style, run = case
    potential, card = load_model(tmp_path / "near.pt")
    card = card.model_copy(update={"shortest_A": {}})
    water = water_box(3)
    write_data(tmp_path / "contacts.data", water)
    model, deck = {}, DECK.format(style=style, model="MODEL", steps=0).split("group")[0]
    deck += "dump d all custom 1 forces.dump id fx fy fz\ndump_modify d sort id format float %.16g\nrun 0\n"
    deck += 'print "END $(pe:%.15g) $(press:%.15g)"\n'
    for radius in (0.0, 2.2):
        potential.repulsion.radius[:] = radius
        save_model(tmp_path / "near.pt", potential, card, load_sample(tmp_path / "near.pt"))
        model[radius] = export_model(tmp_path / "near.pt", tmp_path / f"{radius}.pt", "float64")
    water.calc = TLCalculator(model[0.0])
    plain = water.get_forces()
    water.calc = TLCalculator(model[2.2])
    assert np.abs(water.get_forces() - plain).max() > 100
    text = run(deck.replace("MODEL", str(model[2.2])), ranks).text
    found = [float(word) for line in text.splitlines() if line.startswith("END") for word in line.split()[1:]]
    pressure = -water.get_stress()[:3].mean() * NKTV2P["metal"]
    assert found == [pytest.approx(water.get_potential_energy(), rel=1e-9), pytest.approx(pressure, rel=1e-7)]
    there = np.loadtxt(tmp_path / "forces.dump", skiprows=9)[:, 1:]
    np.testing.assert_allclose(there, water.get_forces(), rtol=0, atol=1e-9 * np.abs(there).max())
