"""docs/reference: complete, and the same as the code says today."""

from pathlib import Path

import pytest

from tlmd.run import reference

ROOT = Path(__file__).parents[2]
ROWS = '{"halt", "SIGMA", "off",\n   "Ends the run.",\n   [](Settings &s, const Values &v) { s.halt = 1; }},'


@pytest.fixture(scope="module")
def pages():
    return reference.pages(ROOT)


def test_committed_pages_are_those_that_the_code_gives(pages):
    committed = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")}
    stale = sorted(name for name in pages.keys() | committed.keys() if pages.get(name) != committed.get(name))
    assert not stale, f"got docs/reference/{', '.join(stale)} of older code; run python -m tlmd.run.reference"


def test_every_command_has_a_page_and_every_stage_its_keys(pages):
    commands = reference.commands()
    assert {"tl-generate", "tl-pretrain", "tl-finetune", "tl-mekrr", "tl-analyze", "tl-evaluate"} <= set(commands)
    for name, command in commands.items():
        text = pages[f"{name}.md"]
        assert f"[{name}]({name}.md)" in pages["README.md"]
        if any(parameter.name == "config" for parameter in getattr(command, "params", ())):
            assert "## Keys of the TOML" in text and "| `out` |" in text, name


def test_every_key_option_and_keyword_has_a_meaning(pages):
    rows = [(name, line) for name, text in pages.items() for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert not [row for row in rows if row[1].endswith("|  |")]


def test_units_types_and_defaults_are_told(pages):
    assert "| `max_force` | number > 0 and <= 1e+06 | eV/A | `30.0` | frames with a larger" in pages["tl-generate.md"]
    assert "| `train` | path |  | required | labelled frames" in pages["tl-finetune.md"]
    assert "| `energy_mae_mev_per_atom` | meV/atom, mean absolute" in pages["tl-evaluate.md"]
    assert '### [systems.NAME] kind = "bulk"' in pages["tl-generate.md"]
    matrix = pages["tl-generate.md"].partition("### Which kinds of systems go with which teacher")[2]
    teachers, *rows = [line.strip("| ").split(" | ") for line in matrix.splitlines() if line.startswith("| ")]
    fits = {row[0]: {name for name, cell in zip(teachers[1:], row[1:], strict=True) if cell == "yes"} for row in rows}
    assert fits["`file`"] == set(teachers[1:]) and "`comb3`" not in fits["`bulk`"]
    assert {"`calibrated`", "`spcfw`", "`lammps`", "`xtb`"} <= fits["`bulk`"] == fits["`interface`"]
    assert "`mmff94`" in fits["`conformers`"] and "`comb3`" not in fits["`conformers`"]


def test_keywords_come_from_the_table_of_the_pair_style():
    text = "\n".join(reference._keywords("KEYWORDS\nconst std::vector<Keyword> MEKRR_KEYWORDS = {\n" + ROWS + "\n};\n"))
    assert "| `halt` | `SIGMA` | off | Ends the run. |" in text and "pair_style mekrr [halt SIGMA]" in text
