"""MMFF94 labels, bond graphs, enumeration, systems of molecules and tl-generate on them."""

from pathlib import Path

import numpy as np
import pytest
from ase.data import covalent_radii
from rdkit import Chem
from rdkit.Chem import AllChem

from tlmd.curves.config import CurveConfig
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import driver, topology
from tlmd.generate.config import GenerateConfig
from tlmd.generate.dynamics import langevin
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.items import items_of, make
from tlmd.generate.systems import molecules
from tlmd.generate.teachers.mmff94 import MMFF94, STRAIGHT_DEG, MMFF94Config
from tlmd.mekrr.config import MekrrConfig
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.folder import PARTS, RunFolder
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.units import BOLTZMANN_EV_K, EV_PER_KCAL_MOL

INPUTS = Path(__file__).parents[2] / "inputs" / "molecules"
ENOL = "CC(=O)C=C(C)O"
TOML = f"""
seed = 5
[teacher]
name = "mmff94"
[systems.conformers]
kind = "conformers"
smiles = ["{ENOL}", "O"]
frames = 6
frames_per_item = 3
[systems.modes]
kind = "normal_modes"
smiles = ["{ENOL}"]
frames = 10
[systems.bonds]
kind = "bonds"
smiles = ["CCO"]
frames = 5
[systems.langevin]
kind = "langevin"
smiles = ["CCO", "C"]
frames = 4
equilibrate_ps = 0.05
spacing_ps = 0.01
[systems.grown]
kind = "conformers"
enumerate = {{ count = 8, heavy_atoms = [2, 4] }}
frames = 8
"""


@pytest.fixture(scope="module")
def teacher():
    return MMFF94(MMFF94Config(name="mmff94"))


def test_energy_is_rdkits_in_ev():
    raw = MMFF94(MMFF94Config(name="mmff94", energies="mmff94"))
    molecule = Chem.AddHs(Chem.MolFromSmiles(ENOL))
    AllChem.EmbedMolecule(molecule, randomSeed=3)
    force_field = AllChem.MMFFGetMoleculeForceField(molecule, AllChem.MMFFGetMoleculeProperties(molecule))
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    frame = raw.label(Frame(numbers, molecule.GetConformer().GetPositions(), info={"smiles": ENOL}))
    assert frame.energy == pytest.approx(force_field.CalcEnergy() * EV_PER_KCAL_MOL, abs=1e-9)
    assert EV_PER_KCAL_MOL == pytest.approx(4184 / 6.02214076e23 / 1.602176634e-19, rel=1e-6)


def test_forces_are_derivatives(finished, teacher):
    for kind in ("normal_modes", "bonds", "langevin"):
        frame = next(frame for frame in finished[1] if frame.info["kind"] == kind)
        for atom, axis in ((0, 0), (1, 1), (len(frame) - 1, 2)):
            move = np.zeros_like(frame.positions)
            move[atom, axis] = 1e-4
            up, down = (teacher.label(frame.replace(positions=frame.positions + s * move)).energy for s in (1, -1))
            assert frame.forces[atom, axis] == pytest.approx((down - up) / 2e-4, abs=1e-5)


def test_lowest_energy_is_that_of_the_bonds(teacher):
    kj_mol = {"C": 4 * 413, "CC": 6 * 413 + 347, "C=O": 2 * 413 + 745, "C1CC1": 6 * 413 + 3 * 347 - 115}
    kj_mol["c1ccccc1"] = 6 * 413 + 3 * 347 + 3 * 614 + 150
    for smiles, energy in kj_mol.items():
        field = teacher.energy_of(smiles)
        lowest = field.evaluate(field.relax(field.molecule.conformers(1, 1)[0]))[0]
        assert lowest == pytest.approx(-energy * EV_PER_KCAL_MOL / 4.184, abs=1e-4)
    assert teacher.energy_of("C=O").offset != 0
    with pytest.raises(Unsuited, match=r"with a bond .*wanted bonds with a tabulated energy"):
        teacher.energy_of("CP")


