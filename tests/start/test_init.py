"""tl-init: folders that are whole, whose TOMLs are valid and whose files the later commands read."""

import re
import sys

import numpy as np
import pytest

pytest.importorskip("rdkit")
from ase.build import add_adsorbate, fcc111, molecule
from ase.io import read, write
from typer.testing import CliRunner

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.generate.config import GenerateConfig
from tlmd.generate.driver import generate
from tlmd.run.check import check
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.start import projects
from tlmd.start.commands import app, counted
from tlmd.start.density import guessed_density
from tlmd.train.config import PretrainConfig
from tlmd.train.pretrain import pretrain

STAGE = {"teacher": "generate", "candidates": "generate", "pretrain": "pretrain", "select": "select", "label": "label",
         "finetune": "finetune", "learn": "learn"}  # fmt: skip
TABLE = re.compile(r"^\[(calculator)\]", re.MULTILINE)


def init(*words):
    """What `tl-init WORDS` prints; the error line where it ends with exit code 1."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def require_valid(folder, tomls, decks=()):
    """Every TOML is valid for its stage, all files that it names are there or of a run to come; README names all."""
    assert {path.stem for path in folder.glob("*.toml")} == set(tomls)
    lines = check([folder / f"{name}.toml" for name in tomls])
    assert [line.partition("valid for tl-")[2].partition(";")[0] for line in lines] == [STAGE[name] for name in tomls]
    readme = (folder / "README.md").read_text()
    assert "$" not in readme.replace("$(tl-plugin)", "") and "\n    tl-init " in readme
    assert max(len(line) for line in readme.splitlines() if not line.startswith("    tl-init")) <= 120
    for name in tomls:
        assert f"tl-{STAGE[name]} {name}.toml" in readme
        assert f"tl-{STAGE[name]} {name}.toml" in (folder / f"{name}.toml").read_text()
    for deck in decks:
        assert f"lmp -in {deck}" in readme and (folder / deck).exists()


@pytest.fixture(scope="module")
def solution(tmp_path_factory):
    """Ethanol in water."""
    folder = tmp_path_factory.mktemp("liquid") / "solution"
    code, said = init("liquid", folder, "--smiles", "CCO:2 O:6", "--density", 0.6, "--seed", 2)
    assert code == 0 and f"wrote {folder}" in said, said
    return folder


def test_liquid_by_smiles(solution):
    require_valid(solution, STAGE, ("density.in", "diffusion.in"))
    deck = (solution / "density.in").read_text()
    for line in ("data index atoms.data ", 'elements index "C H O" ', "steps index 100000 "):
        assert f"\nvariable {line}" in deck
    for name in ("teacher", "candidates"):  # a mesh that does not show in labels
        assert load_config(GenerateConfig, solution / f"{name}.toml").teacher.variables == {"accuracy": 1e-6}
    box, atoms = (read(solution / name, format="lammps-data") for name in ("system.data", "atoms.data"))
    assert box.get_chemical_formula() == atoms.get_chemical_formula() == "C4H24O8"
    assert list(read(solution / "box.extxyz").numbers) == list(box.numbers)
    assert "--smiles CCO:2 --smiles O:6 --density 0.6 --seed 2\n" in (solution / "README.md").read_text()


def test_density_by_the_formula(tmp_path):
    measured = {"O": 0.997, "CCO": 0.785, "CC#N": 0.777, "c1ccccc1": 0.874, "CS(C)=O": 1.10, "CCCCCC": 0.655}
    for smiles, density in measured.items():
        assert guessed_density([(smiles, 1)]) == pytest.approx(density, rel=0.18)
    mixture = guessed_density([("CCO", 1), ("O", 3)])
    assert guessed_density([("CCO", 2)]) < mixture < guessed_density([("O", 1)])
    code, said = init("liquid", tmp_path / "ethanol", "--smiles", "CCO", "--molecules", 4)
    assert code == 0, said
    guess = guessed_density([("CCO", 1)])
    assert f"{guess:.3g} g/cm3, a guess by the formula" in (tmp_path / "ethanol" / "README.md").read_text()
    low, high = load_config(GenerateConfig, tmp_path / "ethanol" / "candidates.toml").systems["liquid"].density_g_cm3
    assert low < 0.785 < guess < high


def test_liquid_by_lammps_files(solution, tmp_path):
    (tmp_path / "own.in").write_text((solution / "forcefield.in").read_text() + "include more.in\n")
    (tmp_path / "more.in").write_text("# more\n")
    words = ("--data", solution / "system.data", "--include", tmp_path / "own.in", "--labels", "cp2k")
    code, said = init("liquid", tmp_path / "new", *words)
    assert code == 0, said
    require_valid(tmp_path / "new", STAGE, ("density.in",))
    assert (tmp_path / "new" / "more.in").exists()
    label = (tmp_path / "new" / "label.toml").read_text()
    assert len(TABLE.findall(label)) == 1 and '\nname = "cp2k"' in label and '\n# name = "tblite"' in label
    assert "molecules = 8 " in (tmp_path / "new" / "candidates.toml").read_text()


def test_molecules(tmp_path):
    code, said = init("molecule", tmp_path / "one", "--smiles", "CCO", "--labels", "pyscf", "--frames", 12)
    assert code == 0, said
    require_valid(tmp_path / "one", STAGE)
    assert '\nname = "pyscf"' in (tmp_path / "one" / "label.toml").read_text()
    assert "n_frames = 12 " in (tmp_path / "one" / "select.toml").read_text()


def test_workflow_of_a_molecule_runs(tmp_path):
    assert init("molecule", tmp_path / "one", "--smiles", "CO")[0] == 0
    teacher, first = (tmp_path / "one" / f"{name}.toml" for name in ("teacher", "pretrain"))
    settings = load_config(GenerateConfig, teacher, ["scale=0.01", "systems.langevin.equilibrate_ps=0.1"])
    generate(settings, settings.out)
    small = ["training.max_steps=4", "model.width=8", "loss.ramp_steps=4", "training.valid_every=2"]
    settings = load_config(PretrainConfig, first, [*small, "training.plots=false"])
    pretrain(settings, settings.out)
    assert (tmp_path / "one" / "pretrained" / "model.pt").exists()


def test_surface(tmp_path):
    slab = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    add_adsorbate(slab, molecule("CO"), 1.9, "ontop")
    slab.info.clear()  # ASE's own notes, which extxyz cannot hold
    write(tmp_path / "slab.xyz", slab, format="extxyz")
    words = ("surface", tmp_path / "s", tmp_path / "slab.xyz", "--adsorbate", "C", "--adsorbate", "O")
    code, said = init(*words)
    assert code == 0, said
    require_valid(tmp_path / "s", STAGE, ("run.in",))
    teacher = (tmp_path / "s" / "teacher.toml").read_text()
    assert '\nname = "comb3"' in teacher and 'adsorbate = ["C", "O"]' in teacher
    with pytest.raises(InputError, match="got --adsorbate N; wanted elements of .*: C, Cu, O"):
        projects.surface(tmp_path / "t", tmp_path / "slab.xyz", ["N"], projects.Choices(""))


@pytest.mark.parametrize("periodic", [True, False])
def test_labelled_frames(tmp_path, periodic):
    rng = np.random.default_rng(1)
    water = molecule("H2O")
    frames = [
        Frame(
            water.numbers,
            water.positions + rng.normal(scale=0.05, size=(3, 3)),
            np.eye(3) * 8.0 * periodic,
            np.full(3, periodic),
            float(rng.normal()),
            rng.normal(size=(3, 3)),
        )
        for _ in range(4)
    ]
    write_frames(tmp_path / "dft.extxyz", frames)
    code, said = init("file", tmp_path / "f", tmp_path / "dft.extxyz", "--elements", "O H", "--level", "PBE")
    assert code == 0, said
    require_valid(tmp_path / "f", ("teacher", "pretrain", "finetune"), ("density.in",) if periodic else ())
    assert 'level_of_theory = "PBE"' in (tmp_path / "f" / "finetune.toml").read_text()
    if periodic:
        lines = (tmp_path / "f" / "atoms.data").read_text().splitlines()
        masses = lines.index("Masses")
        assert [line.split()[1][:2] for line in lines[masses + 2 : masses + 4]] == ["15", "1."]
        assert '\nvariable elements index "O H" ' in (tmp_path / "f" / "density.in").read_text()
    with pytest.raises(InputError, match="got --elements O; wanted those of .*: H O"):
        projects.labelled(tmp_path / "g", tmp_path / "dft.extxyz", ["O"], "PBE", projects.Choices(""))


def test_nothing_is_written_where_something_is_or_where_it_fails(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(InputError, match="full, a folder with files in it; wanted a new or empty folder"):
        projects.single(tmp_path / "full", ["CCO"], projects.Choices(""))
    monkeypatch.setattr(projects, "_stages", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        projects.single(tmp_path / "new", ["CCO"], projects.Choices(""))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_numbers_of_molecules():
    assert counted(["CO"], 32) == [("CO", 32)]
    assert counted(["CCO:20", "O:12"], 32) == counted(["CCO:20 O:12"], 32) == [("CCO", 20), ("O", 12)]
    assert counted(["[CH3:1]C:4"], 32) == [("[CH3:1]C", 4)]
    for words in (["CCO:20", "O"], ["CCO:0"], ["O:2", "O:3"]):
        with pytest.raises(InputError, match="wanted each SMILES once, with a number"):
            counted(words, 32)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["liquid", "new"], "got no molecules; wanted --smiles, or --data and --include"),
        (["liquid", "new", "--data", "a.data"], "got --data; wanted --smiles, or --data and --include"),
        (["liquid", "new", "--data", "a.data", "--include", "b.in"], "got no file b.in"),
        (["liquid", "new", "--smiles", "CO:4", "--density", "0.5", "--labels", "pyscf"], "got --labels pyscf for"),
        (["molecule", "new"], "got no molecule; wanted --smiles"),
        (["surface", "new", "none.xyz"], "got no file none.xyz"),
    ],
)
def test_errors_are_one_line(words, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tl-init", *words])
    with pytest.raises(SystemExit) as end:
        app()
    error = capfd.readouterr().err
    assert end.value.code == 1 and said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
