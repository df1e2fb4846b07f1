"""What the plugin says when it is loaded beside another LAMMPS or another torch, and what tl-plugin prints."""

from __future__ import annotations

import shutil

import pytest

from tlmd.cli import plugin as tl_plugin
from tlmd.run.installed import plugin_folder

DECK = "units metal\npair_style tpainn\n"
FILES = ("tlmdplugin.so", "libtlmd_pair.so")
# what is wrong with a copy of the plugin (bytes replaced in tlmdplugin.so, or a file left out), words of the refusal
WRONG = {
    "another LAMMPS": (
        b"22 Jul 2025",
        b"29 Feb 2024",
        "got LAMMPS 22 Jul 2025; wanted 29 Feb 2024; no pair styles tpainn and mekrr",
    ),
    "another torch": (b"2.13.0", b"2.99.0", "got torch 2.13.0; wanted 2.99.0; no pair styles tpainn and mekrr"),
    "no libtorch part": (
        None,
        None,
        "wanted libtorch 2.13.0; no pair styles tpainn and mekrr: install tlmd beside that torch",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_refuses_to_register(run_lammps, tmp_path, monkeypatch, what):
    old, new, words = WRONG[what]
    folder = tmp_path / "plugin"
    folder.mkdir()
    for name in FILES:
        content = (plugin_folder() / name).read_bytes()
        if name == FILES[0] and old is not None:
            assert old in content
            content = content.replace(old, new)
        if name == FILES[0] or old is not None:
            (folder / name).write_bytes(content)
    if old is not None:  # the copy finds torch where the original does
        monkeypatch.setenv("LD_LIBRARY_PATH", str(torch_folder()))
    monkeypatch.setenv("TLMD_PLUGIN", str(folder))
    text = run_lammps(DECK, ok=False).text
    assert words in text
    assert "built for LAMMPS" in text
    assert "Unrecognized pair style 'tpainn'" in text


def torch_folder():
    import torch

    return f"{torch.__path__[0]}/lib"


def test_tl_plugin_prints_the_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["tl-plugin"])
    with pytest.raises(SystemExit) as done:
        tl_plugin()
    assert done.value.code == 0
    assert capsys.readouterr().out.strip() == str(plugin_folder())
    monkeypatch.setenv("TLMD_PLUGIN", str(tmp_path))
    with pytest.raises(SystemExit) as done:
        tl_plugin()
    assert done.value.code == 1
    assert f"error: got no tlmdplugin.so in {tmp_path}; wanted the compiled plugin" in capsys.readouterr().err


def test_plugin_load_by_name(models, water, run_lammps, tmp_path, monkeypatch):
    """Without LAMMPS_PLUGIN_PATH: `plugin load`."""
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(plugin_folder() / FILES[0], empty / "tlmd.so")  # a name that does not load by itself
    deck = f"plugin load {plugin_folder() / FILES[0]}\n" + DECK.replace(
        "pair_style", "atom_style atomic\nread_data water.data\npair_style"
    )
    text = run_lammps(deck + f"pair_coeff * * {models['float32']} O H\nrun 0\n", plugin_path=empty).text
    assert "Loading plugin: transfer-learned PaiNN, or a kernel on its features (tlmd)" in text
