"""Exported files that are not as tl-export wrote them: a flipped bit anywhere, a card that does not fit, an energy
that is not the test cluster's; and files of an older tlmd, which are read as ever.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tlmd.calculator import TLCalculator
from tlmd.export import load_exported
from tlmd.run.installed import plugin_folder

from .conftest import water_box, write_data
from .test_bad_input import edited

DECK = (
    "units metal\natom_style atomic\nread_data water.data\npair_style tpainn {keywords}\npair_coeff * * {model} O H\n"
)
RUN = 'run 0\nprint "END $(pe:%.15g)"\n'
# Reads models in one process: pair_coeff raises an exception for a file that is refused.
READER = """
import sys
from pathlib import Path
from mpi4py import MPI
from lammps import lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_string("units metal\\natom_style atomic\\nread_data water.data\\npair_style tpainn check no")
whole, flips = Path(sys.argv[1]).read_bytes(), [int(word) for word in sys.argv[2:]]
for flip in [None, *flips]:
    content = bytearray(whole)
    if flip is not None:
        content[flip // 8] ^= 1 << flip % 8
    Path("flipped.pt").write_bytes(content)
    try:
        lmp.command("pair_coeff * * flipped.pt O H")
        print(flip, "read", flush=True)
    except Exception as error:
        print(flip, str(error).splitlines()[0], flush=True)
"""


def read_flipped(folder: Path, model: Path, flips) -> dict[str, str]:
    """What pair_coeff says of `model` with each one of these bits flipped, and, as None, of the file as it is."""
    write_data(folder / "water.data", water_box(1))
    environment = {**os.environ, "LAMMPS_PLUGIN_PATH": str(plugin_folder())}
    command = [sys.executable, "-c", READER, model, *map(str, flips)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    found = {flip: words for flip, words in lines if flip == "None" or flip.isdigit()}
    assert len(found) == len(set(flips)) + 1
    return found


def test_a_flipped_bit_is_refused_wherever_it_is(models, tmp_path):
    """One bit of every content, the first and the last of the file, and some anywhere."""
    model = models["float32"]
    size = model.stat().st_size
    rng = np.random.default_rng(1)
    flips = [int(bit) for bit in rng.integers(0, 8 * size, 60)] + [0, 8 * size - 1]
    with zipfile.ZipFile(model) as archive, model.open("rb") as stream:
        for item in archive.infolist():
            stream.seek(item.header_offset + 26)
            name, extra = np.frombuffer(stream.read(4), np.uint16)
            start = item.header_offset + 30 + int(name) + int(extra)
            flips.append(8 * (start + item.compress_size // 2) + 3)
    found = read_flipped(tmp_path, model, flips)
    assert found.pop("None") == "read"
    assert [flip for flip, words in found.items() if words == "read"] == []
    assert all("got flipped.pt" in words and "; wanted " in words for words in found.values())
    contents = [words for words in found.values() if "does not fit its checksum; wanted the file that" in words]
    assert len(contents) > 60


def test_a_reference_energy_of_another_value_is_found_by_the_self_test(models, water, tmp_path, run_as_written):
    """A file with checksums of its own, whose slopes are right."""
    module, _ = load_exported(models["float64"])
    module.reference[0] += 0.1
    resaved(module, models["float64"], tmp_path / "changed.pt")
    deck = DECK.format(keywords="", model="changed.pt") + RUN
    text = run_as_written(deck, ok=False).text
    assert "got energies of the model's own test cluster off by" in text
    module.reference[0] -= 0.1
    resaved(module, models["float64"], tmp_path / "changed.pt")
    run_as_written(deck)


def resaved(module, model: Path, target: Path) -> None:
    """The script with the card of `model`."""
    with zipfile.ZipFile(model) as archive:
        card = next(archive.read(n) for n in archive.namelist() if n.endswith("extra/card.json"))
    torch.jit.save(module, str(target), _extra_files={"card.json": card})


CARDS = {
    "an element twice": ({"elements": ["H", "H", "O"]}, "with element H twice; wanted each element once"),
    "elements in another order": (
        {"elements": ["O", "C", "H"]},
        "with elements O C H in its card; wanted H C O, which its parameters are for",
    ),
    "fewer elements": ({"elements": ["H", "O"]}, "with elements H O in its card; wanted H C O"),
    "no elements": ({"elements": []}, "without elements"),
    "elements that are a number": ({"elements": 3}, "with a card that cannot be read"),
    "another cutoff": ({"cutoff": 4.0}, "with cutoff 4 in its card; wanted 5, which its parameters are for"),
    "another radius of the first layer": (
        {"architecture": {"first_cutoff": 7.0}},
        "with first_cutoff 7 in its card; wanted 5, which its parameters are for",
    ),
    "a first layer that reaches less far": (
        {"architecture": {"first_cutoff": 4.0}},
        "with first_cutoff 4.000000; wanted at least the cutoff, 5.000000",
    ),
    "a cutoff below zero": ({"cutoff": -1.0}, "with cutoff -1.000000; wanted a length above zero"),
    "another precision": ({"dtype": "float64"}, "with dtype float64 in its card; wanted float32"),
    "a version in words": ({"format_version": "x"}, "with a card that cannot be read"),
}


@pytest.mark.parametrize("what", CARDS)
def test_a_card_that_does_not_fit(models, water, tmp_path, run_as_written, what):
    change, words = CARDS[what]
    edited(models["float32"], tmp_path / "edited.pt", lambda card: card.update(change))
    text = run_as_written(DECK.format(keywords="check no", model="edited.pt") + RUN, ok=False).text
    assert words in next(line for line in text.splitlines() if line.startswith("ERROR"))


def test_a_card_that_is_no_json(models, water, tmp_path, run_as_written):
    module, _ = load_exported(models["float32"])
    for content in ("{", "null", "[1]"):
        torch.jit.save(module, str(tmp_path / "odd.pt"), _extra_files={"card.json": content})
        text = run_as_written(DECK.format(keywords="", model="odd.pt") + RUN, ok=False).text
        assert "got odd.pt with a card that cannot be read" in text


def test_files_of_an_older_tlmd(models, water, tmp_path, run_as_written):
    """Without energies of the test cluster and, as all files of format 1, without norm_epsilon: 1e-4."""
    old = Path(__file__).parent / "data" / "format1.pt"
    with zipfile.ZipFile(old) as archive:
        card = json.loads(next(archive.read(n) for n in archive.namelist() if n.endswith("extra/card.json")))
    assert card["format_version"] == 1 and "norm_epsilon" not in card["architecture"]
    numbers = json.loads(old.with_suffix(".json").read_text())
    for backend in ("native", "torchscript"):
        deck = DECK.format(keywords=f"backend {backend}", model=old)
        deck += "dump d all custom 1 forces.dump id fx fy fz\ndump_modify d sort id format float %.16g\n" + RUN
        text = run_as_written(deck).text
        energy = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("END"))
        assert energy == pytest.approx(numbers["energy"], rel=1e-10)
        forces = np.loadtxt(tmp_path / "forces.dump", skiprows=9)[:3, 1:]
        np.testing.assert_allclose(forces, numbers["forces"], atol=1e-7)
    water.calc = TLCalculator(old)
    assert water.get_potential_energy() == pytest.approx(numbers["energy"], rel=1e-10)


def test_self_test_with_many_threads(models, water, run_as_written):
    """Its sums do not depend on OMP_NUM_THREADS."""
    run_as_written(DECK.format(keywords="", model=models["float32"]), threads=1000)


MALLOC = """
import ctypes, sys
from mpi4py import MPI
from lammps import lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_string("units metal\\natom_style atomic\\nread_data water.data\\npair_style tpainn check no")
lmp.command("pair_coeff * * " + sys.argv[1] + " O H")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
block = libc.malloc(ctypes.c_size_t(1 << 27))
print("MAPPED", ctypes.c_size_t.from_address(block - 8).value >> 1 & 1)  # glibc: whether the block was mapped alone
"""


@pytest.mark.parametrize(("setting", "mapped"), [("system", "1"), ("", "0")])
def test_malloc_is_left_as_it_is_on_request(models, tmp_path, setting, mapped):
    write_data(tmp_path / "water.data", water_box(1))
    environment = {**os.environ, "LAMMPS_PLUGIN_PATH": str(plugin_folder()), "TLMD_MALLOC": setting}
    command = [sys.executable, "-c", MALLOC, models["float32"]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert f"MAPPED {mapped}" in done.stdout, done.stderr[-2000:]
