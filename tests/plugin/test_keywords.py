"""The tables of keywords in style/keywords.cpp: every row is read, with its default and its refusals; units."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tlmd.units import EV_PER_KCAL_MOL

STYLE = Path(__file__).parents[2] / "lammps_plugin" / "style"
ROW = re.compile(r'\{\s*"(\w+)",\s*"([^"]+)",\s*"([^"]+)",\s*"([^"]+)",')
TABLES = {
    name.lower(): ROW.findall(body)
    for name, body in re.findall(r"(\w+)_KEYWORDS = \{(.*?)\n\};", (STYLE / "keywords.cpp").read_text(), re.S)
}
ROWS = [(style, *row) for style, rows in TABLES.items() for row in rows]
HEAD = "units metal\natom_style atomic\nread_data water.data\n"
GOOD = {"SIGMA": "0.5", "N": "3", "FILE": "frames.extxyz"}
WANTED = {
    "SIGMA": "a number above zero",
    "SIGMA|auto": "a number above zero, or auto",
    "N": "a whole number above zero",
}


def test_there_are_rows():
    names = {style: [name for name, *_ in rows] for style, rows in TABLES.items()}
    assert names["tpainn"] == ["backend", "device", "check", "masses", "closest", "halt", "dump", "every"]
    assert names["mekrr"] == ["halt", "dump"]
    assert all(text.strip() for row in ROWS for text in row)


def test_every_row_is_read(water, models, kernel_models, run_as_written):
    """All values of all keywords, in one process; keywords of one line do not hold for the next."""
    deck = HEAD
    for style, model in (("tpainn", models), ("mekrr", kernel_models)):
        rows = {name: values.split() for name, values, *_ in TABLES["tpainn"] + TABLES[style]}
        for name, (first, *others) in rows.items():
            for value in first.split("|"):
                if value != "cuda":
                    words = [GOOD.get(word, word) for word in (value, *others)]
                    deck += f"pair_style {style} {name} {' '.join(words)}\n"
        deck += f"pair_style {style}\npair_coeff * * {model['float32']} O H\nrun 0\n"
    assert "native engine" in run_as_written(deck).text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_other_values_are_refused(water, run_as_written, row):
    style, name, values, *_ = row
    kind = values.split()[0]
    wanted = WANTED.get(kind) or "one of " + kind.replace("|", ", ")
    for value in ("", "maybe", "nan") if kind.startswith("SIGMA") else ("", "-1"):
        text = run_as_written(HEAD + f"pair_style {style} {name} {value}\n", ok=False).text
        got = value or "nothing"
        assert f"pair_style {style}: got {got} for {name}; wanted {wanted}; correct the input line" in text


def test_mekrr_has_no_auto(water, run_as_written):
    """Nothing calibrates the deviations of energies; the rows of mekrr take the place of those of tpainn."""
    for words in ("halt", "dump"):
        text = run_as_written(HEAD + f"pair_style mekrr {words} auto frames.extxyz\n", ok=False).text
        assert f"pair_style mekrr: got auto for {words}; wanted a number above zero; correct the input line" in text
    text = run_as_written(HEAD + "pair_style mekrr stop 0.1\n", ok=False).text
    assert (
        "got keyword stop; wanted one of backend, device, check, masses, closest, halt, dump, every; correct the"
    ) in text


def test_units_are_those_of_python():
    source = (STYLE / "units.h").read_text()
    assert float(re.search(r"EV_PER_KCAL_MOL = ([\d.]+);", source)[1]) == EV_PER_KCAL_MOL
    others = [path.name for path in STYLE.glob("*.[ch]*") if "0.0433" in path.read_text()]
    assert others == ["units.h"]
