"""Model files that are damaged, edited or old: refused in one line, or the numbers that they gave."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

from tlmd.archive import flaw
from tlmd.calculator import TLCalculator
from tlmd.export import export_model, load_any
from tlmd.modelfile import Card, Sample, load_model, read_card, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED
from tlmd.train.config import PretrainConfig

DATA = Path(__file__).parent / "data"
ELEMENTS = ["H", "C", "O"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A random model, trained and exported."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(2)
    potential = new_potential(ELEMENTS, 4.0, Architecture(width=16, n_layers=2, n_radial=8))
    potential.reference[:] = torch.tensor([-13.5, -1020.0, -430.0])
    card = Card(elements=ELEMENTS, cutoff=4.0, architecture=Architecture(width=16, n_layers=2, n_radial=8))
    atoms = molecule("CH3CH2OH", vacuum=2.0)
    sample = Sample(atoms.numbers, atoms.positions, atoms.cell.array, np.ones(3, bool))
    save_model(folder / "model.pt", potential, card, sample)
    return {"trained": folder / "model.pt", "exported": export_model(folder / "model.pt")}


@pytest.fixture(params=["trained", "exported"])
def file(request, files) -> Path:
    return files[request.param]


def with_card(file: Path, out: Path, change) -> Path:
    """The file with another card: change(card) gives what stands in its place, text or an object."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("card.json"):
                changed = change(json.loads(content))
                content = changed if isinstance(changed, str) else json.dumps(changed)
            new.writestr(item, content)
    return out


def entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def flips(content: bytes, n: int):
    """n copies with one bit flipped, at random places and over the first and last 200 bytes."""
    rng = np.random.default_rng(1)
    ends = [*range(200), *range(len(content) - 200, len(content))]
    for place in [*rng.integers(0, len(content), n).tolist(), *ends]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        yield place, bytes(flipped)


def test_every_flipped_bit_of_an_archive_is_found(file):
    """But for the unused last bits of a compressed entry, which change nothing."""
    content = file.read_bytes()
    assert flaw(content) is None
    unseen = [flipped for _, flipped in flips(content, 4000) if flaw(flipped) is None]
    assert len(unseen) < 5 and all(entries(flipped) == entries(content) for flipped in unseen)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_flipped_bit_of_shipped_models_is_found(name):
    content = SHIPPED[name].read_bytes()
    assert flaw(content) is None
    assert [place for place, flipped in flips(content, 300) if flaw(flipped) is None] == []


def test_files_with_flipped_bits_are_refused(file, tmp_path):
    refused, content = 0, file.read_bytes()
    for _, flipped in flips(content, 10):
        if flaw(flipped) is None and entries(flipped) == entries(content):  # the unused last bits of an entry
            continue
        (tmp_path / "flipped.pt").write_bytes(flipped)
        for read in (read_card, load_any, TLCalculator):
            with pytest.raises(InputError, match="flipped.pt, not a model file, cut short or damaged"):
                read(tmp_path / "flipped.pt")
        refused += 1
    assert refused > 405


