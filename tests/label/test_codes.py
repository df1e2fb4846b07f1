"""The codes themselves: forces and stresses are the derivatives of the energies that the same code gives."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from pydantic import TypeAdapter

from tlmd.frames.frame import Frame
from tlmd.label.config import AnyCodeConfig
from tlmd.label.interfaces import CODES, NoLabel, Result
from tlmd.run.errors import InputError

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OMPI_MCA_plm_rsh_agent": "true"}
PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")  # of Debian's quantum-espresso-data


def code_of(**settings):
    config = TypeAdapter(AnyCodeConfig).validate_python(settings)
    return CODES[config.name](config)


def run(code, frame: Frame, folder: Path) -> Result:
    """One label, as a job makes it."""
    folder.mkdir()
    code.check(frame)
    stress = bool(frame.pbc.all())
    code.write(folder, frame, stress)
    return launch(code, frame, folder, stress)


def launch(code, frame: Frame, folder: Path, stress: bool) -> Result:
    """The label from the inputs in the folder."""
    subprocess.run(["sh", "-c", code.command(1)], cwd=folder, env=ENVIRONMENT, capture_output=True)
    return code.read(folder, frame, stress)


def dimer(edge: float = 4.0) -> Frame:
    """H2 in a small box, tilted so that all components count."""
    positions = np.array([[0.1, 0.2, 0.3], [0.7, 0.5, 0.45]])
    return Frame(np.array([1, 1]), positions, np.diag([edge, edge + 0.2, edge + 0.4]), np.ones(3, bool))


def derivatives(code, frame: Frame, folder: Path, step: float = 0.02, strain: float = 0.004) -> None:
    """Assert that a force and a stress component are those of the energies of moved atoms and strained cells."""
    found = run(code, frame, folder / "at")
    energies = []
    for sign in (1, -1):
        positions = frame.positions.copy()
        positions[0, 0] += sign * step
        energies.append(run(code, frame.replace(positions=positions), folder / f"moved{sign}").energy)
    assert found.forces[0, 0] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=0.02)
    assert abs(found.forces[0, 0]) > 1 and np.abs(found.forces.sum(0)).max() < 0.05
    energies = []
    for sign in (1, -1):
        scale = np.diag([1 + sign * strain, 1, 1])
        strained = frame.replace(positions=frame.positions @ scale, cell=frame.cell @ scale)
        energies.append(run(code, strained, folder / f"strained{sign}").energy)
    expected = (energies[0] - energies[1]) / (2 * strain) / np.linalg.det(frame.cell)
    assert found.stress[0, 0] == pytest.approx(expected, rel=0.1) and abs(expected) > 1e-3
    assert found.stress == pytest.approx(found.stress.T)


needs_cp2k = pytest.mark.skipif(not shutil.which("cp2k.psmp"), reason="wants Debian's package cp2k")
needs_espresso = pytest.mark.skipif(
    not (shutil.which("pw.x") and PSEUDOPOTENTIALS.is_dir()), reason="wants Debian's package quantum-espresso"
)


@needs_cp2k
def test_cp2k(tmp_path):
    code = code_of(name="cp2k", cutoff_Ry=280)
    derivatives(code, dimer(), tmp_path)
    result = code.read(tmp_path / "at", dimer(), True)
    assert result.code == "CP2K" and result.version[0].isdigit() and result.scf_steps > 4
    known = {"functional": "revPBE", "basis": "DZVP-MOLOPT-SR-GTH", "cutoff_Ry": 280, "dispersion": "D3"}
    assert code.level() == known


def aluminium() -> Frame:
    """Two atoms of a metal, one of them out of its place."""
    atoms = bulk("Al", cubic=False) * (1, 1, 2)
    atoms.positions[1] += 0.1
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def metal(**options):
    """The settings of a metal with k-points."""
    return code_of(
        name="cp2k", cutoff_Ry=600, functional="PBE", solver="diagonalization", k_points=(2, 2, 1), smearing_K=1000,
        added_orbitals=6, **options,
    )  # fmt: skip


@needs_cp2k
def test_cp2k_metal_from_a_coarse_grid(tmp_path):
    atoms, orbitals = metal(coarse_guess=False), metal()
    slow, fast = run(atoms, aluminium(), tmp_path / "atoms"), run(orbitals, aluminium(), tmp_path / "orbitals")
    assert fast.scf_steps < slow.scf_steps
    assert fast.energy == pytest.approx(slow.energy, abs=1e-4)
    np.testing.assert_allclose(fast.forces, slow.forces, atol=1e-3)
    assert (tmp_path / "orbitals" / "guess-RESTART.kp").exists()


@needs_cp2k
def test_cp2k_from_a_coarse_grid(tmp_path):
    atoms = code_of(name="cp2k", cutoff_Ry=600, coarse_guess=False)
    orbitals = code_of(name="cp2k", cutoff_Ry=600)
    slow, fast = run(atoms, dimer(), tmp_path / "atoms"), run(orbitals, dimer(), tmp_path / "orbitals")
    assert fast.scf_steps < slow.scf_steps / 2
    assert fast.energy == pytest.approx(slow.energy, abs=1e-4)
    np.testing.assert_allclose(fast.forces, slow.forces, atol=1e-3)
    same = [(tmp_path / name / "cp2k.inp").read_text() for name in ("atoms", "orbitals")]
    assert same[0] == same[1]  # labels of either are known to the other
    (tmp_path / "orbitals" / "guess.inp").write_text("no input")
    (tmp_path / "orbitals" / "guess-RESTART.wfn").unlink()
    assert launch(orbitals, dimer(), tmp_path / "orbitals", True).energy == pytest.approx(slow.energy, abs=1e-4)


def test_cp2k_further_keywords(tmp_path):
    more = {
        "FORCE_EVAL": {"DFT": {"qs": {"EPS_DEFAULT": 1e-14}, "XC": {"HF": {"FRACTION": 0.25}}, "PRINT": {"MO": {}}}}
    }
    code = code_of(name="cp2k", input=more)
    code.write(tmp_path, dimer(), True)
    text = (tmp_path / "cp2k.inp").read_text()
    assert "EPS_DEFAULT 1e-14" in text and "1e-12" not in text and "&PAIR_POTENTIAL" in text
    assert "      &HF\n        FRACTION 0.25\n      &END HF\n" in text
    assert "FRACTION" in code.level()["input"]


@needs_cp2k
def test_cp2k_fails_in_words(tmp_path):
    with pytest.raises(NoLabel, match="SCF not converged in 2 steps"):
        run(code_of(name="cp2k", cutoff_Ry=150, max_scf=2, outer_scf=1), dimer(), tmp_path / "unconverged")
    with pytest.raises(NoLabel, match="CP2K aborted: .*basis set <QZV9P>"):
        run(code_of(name="cp2k", basis="QZV9P"), dimer(), tmp_path / "basis")
    output = tmp_path / "unconverged" / "cp2k.out"
    output.write_text(output.read_text()[:3000])
    with pytest.raises(NoLabel, match="CP2K did not end"):
        code_of(name="cp2k").read(output.parent, dimer(), True)


@needs_cp2k
def test_cp2k_metal_with_k_points_and_free_molecule(tmp_path):
    settings = {"solver": "diagonalization", "k_points": (2, 1, 1), "smearing_K": 1000, "added_orbitals": 4}
    metal = run(code_of(name="cp2k", cutoff_Ry=150, functional="PBE", **settings), dimer(), tmp_path / "metal")
    assert metal.stress is not None and metal.scf_steps > 2
    free = dimer().replace(cell=np.zeros((3, 3)), pbc=np.zeros(3, bool))
    charged = code_of(name="cp2k", cutoff_Ry=150, functional="PBE", charge=1, vacuum_A=3.0)
    neutral = code_of(name="cp2k", cutoff_Ry=150, functional="PBE", vacuum_A=3.0)
    ionised = run(charged, free, tmp_path / "charged").energy - run(neutral, free, tmp_path / "neutral").energy
    assert 13 < ionised < 19  # 15.4 eV, vertical; a doublet


@needs_espresso
def test_espresso(tmp_path):
    settings = {"pseudo_dir": PSEUDOPOTENTIALS, "pseudopotentials": {"H": "H.pbe-kjpaw.UPF"}, "dispersion": "D3"}
    code = code_of(name="espresso", ecutwfc_Ry=40, ecutrho_Ry=240, **settings)
    derivatives(code, dimer(), tmp_path)
    assert not list(tmp_path.glob("*/scratch"))
    with pytest.raises(NoLabel, match="SCF not converged in 2 steps"):
        run(code_of(name="espresso", ecutwfc_Ry=20, max_scf=2, **settings), dimer(), tmp_path / "unconverged")
    with pytest.raises(InputError, match="no pseudopotential of O"):
        code.check(dimer().replace(numbers=np.array([8, 1])))


def water() -> Frame:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    return Frame(atoms.numbers, atoms.positions)


left_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files, by PySCF


@left_open
def test_pyscf(tmp_path, monkeypatch):
    pytest.importorskip("pyscf")
    code = code_of(name="pyscf", functional="PBE", basis="def2-SVP", dispersion="D3")
    frame = water()
    found = run(code, frame, tmp_path / "at")
    monkeypatch.chdir(tmp_path / "at")
    energies = []
    for sign in (1, -1):
        positions = frame.positions.copy()
        positions[1, 2] += sign * 0.01
        energies.append(code.compute(frame.replace(positions=positions), False).energy)
    assert found.forces[1, 2] == pytest.approx(-(energies[0] - energies[1]) / 0.02, abs=2e-3)
    assert found.scf_steps > 3 and (tmp_path / "at" / "pyscf.log").stat().st_size > 1000
    atoms = code_of(name="pyscf", functional="PBE", basis="def2-SVP", dispersion="D3", coarse_guess=False)
    from_atoms = atoms.compute(frame, False)
    assert from_atoms.scf_steps > found.scf_steps
    assert found.energy == pytest.approx(from_atoms.energy, abs=1e-6)
    np.testing.assert_allclose(found.forces, from_atoms.forces, atol=1e-3)
    with pytest.raises(NoLabel, match="SCF not converged in 2 steps"):
        code_of(name="pyscf", basis="sto-3g", max_scf=2).compute(frame, False)
    with pytest.raises(InputError, match=r"a functional of libxc"):
        code_of(name="pyscf", functional="PBEE")
    with pytest.raises(InputError, match="a periodic frame for pyscf"):
        code.check(dimer())


@left_open
def test_pyscf_open_shells(tmp_path, monkeypatch):
    pytest.importorskip("pyscf")
    monkeypatch.chdir(tmp_path)
    oxygen = Frame(np.array([8, 8]), np.array([[0, 0, 0], [0, 0, 1.21]]))
    code = code_of(name="pyscf", functional="HF", basis="sto-3g")
    singlet = code.compute(oxygen, False).energy
    triplet = code.compute(oxygen.replace(info={"multiplicity": 3}), False).energy
    assert triplet < singlet - 1
    assert code.compute(oxygen.replace(info={"charge": 1}), False).energy > triplet + 5


WATER = """units metal
atom_style full
bond_style harmonic
angle_style harmonic
variable strength index 1.0
variable data index none
read_data ${data}
pair_style lj/cut 2.4
pair_coeff * * 0.01 1.5
pair_modify shift yes
include bonds.txt
"""
MOLECULE = """water