def test_frames_that_do_not_fit_are_refused(teacher, finished):
    frame = finished[1][0]
    with pytest.raises(InputError, match="a frame without smiles"):
        teacher.label(frame.replace(info={}))
    with pytest.raises(InputError, match=r"other atoms than in .*hydrogens last"):
        teacher.label(frame.replace(numbers=frame.numbers[::-1]))


def test_straight_angles_are_unfit(teacher):
    water = Frame(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.97, 0, 0], [-0.97, 0.01, 0]]), info={"smiles": "O"})
    assert teacher.unfit(water) == "straight angle"
    bent = water.replace(positions=np.array([[0, 0, 0], [0.97, 0, 0], [-0.3, 0.92, 0]]))
    assert teacher.unfit(bent) is None and STRAIGHT_DEG < 180
    acetylene = teacher.energy_of("C#C").molecule
    assert acetylene.widest_angle(acetylene.conformers(1, 1)[0]) == 0.0  # linear by its bonds


@pytest.mark.parametrize("smiles", [ENOL, "C[N+](=O)[O-]", "c1ccsc1", "C#N", "O=S(C)C"])
def test_bonds_from_geometry(smiles, teacher):
    field = teacher.energy_of(smiles)
    frame = Frame(field.molecule.numbers, field.relax(field.molecule.conformers(1, 1)[0]))
    mixed = np.random.default_rng(1).permutation(len(frame))
    found = topology.from_geometry(frame.replace(numbers=frame.numbers[mixed], positions=frame.positions[mixed]))
    assert found == topology.canonical(topology.with_hydrogens(smiles))


@pytest.mark.parametrize(("smiles", "together"), [("C/C=C\\C", True), ("C/C=C/C", False)])
def test_isomers_of_a_double_bond_stay_apart(smiles, together, tmp_path):
    given = smiles.replace("\\", "\\\\")
    (tmp_path / "g.toml").write_text(
        f'[teacher]\nname = "mmff94"\n[systems.enol]\nkind = "conformers"\nsmiles = ["{given}"]\nframes = 8\n'
    )
    frames = read_frames(driver.generate(load_config(GenerateConfig, tmp_path / "g.toml"), tmp_path / "out"))
    for frame in frames:
        distances = np.linalg.norm(frame.positions[:4, None] - frame.positions[:4], axis=-1)  # of the carbon atoms
        assert (distances.max() < 3.5) == together  # A: 3.1 between the ends of cis-butene, 3.9 in trans-butene


def test_frames_of_an_ion_carry_its_charge(tmp_path):
    (tmp_path / "g.toml").write_text(
        '[teacher]\nname = "mmff94"\n[systems.ions]\nkind = "conformers"\nsmiles = ["CC(=O)[O-]", "C[NH3+]", "C"]\n'
        "frames = 6\n"
    )
    frames = read_frames(driver.generate(load_config(GenerateConfig, tmp_path / "g.toml"), tmp_path / "out"))
    assert {(frame.info["smiles"], frame.info.get("charge")) for frame in frames} == {
        ("CC(=O)[O-]", -1), ("C[NH3+]", 1), ("C", None)
    }  # fmt: skip


def test_geometries_without_a_graph_are_counted():
    methane = topology.with_hydrogens("C")
    topology.embed(methane, 1, 1)
    good = Frame(topology.numbers_of(methane), methane.GetConformer().GetPositions())
    apart = good.replace(positions=good.positions * 5)
    radical = good.replace(numbers=good.numbers[:4], positions=good.positions[:4])
    assert topology.from_frames([good, apart, good, radical]) == (["C"], {"no bonds": 2})


