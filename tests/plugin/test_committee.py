"""Several models in one pair_coeff: the deviations of their forces are Python's, the first one alone moves the atoms;
halt, dump, every, auto, fix pair and compute pair; what cannot be compared is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from tlmd.calculator import TLCalculator
from tlmd.export import add_self_test, export_model, script
from tlmd.frames.read import read_frames
from tlmd.modelfile import Card, Sample, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.network import networks

from ..networks import Scalars
from .conftest import CUTOFF, ELEMENTS, run_in, water_box, write_data
from .test_bad_input import edited
from .test_dynamics import OddPaiNN
from .test_parity import ENERGY, corner, triclinic

HEAD = "units {units}\natom_style atomic\nread_data water.data\npair_style tpainn {words}\n"
HEAD += "pair_coeff * * {models} O H\n"
ASK = """
fix d all pair {every} tpainn deviation 1
compute c all pair tpainn
thermo_style custom step pe ke press c_c[1] c_c[2]
dump d all custom {every} dev.dump id f_d
dump_modify d sort id format float %.12g
"""
MOVE = "velocity all create {kelvin} 7 loop geom\nfix nve all nve\ntimestep 0.0002\nrun {steps}\n"
THERMO = "thermo_style custom step pe ke press\n"
END = 'print "END $(step) $(pe:%.17g) $(ke:%.17g) $(press:%.17g)"\nwrite_data end.data\n'


def member(folder: Path, name: str, seed: int, dtype: str = "float64", card: dict | None = None, **settings) -> Path:
    """An exported random model; those of one architecture differ by a hundredth of their weights."""
    torch.manual_seed(3)
    cutoff, elements = settings.pop("cutoff", CUTOFF), settings.pop("elements", ELEMENTS)
    architecture = Architecture(**{"width": 16, "n_layers": 3, "n_radial": 8, **settings})
    potential = new_potential(elements, cutoff, architecture).double()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    potential.scale[:] = 5.0
    water = water_box(2)
    sample = Sample(water.numbers, water.positions, water.cell.array, water.pbc)
    card = Card(elements=elements, cutoff=cutoff, architecture=architecture, **(card or {}))
    save_model(folder / f"{name}.model", potential, card, sample)
    return export_model(folder / f"{name}.model", folder / f"{name}.pt", dtype)


@pytest.fixture(scope="session")
def committee(tmp_path_factory) -> list[Path]:
    """Four models, one of them of another width and depth."""
    folder = tmp_path_factory.mktemp("committee")
    other = {"width": 24, "n_layers": 2}
    return [member(folder, f"m{k}", k, **(other if k == 2 else {})) for k in range(4)]


def joined(models) -> str:
    return " ".join(map(str, models))


def deviations(models, atoms: Atoms, units: str = "metal") -> np.ndarray:
    """sqrt(sum_k |F_i^k - mean F_i|^2 / (K - 1)) of the atoms (N,), by the Python members, in the units of a run."""
    forces = []
    for model in models:
        atoms.calc = TLCalculator(model)
        forces.append(atoms.get_forces())
    spread = np.array(forces) - np.mean(forces, axis=0)
    return ENERGY[units] * np.sqrt((spread**2).sum(axis=(0, 2)) / (len(models) - 1))


def ended(text: str) -> list[str]:
    return next(line.split()[1:] for line in text.splitlines() if line.startswith("END"))


@pytest.mark.parametrize("units", ["metal", "real"])
@pytest.mark.parametrize("system", ["cube", "triclinic", "small", "corner"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_equal_to_python(committee, run_lammps, tmp_path, ranks, system, units):
    """Also where an atom sees several images of itself, or a rank has none; fix pair and compute pair."""
    atoms = {"cube": water_box(2), "triclinic": triclinic(), "small": water_box(1, 3.3), "corner": corner()}[system]
    write_data(tmp_path / "water.data", atoms)
    deck = HEAD.format(units=units, words="", models=joined(committee)) + ASK.format(every=1)
    text = run_lammps(deck + 'run 0\nprint "END $(c_c[1]:%.12g) $(c_c[2]:%.12g)"\n', ranks).text
    expected = deviations(committee, atoms, units)
    assert expected.max() > 0.1
    found = np.loadtxt(tmp_path / "dev.dump", skiprows=9)[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * expected.max())
    assert list(map(float, ended(text))) == [pytest.approx(expected.max()), pytest.approx(expected.mean())]
    assert text.count("agree to") == (4 if "native engine" in text else 0)  # each member is checked


def test_members_may_have_another_precision(committee, water, run_lammps, tmp_path):
    """Rows of other widths and types go through one exchange."""
    models = [member(tmp_path, "single", 9, "float32"), *committee[1:]]
    run_lammps(HEAD.format(units="metal", words="", models=joined(models)) + ASK.format(every=1) + "run 0\n", 2)
    expected = deviations(models, water)
    found = np.loadtxt(tmp_path / "dev.dump", skiprows=9)[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())


@pytest.mark.parametrize("style", ["hybrid/overlay tpainn {} zero 6.0", "hybrid tpainn {} lj/cut 6.0"])
def test_in_hybrid(committee, run_lammps, tmp_path, style):
    """Deviations are those of the model's own atoms and forces; a third type is another style's."""
    atoms = water_box(2)
    argon = Atoms("C", positions=[[0.1, 0.2, 10.0]], cell=[6.2, 6.2, 14.0], pbc=True)  # farther than the cutoff
    atoms.set_cell(argon.cell)
    write_data(tmp_path / "water.data", atoms + argon, types=("O", "H", "C"))
    deck = f"units metal\natom_style atomic\nread_data water.data\npair_style {style.format('')}\n"
    deck += f"pair_coeff * * tpainn {joined(committee)} O H NULL\n"
    deck += "pair_coeff * * zero\n" if "zero" in style else "pair_coeff * 3 lj/cut 0.01 3.0\n"
    run_lammps(deck + ASK.format(every=1) + "run 0\n", 2)
    expected = np.append(deviations(committee, atoms), 0.0)
    found = np.loadtxt(tmp_path / "dev.dump", skiprows=9)[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * expected.max())


def test_networks_in_one_piece(tmp_path, run_as_written):
    """Rows of other ranks have pairs of their own, and their forces come back through ghosts."""
    assert Scalars is networks()["scalars"]
    models = [member(tmp_path, f"n{k}", k, network="scalars") for k in range(3)]
    atoms = triclinic()
    write_data(tmp_path / "water.data", atoms)
    run_as_written(HEAD.format(units="metal", words="", models=joined(models)) + ASK.format(every=1) + "run 0\n", 2)
    expected = deviations(models, atoms)
    found = np.loadtxt(tmp_path / "dev.dump", skiprows=9)[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * expected.max())


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_first_model_moves_the_atoms(committee, water, run_lammps, tmp_path, ranks):
    """Bit for bit, whatever the others say; and their deviations are found when asked, also between steps."""
    moved = MOVE.format(kelvin=300, steps=20)
    alone = run_lammps(HEAD.format(units="metal", words="", models=committee[0]) + THERMO + moved + END, ranks).text
    alone_data = (tmp_path / "end.data").read_text()
    words = "every 3 halt 1e6 dump 1e-9 strange.extxyz"
    deck = HEAD.format(units="metal", words=words, models=joined(committee)) + ASK.format(every=7) + moved
    watched = run_lammps(deck + END, ranks).text
    assert ended(watched) == ended(alone)
    assert (tmp_path / "end.data").read_text().splitlines()[1:] == alone_data.splitlines()[1:]
    frames = read_frames(tmp_path / "strange.extxyz")
    assert [int(frame.info["step"]) for frame in frames] == [0, 3, 6, 9, 12, 15, 18]
    blocks = (tmp_path / "dev.dump").read_text().split("ITEM: TIMESTEP\n")[1:]
    assert [int(block.split()[0]) for block in blocks] == [0, 7, 14]
    assert all(np.loadtxt(block.splitlines()[8:])[:, 1].min() > 0 for block in blocks)


@pytest.mark.parametrize("ranks", [1, 2])
def test_halt_and_dump(committee, water, run_lammps, tmp_path, ranks):
    """The run ends at a looked-at step, with the atom, its deviation and the step; frames hold no labels."""
    largest = deviations(committee, water).max()
    words = f"halt {1.02 * largest} dump {0.9 * largest} strange.extxyz every 4"
    deck = HEAD.format(units="metal", words=words, models=joined(committee)) + MOVE.format(kelvin=3000, steps=300)
    text = run_lammps(deck + 'print "END $(step)"\n', ranks).text
    line = r"tpainn: standard deviation (\S+) eV/A of the force on atom (\d+) at step (\d+), above (\S+): the run ends"
    value, atom, step, threshold = re.search(line, text).groups()
    assert 0 < int(step) < 300 and int(step) % 4 == 0 and ended(text)[0] == step  # the commands after are carried out
    assert float(threshold) == pytest.approx(1.02 * largest, rel=1e-2) and float(value) > float(threshold)
    frames = read_frames(tmp_path / "strange.extxyz")
    assert int(frames[0].info["step"]) == 0 and int(frames[-1].info["step"]) == int(step)
    assert all(frame.forces is None and frame.energy is None for frame in frames)
    first, last = frames[0], frames[-1]
    assert last.info["deviation_of"] == "force" and last.info["deviation_unit"] == "eV/A"
    for frame in (first, last):
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        expected = deviations(committee, atoms).max()
        assert float(frame.info["largest_deviation"]) == pytest.approx(expected, rel=1e-4)
    assert float(last.info["largest_deviation"]) == pytest.approx(float(value), rel=1e-2)
    assert "of atom" not in text and int(atom) <= len(water)


@pytest.mark.parametrize("units", ["metal", "real"])
def test_auto_takes_the_thresholds_of_the_first_card(committee, water, run_as_written, tmp_path, units):
    largest = deviations(committee, water).max()
    values = {"quantity": "forces", "members": 4, "dump_eV_A": 0.5 * largest, "halt_eV_A": 0.75 * largest}
    first = edited(committee[0], tmp_path / "known.pt", lambda card: card.update(deviation=values))
    words = "halt auto dump auto strange.extxyz"
    deck = HEAD.format(units=units, words=words, models=joined([first, *committee[1:]])) + "run 5\n"
    found = re.search(
        r"deviation (\S+) (\S+) of the force on atom \d+ at step 0, above (\S+):", run_as_written(deck).text
    )
    assert found[2] == {"metal": "eV/A", "real": "kcal/mol/A"}[units]
    assert float(found[1]) == pytest.approx(ENERGY[units] * largest, rel=1e-2)
    assert float(found[3]) == pytest.approx(0.75 * ENERGY[units] * largest, rel=1e-2)
    assert len(read_frames(tmp_path / "strange.extxyz")) == 1
    values |= {"dump_eV_A": 1.1 * largest, "members": 5}
    first = edited(committee[0], tmp_path / "higher.pt", lambda card: card.update(deviation=values))
    (tmp_path / "strange.extxyz").unlink()
    text = run_as_written(deck.replace("known.pt", "higher.pt")).text
    assert "the run ends" in text
    assert "WARNING: pair_style tpainn: thresholds by auto are those of a committee of 5; this one has 4 mem" in text
    assert not (tmp_path / "strange.extxyz").exists()


def test_a_card_without_thresholds_is_refused(committee, water, run_as_written):
    for words, keyword in (("halt auto", "halt"), ("dump auto frames.extxyz", "dump")):
        deck = HEAD.format(units="real", words=words, models=joined(committee)) + "run 0\n"
        text = run_as_written(deck, 2, ok=False).text
        assert (
            f"got {keyword} auto and a first model without thresholds in its card; wanted `deviation` with "
            f"{keyword}_eV_A there; give a number in kcal/mol/A"
        ) in text
    deck = HEAD.format(units="metal", words="halt maybe", models=joined(committee))
    assert "got maybe for halt; wanted a number above zero, or auto;" in run_as_written(deck, ok=False).text


ONE = "got one model, which has no deviations; wanted the files of a committee in pair_coeff; name them, or leave out"


@pytest.mark.parametrize("words", ["halt 0.1", "dump 0.1 frames.extxyz", "halt auto", ""])
def test_one_model_has_no_deviations(committee, water, run_as_written, words):
    deck = HEAD.format(units="metal", words=words, models=committee[0])
    deck += "" if words else "fix d all pair 1 tpainn deviation 1\n"
    assert ONE in run_as_written(deck + "run 0\n", 2, ok=False).text


def test_compute_pair_of_one_model_is_its_energy_alone(committee, water, run_as_written):
    deck = HEAD.format(units="metal", words="", models=committee[0]) + "compute c all pair tpainn\n{}\nrun 0\n"
    text = run_as_written(deck.format("thermo_style custom step pe c_c") + 'print "END $(pe-c_c)"\n').text
    assert float(ended(text)[0]) == pytest.approx(0.0, abs=1e-6)
    text = run_as_written(deck.format("thermo_style custom step c_c[1]"), ok=False).text
    assert re.search("ERROR: Thermo .*c.* vector", text)


DIFFERENT = {
    "elements": ({"elements": ["H", "O"]}, "with elements H O; wanted H C O, as"),
    "cutoff": ({"cutoff": 4.5}, "with cutoff 4.5; wanted 5, as"),
    "first_cutoff": ({"first_cutoff": 6.0}, "with first_cutoff 6; wanted 5, as"),
    "baseline": (
        {"card": {"baseline": {"kind": "lammps", "styles": ["lj/cut"], "lines": []}}},
        "with baseline lj/cut;",
    ),
    "network": ({"network": "scalars"}, "with message layers of a backbone in one piece"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_models_that_cannot_be_compared_are_refused(committee, water, run_as_written, tmp_path, what):
    settings, words = DIFFERENT[what]
    other = member(tmp_path, "other", 1, **settings)
    deck = HEAD.format(units="metal", words="", models=joined([committee[0], committee[1], other])) + "run 0\n"
    text = run_as_written(deck, 2, ok=False).text
    line = next(line for line in text.splitlines() if line.startswith("ERROR"))
    assert f"got {other} {words}" in line and "; train a committee on the same frames with other seeds" in line


def test_other_files_are_refused(committee, kernel_models, water, run_as_written):
    head = "units metal\natom_style atomic\nread_data water.data\npair_style {}\npair_coeff * * {} {}\nrun 0\n"
    first = committee[0]
    for style, files, elements, words in (
        ("tpainn", [first, "absent.pt"], "O H", "got absent.pt, missing or empty; wanted a file written by tl-export"),
        ("tpainn", [first, kernel_models["float64"]], "O H", "of kind mekrr; wanted kind tpainn; use pair_style mekrr"),
        ("mekrr", [kernel_models["float64"]] * 2, "O H", "got 2 files; wanted one: this style has no committees;"),
        ("tpainn", committee, "O H H", "got 3 elements; wanted 2, one for each atom type"),
        ("tpainn", committee, "O", "wanted one that the model knows: H C O"),
    ):
        text = run_as_written(head.format(style, joined(files), elements), ok=False).text
        assert words in text, text[-500:]


def test_each_member_is_compared_with_its_script(committee, water, tmp_path, run_as_written):
    """A file whose script computes something else than PaiNN, as the last of a committee."""
    torch.manual_seed(1)
    potential = new_potential(ELEMENTS, CUTOFF, Architecture(width=16, n_layers=2, n_radial=8))
    potential.net = OddPaiNN(3, 16, 2, 8)
    add_self_test(potential, Sample(water.numbers, water.positions, water.cell.array, water.pbc))
    (tmp_path / "odd.pt").write_bytes(script(potential, Card(elements=ELEMENTS, cutoff=CUTOFF)))
    deck = HEAD.format(units="metal", words="", models=f"{committee[0]} odd.pt") + "run 0\n"
    text = run_as_written(deck, 2, ok=False).text
    assert "got native forces or energies off by" in text and "use backend torchscript and report odd.pt" in text


def test_models_named_again_take_the_place_of_those_before(committee, water, run_as_written, tmp_path):
    """Three, then one: the deviations are gone and are no longer given."""
    deck = HEAD.format(units="metal", words="halt 1e6", models=joined(committee[:3])) + "run 0\n"
    deck += f"pair_coeff * * {committee[0]} O H\nrun 0\n"
    assert ONE in run_as_written(deck, ok=False).text


def test_the_runner_is_not_fooled(committee, water, tmp_path):
    """A committee of one file twice has no deviations at all."""
    deck = HEAD.format(units="metal", words="", models=joined([committee[0]] * 2)) + ASK.format(every=1) + "run 0\n"
    run_in(tmp_path, deck, 2)
    assert np.loadtxt(tmp_path / "dev.dump", skiprows=9)[:, 1].max() == 0.0