3 atoms
2 bonds
1 angles
2 atom types
1 bond types
1 angle types

-5 5 xlo xhi
-5 5 ylo yhi
-5 5 zlo zhi

Masses

1 15.999
2 1.008

Atoms # full

1 1 1 0 0 0 0
2 1 2 0 0.76 0.59 0
3 1 2 0 -0.76 0.59 0

Bonds

1 1 1 2
2 1 1 3

Angles

1 1 2 1 3
"""


def test_lammps(tmp_path):
    """A force field of files, which go with the frame: its hash is the same wherever they lie."""
    inputs = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "water.in").write_text(WATER)
        (folder / "water.data").write_text(MOLECULE)
        (folder / "bonds.txt").write_text("bond_coeff 1 $(60*v_strength) 1.0\nangle_coeff 1 2.0 105.0\n")
        files = {"data": folder / "water.data", "include": folder / "water.in"}
        code = code_of(name="lammps", level="springs", variables={"strength": 2}, **files)
        water = molecule("H2O", cell=[4.5, 4.6, 4.7], pbc=True)
        water.positions += [[0.2, 0.1, 0.1], [0.3, 0, 0], [0, 0.3, 0]]
        frame = Frame(water.numbers, water.positions, np.array(water.cell), np.ones(3, bool))
        derivatives(code, frame, folder, step=0.002, strain=0.0005)
        names = code.write(folder / "at", frame, True)
        inputs.append([(folder / "at" / name).read_bytes() for name in names])
    assert inputs[0] == inputs[1] and len(inputs[0]) == 5
    alone = Frame(np.array([8, 1]), frame.positions[:2])
    with pytest.raises(NoLabel, match="LAMMPS: .*OH|LAMMPS: .*molecule"):
        run(code, alone, tmp_path / "alone")
    with pytest.raises(InputError, match=r"calculator\.variables\.strong \(did you mean 'strength'"):
        code_of(name="lammps", level="springs", variables={"strong": 2}, **files)


def test_orca_by_files(tmp_path):
    """Input and files in ORCA's format, written by hand: ORCA itself is not free to ship."""
    code, frame = code_of(name="orca", keywords="PBE0 def2-SVP", charge=1), water()
    code.write(tmp_path, frame, False)
    text = (tmp_path / "orca.inp").read_text()
    assert text.startswith("! EnGrad PBE0 def2-SVP") and "*xyz 1 2" in text and "%scf maxiter 200 end" in text
    (tmp_path / "orca").write_text("#!/bin/sh\nhead -n 1 $1\necho gradient > run.engrad\nexit 3\n")
    (tmp_path / "orca").chmod(0o755)
    ran = subprocess.run(["sh", "-c", code.command(4)], cwd=tmp_path, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert ran.returncode == 3 and (tmp_path / "orca.out").read_text() == "%pal nprocs 4 end\n"
    head = "Program Version 6.0.1 -  RELEASE\n  *               SCF CONVERGED AFTER  11 CYCLES          *\n"
    end = "FINAL SINGLE POINT ENERGY       -75.900000000000\n             ****ORCA TERMINATED NORMALLY****\n"
    gradient = "\n".join(f"       {x:.12f}" for x in np.linspace(-0.01, 0.01, 9))
    (tmp_path / "orca.engrad").write_text(
        "#\n# Number of atoms\n#\n 3\n#\n# The current total energy in Eh\n#\n    -75.900000000000\n#\n"
        f"# The current gradient in Eh/bohr\n#\n{gradient}\n#\n# The atomic numbers and current coordinates\n#\n"
    )
    (tmp_path / "orca.out").write_text(head + end)
    result = code.read(tmp_path, frame, False)
    assert result.energy == pytest.approx(-75.9 * 27.211386) and (result.version, result.scf_steps) == ("6.0.1", 11)
    assert result.forces[0, 0] == pytest.approx(0.01 * 51.4220675)
    (tmp_path / "orca.out").write_text(head)
    with pytest.raises(NoLabel, match="ORCA did not end"):
        code.read(tmp_path, frame, False)
