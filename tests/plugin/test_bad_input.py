"""Every bad input of pair_style tpainn ends in one line that says got / wanted / do."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch

from tlmd.export import load_exported

ATOMS = "units metal\natom_style atomic\nread_data water.data\n"


def edited(model, target, change):
    """A copy of an exported model whose card.json went through change(dict)."""
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("extra/card.json"):
                card = json.loads(content)
                change(card)
                content = json.dumps(card).encode()
            new.writestr(item, content)
    return target


@pytest.fixture
def files(models, tmp_path):
    """Model files by what is wrong with them; "good" is good."""
    good = models["float32"]
    content = good.read_bytes()
    (tmp_path / "text.pt").write_text("not a model\n")
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "folder.pt").mkdir()
    torch.jit.save(load_exported(good)[0], str(tmp_path / "nocard.pt"))
    edited(good, tmp_path / "newer.pt", lambda card: card.update(format_version=99))
    edited(good, tmp_path / "mekrr.pt", lambda card: card.update(kind="mekrr"))
    return {**{f.stem: f for f in tmp_path.glob("*.pt")}, "good": good, "absent": tmp_path / "absent.pt"}


BAD = {
    "a text file": (
        "{text} O H",
        "",
        "cut short or damaged (cut short); wanted a file written by tl-export",
    ),
    "a truncated file": ("{cut} O H", "", "not an exported model, cut short or damaged"),
    "an empty file": ("{empty} O H", "", "missing or empty; wanted a file written by tl-export; check the path"),
    "a folder": ("{folder} O H", "", "missing or empty; wanted a file written by tl-export; check the path"),
    "no file": ("{absent} O H", "", "missing or empty; wanted a file written by tl-export; check the path"),
    "no card": ("{nocard} O H", "", "without a card; wanted a file written by tl-export"),
    "a newer format": ("{newer} O H", "", "of format 99; wanted format 3 or older; install a newer tlmd plugin"),
    "another kind": ("{mekrr} O H", "", "of kind mekrr; wanted kind tpainn"),
    "an unknown element": ("{good} O Xe", "", "got element Xe; wanted one that the model knows: H C O"),
    "fewer names": ("{good} O", "", "got 1 elements; wanted 2, one for each atom type"),
    "more names": ("{good} O H H", "", "got 3 elements; wanted 2, one for each atom type"),
    "NULL without hybrid": ("{good} O NULL", "", "got NULL for type 2; wanted an element for every type"),
    "a misspelt keyword": (
        "{good} O H",
        "devise cpu",
        "got keyword devise; wanted one of backend, device, check",
    ),
    "a misspelt value": (
        "{good} O H",
        "device gpu",
        "got gpu for device; wanted one of cpu, cuda, auto; correct",
    ),
    "the native engine on a GPU": ("{good} O H", "backend native device cuda", "wanted device cpu or auto"),
    "a misspelt backend": ("{good} O H", "backend fast", "got fast for backend; wanted one of native, torchscript"),
    "a keyword without value": ("{good} O H", "check", "got nothing for check; wanted one of yes, no"),
}


@pytest.mark.parametrize("what", BAD)
def test_refused(water, files, run_lammps, what):
    coefficients, keywords, words = BAD[what]
    deck = ATOMS + f"pair_style tpainn {keywords}\npair_coeff * * {coefficients.format(**files)}\nrun 0\n"
    text = run_lammps(deck, ok=False).text
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    assert errors
    assert words in errors[0]


def test_refused_on_every_rank(water, files, run_lammps):
    deck = ATOMS + f"pair_style tpainn\npair_coeff * * {files['cut']} O H\nrun 0\n"
    assert "not an exported model, cut short or damaged" in run_lammps(deck, ranks=2, ok=False).text


SETTINGS = {
    "lj units": ("units lj\n", "", "got units lj; wanted metal or real; change the units command"),
    "newton off": ("units metal\nnewton off\n", "", "got newton off; wanted newton on"),
    "ghosts too near": (
        "units metal\ncomm_modify cutoff 2.0\n",
        "neighbor 0.0 bin\n",
        None,  # LAMMPS itself widens the ghost region to the model's cutoff: the run is right
    ),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_settings(water, models, run_lammps, what):
    head, extra, words = SETTINGS[what]
    deck = head + "atom_style atomic\nread_data water.data\n" + extra
    deck += f"pair_style tpainn\npair_coeff * * {models['float32']} O H\nrun 0\n"
    text = run_lammps(deck, ranks=2, ok=words is None).text
    assert words is None or words in text


def test_tiled_ghosts_beyond_the_box(water, models, run_lammps):
    """comm_style tiled cannot reach past the periodic box: LAMMPS says so and nothing is computed."""
    deck = ATOMS + "comm_style tiled\nneighbor 6.0 bin\n"
    deck += f"pair_style tpainn\npair_coeff * * {models['float32']} O H\nrun 0\n"
    text = run_lammps(deck, ranks=2, ok=False).text
    assert "cutoff" in text


def test_self_test_finds_a_changed_model(water, models, run_lammps, tmp_path):
    module, _ = load_exported(models["float64"])
    with torch.no_grad():
        next(module.parameters()).mul_(1.01)
    with zipfile.ZipFile(models["float64"]) as archive:
        card = next(archive.read(n) for n in archive.namelist() if n.endswith("extra/card.json"))
    torch.jit.save(module, str(tmp_path / "changed.pt"), _extra_files={"card.json": card})
    deck = ATOMS + "pair_style tpainn check {}\npair_coeff * * changed.pt O H\nrun 0\n"
    assert "own test cluster off by" in run_lammps(deck.format("yes"), ok=False).text
    run_lammps(deck.format("no"))