CHANGES = {
    "elements": lambda card: card | {"elements": ["C", "H", "O"]},
    "other elements": lambda card: card | {"elements": ["H", "N", "O"]},
    "cutoff": lambda card: card | {"cutoff": 3.0},
    "dtype": lambda card: card | {"dtype": "float64"},
    "reference energies": lambda card: card | {"reference_energies": {"H": -13.5, "C": -1020.0, "O": -431.0}},
    "units": lambda card: card | {"units": {"energy": "kcal/mol"}},
    "envelope": lambda card: card | {"architecture": card["architecture"] | {"envelope": "cosine"}},
    "radial": lambda card: card | {"architecture": card["architecture"] | {"radial": "gaussian"}},
    "norm": lambda card: card | {"architecture": card["architecture"] | {"norm_epsilon": 0.2}},
    "width": lambda card: card | {"architecture": card["architecture"] | {"width": 32}},
    "layers": lambda card: card | {"architecture": card["architecture"] | {"n_layers": 3}},
    "first cutoff": lambda card: card | {"architecture": card["architecture"] | {"first_cutoff": 5.0}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_edited_card_is_refused(file, tmp_path, change):
    edited = with_card(file, tmp_path / "edited.pt", CHANGES[change])
    with pytest.raises(InputError, match=r"changed since it was written \(checksum .*\); wanted the file as it was"):
        load_any(edited)
    with pytest.raises(InputError):
        TLCalculator(edited)


@pytest.mark.parametrize(
    "change", ["elements", "cutoff", "dtype", "reference energies", "width", "layers", "first cutoff"]
)
def test_an_edited_card_of_an_older_file_is_refused(tmp_path, change):
    """Without a checksum: what the parameters or the script tell."""
    for name in ("format1.pt", "format1-lammps.pt"):
        if name == "format1.pt" and "cutoff" in change:
            continue  # no other trace of it in the file
        edited = with_card(DATA / name, tmp_path / name, CHANGES[change])
        with pytest.raises(InputError, match="whose card and parameters differ"):
            load_any(edited)


def test_what_does_not_define_the_numbers_may_be_edited(file, tmp_path):
    edited = with_card(file, tmp_path / "edited.pt", lambda card: card | {"level_of_theory": "by hand"})
    assert load_any(edited)[1].level_of_theory == "by hand"


DAMAGES = {
    "not JSON": (lambda card: "{", "not a JSON object"),
    "list": (lambda card: [], "not a JSON object"),
    "null": (lambda card: None, "not a JSON object"),
    "version": (lambda card: card | {"format_version": "x"}, "key format_version"),
    "unknown element": (lambda card: card | {"elements": ["H", "Xx", "O"]}, "key elements.*not Xx"),
    "element twice": (lambda card: card | {"elements": ["H", "H", "O"]}, "key elements.*each of them once, not H"),
    "no elements": (lambda card: card | {"elements": []}, "key elements"),
    "endless cutoff": (lambda card: card | {"cutoff": 1e9}, "key cutoff"),
    "no architecture": (lambda card: card | {"architecture": None}, "the architecture of the network"),
    "first cutoff": (
        lambda card: card | {"architecture": card["architecture"] | {"first_cutoff": 3.0}},
        "first_cutoff of at least the cutoff, 4 A",
    ),
    "kind": (lambda card: card | {"kind": "mekrr"}, "kernel settings for kind mekrr"),
    "network": (
        lambda card: card | {"architecture": card["architecture"] | {"network": "pain"}},
        r"key architecture.network\); wanted one of painn.*did you mean 'painn'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_card_is_one_line(file, tmp_path, damage):
    change, words = DAMAGES[damage]
    damaged = with_card(file, tmp_path / "damaged.pt", change)
    for read in (read_card, load_any, TLCalculator):
        with pytest.raises(InputError, match=f"damaged card.*{words}") as error:
            read(damaged)
        assert "\n" not in str(error.value)


def test_elements_of_a_configuration_are_known_and_unlike(tmp_path):
    (tmp_path / "x.toml").write_text('[data]\ntrain = "x"\n[training]\nmax_steps = 1\n')
    for elements, wrong in (('["H","H","O"]', "H"), ('["H","Xx"]', "Xx"), ('["X"]', "X")):
        with pytest.raises(InputError, match=f"symbols of elements, each of them once, not {wrong}"):
            load_config(PretrainConfig, tmp_path / "x.toml", [f"model.elements={elements}"])


@pytest.mark.parametrize("name", ["format1.pt", "format1-lammps.pt"])
@pytest.mark.parametrize("backend", ["torch", "native"])
def test_files_of_format_1_give_the_numbers_they_gave(name, backend):
    """A random model of 16 channels, written and evaluated by tlmd at commit dfba9fa."""
    truth = np.load(DATA / "format1.npz")
    atoms = molecule("CH3CH2OH", vacuum=2.0, pbc=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = TLCalculator(DATA / name, backend=backend)
    assert read_card(DATA / name).architecture.norm_epsilon == 1e-4
    assert atoms.get_potential_energy() == pytest.approx(float(truth["energy"]), abs=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), truth["forces"], atol=1e-5)


def test_a_full_disk_is_one_line_and_leaves_nothing(files, tmp_path):
    """A limit on the size of files fails in the same call as a full disk."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from tlmd.cli import export\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"sys.argv = ['tl-export', {str(files['trained'])!r}, '--out', 'x.pt']\nexport()"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_model_is_never_its_own_export(files):
    before = files["trained"].read_bytes()
    with pytest.raises(InputError, match="the trained model itself; wanted another file"):
        export_model(files["trained"], files["trained"])
    assert files["trained"].read_bytes() == before
    load_model(files["trained"])