def test_enumeration_is_deterministic_and_has_right_valences():
    found = topology.enumerate_molecules(150, "CNOSF", (2, 6), seed=1)
    assert len(set(found)) == 150 and found == topology.enumerate_molecules(150, "CNOSF", (2, 6), seed=1)
    assert found != topology.enumerate_molecules(150, "CNOSF", (2, 6), seed=2)
    valences = topology.VALENCES | {"H": 1}
    sizes = set()
    for smiles in found:
        molecule = topology.with_hydrogens(smiles)
        Chem.Kekulize(molecule, clearAromaticFlags=True)
        sizes.add(molecule.GetNumHeavyAtoms())
        for atom in molecule.GetAtoms():
            orders = sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds())
            assert orders == valences[atom.GetSymbol()] and atom.GetFormalCharge() == 0
            assert atom.GetNumRadicalElectrons() == 0
    assert sizes == {2, 3, 4, 5, 6}


def test_few_graphs_end_the_enumeration():
    found = topology.enumerate_molecules(50, "CF", (1, 2), seed=1)
    assert set(found) == {"C", "CC", "C=C", "C#C", "CF", "[H]F"}  # F2 is left out as unstable


def test_generated_set(finished, toml):
    config, frames = finished
    wanted = {name: settings.frames for name, settings in config.systems.items()}
    assert len(frames) == sum(wanted.values())
    for frame in frames:
        distances = np.linalg.norm(frame.positions[:, None] - frame.positions, axis=-1) + 9 * np.eye(len(frame))
        radii = covalent_radii[frame.numbers]
        assert (distances > 0.6 * (radii[:, None] + radii)).all()
        assert frame.forces.sum(0) == pytest.approx(0, abs=1e-6)
    log = (toml.parent / "whole" / "log.txt").read_text()
    assert "grown: 8 molecules" in log and "conformers: 2 molecules" in log
    assert {frame.info["smiles"] for frame in frames if "conformers 0" in frame.info["source"]} == {ENOL}


def test_resumed_run_gives_the_same_set(finished, toml):
    config, frames = finished
    settings = config.model_copy(update={"out": toml.parent / "killed"})
    RunFolder(settings.out, "generate", settings).close()
    (settings.out / PARTS).mkdir()
    items = list(items_of(settings))
    for item in items[::2]:
        make(settings, item, MMFF94(settings.teacher), settings.out)
    again = read_frames(driver.generate(settings))
    for a, b in zip(frames, again, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        assert (a.energy, a.info) == (b.energy, b.info)


def test_molecules_of_a_file_and_what_is_left_out(tmp_path, finished):
    frames = [frame for frame in finished[1] if frame.info["kind"] == "langevin"]
    apart = frames[0].replace(positions=frames[0].positions * 5)
    write_frames(tmp_path / "set.extxyz", [*frames, apart])
    text = 'seed = 1\n[teacher]\nname = "mmff94"\n[systems.all]\nkind = "conformers"\nfile = "set.extxyz"\nframes = 3\n'
    (tmp_path / "all.toml").write_text(text + 'smiles = ["CB", "CP"]\n')
    driver.generate(load_config(GenerateConfig, tmp_path / "all.toml"), tmp_path / "out")
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "all: 3 molecules; left out 1 with no bonds, 1 with no MMFF94 types" in log
    assert "all: 1 not made: CP, with a bond C-P" in log  # it has types, but no bond energy


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('teacher.name="spcfw"', r"systems of liquid for spcfw; conformers is molecules"),
        ("systems.bonds.smiles=[]", r"molecules by smiles, file or enumerate"),
        ("systems.grown.enumerate.heavy_atoms=[3,2]", r"the low end first, then the high end"),
        ('systems.grown.enumerate.elements=["P"]', r"systems.grown.enumerate.elements"),
    ],
)
def test_bad_configuration(toml, override, words):
    with pytest.raises(InputError, match=words):
        load_config(GenerateConfig, toml, [override])


def test_bad_smiles_are_refused(toml):
    for smiles in ("C(", "C.C"):
        config = load_config(GenerateConfig, toml, [f'systems.bonds.smiles=["{smiles}"]'])
        with pytest.raises(InputError, match="wanted the SMILES of one molecule"):
            molecules.Bonds(config.systems["bonds"])


