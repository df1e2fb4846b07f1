"""Input lines that take a part of the model's pairs away, or name the elements wrongly, are refused before the first
step; those that look alike and are right are not.
"""

from __future__ import annotations

import numpy as np
import pytest

from tlmd.calculator import TLCalculator

from .conftest import water_box, write_data

HEAD = "units metal\natom_style {atoms}\n{first}read_data water.data\n"
END = 'thermo_style custom step pe\nrun 0\nprint "END $(pe:%.15g)"\n'
REMOVED = "removes pairs of the model's atoms; wanted all of them"


def deck(style: str, extra: str = "", atoms: str = "atomic", first: str = "") -> str:
    return HEAD.format(atoms=atoms, first=first) + style + extra + END


def plain(model, elements="O H", keywords="") -> str:
    return f"pair_style tpainn {keywords}\npair_coeff * * {model} {elements}\n"


def energy(text: str) -> float:
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("END "))


def refusal(text: str) -> str:
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    assert errors
    return errors[0]


EXCLUDED = {
    "neigh_modify exclude type 1 1": "",
    "neigh_modify exclude type 2 1": "",
    "neigh_modify exclude group a b": "group a id <= 40\ngroup b subtract all a\n",
    "neigh_modify exclude group a all": "group a id 5\n",
    "neigh_modify include a": "group a id <= 40\n",
}


@pytest.mark.parametrize("command", EXCLUDED)
def test_excluded_pairs(water, models, run_as_written, command):
    first = "atom_modify first a\n" if "include" in command else ""
    lines = EXCLUDED[command] + first + command + "\n"
    text = run_as_written(deck(plain(models["float32"]), lines), ranks=2, ok=False).text
    assert f"got {command}, which {REMOVED}" in refusal(text)


@pytest.mark.parametrize("kind", ["intra", "inter"])
def test_excluded_molecules(tmp_path, models, run_as_written, kind):
    write_molecules(tmp_path, water_box(2))
    command = f"neigh_modify exclude molecule/{kind} all"
    lines = "special_bonds lj/coul 1 1 1\n" + command + "\n"
    text = run_as_written(deck(plain(models["float32"]), lines, "bond"), ok=False).text
    assert f"got {command}, which {REMOVED}" in refusal(text)