def test_normal_modes_follow_the_temperature(teacher, toml):
    """In the harmonic distribution each of the 3N - 6 modes has the mean energy k_B T / 2."""
    overrides = ["systems.modes.temperature_K=[20.0,20.0]", "systems.modes.largest_A=9.0"]
    system = molecules.NormalModes(load_config(GenerateConfig, toml, overrides).systems["modes"])
    field = teacher.energy_of("C=O")
    energies = [field.evaluate(x)[0] for x in system.shapes(field, 400, np.random.default_rng(1))]
    lowest = field.evaluate(field.relax(field.molecule.conformers(1, 1)[0]))[0]
    assert np.mean(energies) - lowest == pytest.approx(6 * BOLTZMANN_EV_K * 20 / 2, rel=0.1)


def test_langevin_samples_the_temperature(teacher):
    """The mean potential energy of a nearly harmonic molecule at low temperature is k_B T / 2 a mode."""
    field = teacher.energy_of("C=O")
    start = field.relax(field.molecule.conformers(1, 1)[0])
    rng = np.random.default_rng(1)
    walk = langevin(lambda x: field.evaluate(x)[1], field.molecule.numbers, start, 50.0, 0.5, rng)
    energies = [field.evaluate(next(walk))[0] for _ in range(40_000)][4000:]
    assert np.mean(energies) - field.evaluate(start)[0] == pytest.approx(6 * BOLTZMANN_EV_K * 50 / 2, rel=0.2)


def test_dynamics_that_fly_apart_end(teacher):
    energy = teacher.energy_of("C=O")
    start = energy.molecule.conformers(1, 1)[0]
    walk = langevin(
        lambda x: energy.evaluate(x)[1], energy.molecule.numbers, start, 300.0, 100.0, np.random.default_rng(1)
    )
    with pytest.raises(Unsuited, match="dynamics of 4 atoms that flew apart.*lower timestep_fs"):
        for _ in range(1000):
            next(walk)


def test_without_rdkit_the_error_names_the_extra(toml, monkeypatch):
    monkeypatch.setattr(topology, "Chem", None)
    with pytest.raises(InputError, match=r"no RDKit; wanted the extra \[molecules\]; pip install rdkit"):
        driver.generate(load_config(GenerateConfig, toml), toml.parent / "without")


@pytest.mark.parametrize("name", ["qm7", "acac", "3bpa"])
def test_committed_inputs(name):
    folder = INPUTS / name
    stages = {
        "classical": GenerateConfig, "pretrain": PretrainConfig, "scratch": PretrainConfig,
        "finetune": FinetuneConfig, "mekrr": MekrrConfig, "curve": CurveConfig,
    }  # fmt: skip
    configs = {stage: load_config(model, folder / f"{stage}.toml") for stage, model in stages.items()}
    for stage, model in {"xtb": GenerateConfig, "ani": GenerateConfig, "which": CurveConfig}.items():
        if (folder / f"{stage}.toml").exists():
            load_config(model, folder / f"{stage}.toml")
    scratch, finetune = configs["scratch"], configs["finetune"]
    assert scratch.data == finetune.data and scratch.training == finetune.training
    frames = {part: read_frames(getattr(scratch.data, part)) for part in ("train", "valid", "test")}
    assert max(n for n in configs["curve"].sizes if n != "all") <= len(frames["train"])
    graphs = {part: {topology.from_geometry(frame) for frame in some} - {None} for part, some in frames.items()}
    if name == "qm7":
        assert len(frames["test"]) >= 500 and all(frame.forces is None for frame in frames["train"])
        assert not graphs["train"] & graphs["test"] and not graphs["train"] & graphs["valid"]
    else:
        (smiles,) = configs["classical"].systems["modes"].smiles
        assert set().union(*graphs.values()) == {topology.canonical(topology.with_hydrogens(smiles))}
    assert sum(path.stat().st_size for path in INPUTS.rglob("*.xz")) < 1.5e6