def write_molecules(folder, water) -> None:
    """water.data with atom_style bond, without bonds."""
    write_data(folder / "plain.data", water)
    head, atoms = (folder / "plain.data").read_text().split("Atoms # atomic\n")
    rows = [line.split() for line in atoms.split("\n") if line]
    lines = [" ".join([row[0], str((int(row[0]) + 2) // 3), *row[1:]]) for row in rows]
    (folder / "water.data").write_text(head + "Atoms # bond\n\n" + "\n".join(lines) + "\n")


def test_exclusions_that_remove_nothing_of_the_model(water, models, run_as_written):
    """Of types of another style, of a group that is empty (as fix gcmc has one), of a single atom."""
    styles = f"pair_style hybrid/overlay tpainn zero 5.0\npair_coeff * * tpainn {models['float64']} O NULL\n"
    styles += "pair_coeff * * zero\n"
    lines = "group none empty\ngroup one id 1\nneigh_modify exclude type 2 2 exclude type 1 2 exclude group none all\n"
    lines += "neigh_modify exclude group one one\n"
    oxygens = water[[a.symbol == "O" for a in water]]
    oxygens.calc = TLCalculator(models["float64"])
    found = energy(run_as_written(deck(styles, lines), 2).text)
    assert found == pytest.approx(oxygens.get_potential_energy(), rel=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("pairs", ["1 1 lj/cut 0.02 1.5", "1 2 zero", "2 2 lj/cut 0.02 1.5"])
def test_pairs_of_types_given_to_another_style(water, models, run_as_written, pairs, ranks):
    other = "zero 5.0" if "zero" in pairs else "lj/cut 4.0"
    style = f"pair_style hybrid tpainn {other}\npair_coeff * * tpainn {models['float32']} O H\n"
    style += f"pair_coeff {pairs}\n"
    text = refusal(run_as_written(deck(style), ranks, ok=False).text)
    assert f"got types {pairs[:3]} of the model given to another style; wanted all pairs of the model's types" in text


def test_styles_that_add(water, models, run_as_written):
    overlay = f"pair_style hybrid/overlay zero 5.0 tpainn lj/cut 4.0\npair_coeff * * tpainn {models['float64']} O H\n"
    overlay += "pair_coeff 1 1 lj/cut 0.0 1.5\npair_coeff * * zero\n"
    water.calc = TLCalculator(models["float64"])
    assert energy(run_as_written(deck(overlay)).text) == pytest.approx(water.get_potential_energy(), rel=1e-9)


WRONG_MASSES = {
    "names the wrong way round": ("H O", "", "got mass 15.999 for type 1, named H; wanted about 1.008: 15.999 fits O"),
    "another element of the model": ("C H", "", "got mass 15.999 for type 1, named C; wanted about 12.011"),
    "an element that the model does not know": ("O H", "mass 1 32.06\n", "got mass 32.06 for type 1, named O"),
}


@pytest.mark.parametrize("what", WRONG_MASSES)
def test_names_that_do_not_fit_the_masses(water, models, run_as_written, what):
    elements, lines, words = WRONG_MASSES[what]
    text = refusal(run_as_written(deck(plain(models["float32"], elements), lines), 2, ok=False).text)
    assert words in text
    assert "name the elements in the order of the atom types, or say `masses no`" in text
    run_as_written(deck(plain(models["float32"], elements, "masses no"), lines))


@pytest.mark.parametrize("masses", ["2 2.014", "2 3.016", "2 4.032", "1 17.999", "1 14.5"])
def test_isotopes_and_repartitioned_masses(water, models, run_as_written, masses):
    run_as_written(deck(plain(models["float32"]), f"mass {masses}\n"))


def test_masses_of_atoms(water, models, run_as_written):
    """fix property/atom rmass: the mass of each atom counts."""
    lines = "fix m all property/atom rmass\nset type 1 mass 15.999\nset type 2 mass 1.008\n"
    run_as_written(deck(plain(models["float32"]), lines), 2)
    text = run_as_written(deck(plain(models["float32"]), lines + "set atom 77 mass 16.0\n"), 2, ok=False).text
    assert "got mass 16 for atom 77, named H; wanted about 1.008: 16 fits O" in refusal(text)


STYLES = {"tpainn": "models", "mekrr": "kernel_models", "module": "module_models"}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("check", ["yes", "no"])
@pytest.mark.parametrize(
    ("kind", "backend"),
    [("tpainn", "native"), ("tpainn", "torchscript"), ("mekrr", "native"), ("module", "torchscript")],
)
def test_two_atoms_at_one_place(request, tmp_path, run_as_written, kind, backend, check, ranks):
    model = request.getfixturevalue(STYLES[kind])["float32"]
    water = water_box(2)
    water.positions[13] = water.positions[4]
    write_data(tmp_path / "water.data", water)
    style = "tpainn" if kind == "tpainn" else "mekrr"
    text = plain(model, keywords=f"backend {backend} check {check}").replace("pair_style tpainn", f"pair_style {style}")
    error = refusal(run_as_written(deck(text), ranks, ok=False).text)
    assert "at the same place; wanted atoms apart and finite positions" in error
    assert "atoms 5 and 14" in error or "atoms 14 and 5" in error


def test_a_position_that_is_no_number(water, models, run_as_written):
    lines = "variable bad atom 0.0/0.0\nfix 1 all nve\nrun 0\nset atom 7 vx NaN\nneigh_modify delay 100\nrun 5\n"
    text = run_as_written(deck(plain(models["float32"]), lines), ok=False).text
    assert "ERROR" in text and "nan" not in text.lower().split("error")[0].split("step")[-1]


def test_atoms_near_each_other_are_not_refused(tmp_path, models, run_as_written):
    water = water_box(2)
    water.positions[13] = water.positions[4] + np.array([0.05, 0.0, 0.0])
    write_data(tmp_path / "water.data", water)
    water.calc = TLCalculator(models["float64"])
    found = energy(run_as_written(deck(plain(models["float64"]))).text)
    assert found == pytest.approx(water.get_potential_energy(), rel=1e-8)
