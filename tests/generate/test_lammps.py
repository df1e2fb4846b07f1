"""The teacher lammps against independent truth: formulas, the teacher SPC/Fw, ASE, derivatives; what it refuses."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.eam import EAM
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame
from tlmd.generate.composition import composed
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.lammps_data import DataFile
from tlmd.generate.teachers.comb3 import COMB3, COMB3Config
from tlmd.generate.teachers.lammps import Lammps, LammpsFilesConfig, element
from tlmd.generate.teachers.spcfw import EPSILON_KCAL_MOL, SIGMA_A, SPCFw, SPCFwConfig
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_KCAL_MOL

from ..surfaces import formate_on_copper

ROOT = Path(__file__).parents[2]
WATER, LIQUID = ROOT / "inputs" / "water" / "oracle", ROOT / "tests" / "data" / "liquid"
POTENTIALS = Path(find_spec("lammps").origin).parent / "share" / "lammps" / "potentials"
SPCFW = {"data": WATER / "water1.data", "include": WATER / "spcfw.in"}
OPLS = {"data": LIQUID / "mixture.data", "include": LIQUID / "opls.in", "variables": {"accuracy": 1e-7}}


def teacher_of(**keys):
    return Lammps(LammpsFilesConfig(name="lammps", **keys))


@pytest.fixture(scope="module")
def spcfw():
    teacher = teacher_of(**SPCFW, variables={"accuracy": 1e-7})
    yield teacher
    teacher.close()


@pytest.fixture(scope="module")
def opls():
    teacher = teacher_of(**OPLS)
    yield teacher
    teacher.close()


def row(teacher, kinds, edge=None, spacing=4.5, seed=1):
    """Molecules of a teacher on a lattice in random orientations, slightly displaced."""
    rng, places, n = np.random.default_rng(seed), [], int(np.ceil(np.cbrt(len(kinds))))
    for k, kind in enumerate(kinds):
        shape = teacher.species[kind].shape(rng)
        turned = Rotation.random(random_state=rng).apply(shape) + spacing * np.array([k % n, k // n % n, k // n**2])
        places.append(turned + rng.normal(scale=0.03, size=turned.shape))
    numbers = np.concatenate([teacher.species[kind].numbers for kind in kinds])
    box = () if edge is None else (np.diag([edge] * 3) + np.tril(np.full((3, 3), 0.4), -1), np.ones(3, bool))
    return Frame(numbers, np.concatenate(places), *box)


def check_derivatives(teacher, frame, atoms, abs_force=5e-4, step=1e-3):
    label = teacher.label(frame)
    for atom, axis in atoms:
        move = np.zeros_like(frame.positions)
        move[atom, axis] = step
        up, down = (teacher.label(frame.replace(positions=frame.positions + s * move)).energy for s in (1, -1))
        assert label.forces[atom, axis] == pytest.approx((down - up) / (2 * step), abs=abs_force)
    for i, j in ((0, 0), (2, 1)) if frame.pbc.all() else ():
        strains = [np.eye(3) + s * 1e-4 * (np.eye(3)[:, [i]] @ np.eye(3)[[j]]) for s in (1, -1)]
        moved = [frame.replace(positions=frame.positions @ s, cell=frame.cell @ s) for s in strains]
        up, down = (teacher.label(each).energy for each in moved)
        assert label.stress[i, j] * abs(np.linalg.det(frame.cell)) == pytest.approx((up - down) / 2e-4, abs=0.02)
    return label


def test_spcfw_by_an_include_is_the_teacher_spcfw_and_the_tail(spcfw):
    frame = row(spcfw, [0] * 27, 12.0, 3.9)
    other = SPCFw(SPCFwConfig(accuracy=1e-7))
    found, wanted = spcfw.label(frame), other.label(frame)
    other.close()
    x, volume = SIGMA_A / 9.0, np.linalg.det(frame.cell)
    scale = 8 / 3 * np.pi * 27**2 / volume * EPSILON_KCAL_MOL * EV_PER_KCAL_MOL * SIGMA_A**3
    tail, slope = scale * (x**9 / 3 - x**3), scale * (2 / 3 * x**9 - x**3) * 2 / volume  # of pair_modify tail yes
    assert found.energy - wanted.energy == pytest.approx(tail, abs=1e-8)
    assert found.forces == pytest.approx(wanted.forces, abs=1e-8)
    assert found.stress == pytest.approx(wanted.stress - slope * np.eye(3), abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_free_clusters_in_a_box_of_vacuum_are_nearly_free(spcfw, count):
    frame = row(spcfw, [0] * count, None, 3.0)
    other = SPCFw(SPCFwConfig())
    found, wanted = spcfw.label(frame), other.label(frame)
    other.close()
    assert found.stress is None
    assert abs(found.energy - wanted.energy) / len(frame) < 1e-5  # eV; 4e-5 without the correction
    assert found.forces == pytest.approx(wanted.forces, abs=5e-4)


def test_a_rotated_cell_gives_rotated_labels(spcfw):
    frame, turn = row(spcfw, [0] * 8, 7.0, 3.4), Rotation.from_euler("xyz", [0.3, 1.0, -2.0]).as_matrix()
    label = spcfw.label(frame)
    turned = spcfw.label(frame.replace(positions=frame.positions @ turn.T, cell=frame.cell @ turn.T))
    assert turned.energy == pytest.approx(label.energy, abs=1e-7)
    assert turned.forces == pytest.approx(label.forces @ turn.T, abs=1e-6)
    assert turned.stress == pytest.approx(turn @ label.stress @ turn.T, abs=1e-8)


def test_molecules_of_the_data_file(opls):
    assert [(species.name, count) for species, count in opls.molecules] == [("CH4O", 2), ("H2O", 1)]
    assert opls.species[0].numbers.tolist() == [6, 8, 1, 1, 1, 1]
    single = teacher_of(data=LIQUID / "methanol.data", include=LIQUID / "opls.in")  # lies across the box
    bonds = single.species[0].positions[single.species[0].bonds]
    assert np.linalg.norm(bonds[:, 0] - bonds[:, 1], axis=-1).max() < 1.5
    single.close()


def test_any_composition_in_any_order(opls):
    frame = row(opls, [1, 0, 1, 0, 0, 1, 1, 0], 9.0)
    label = check_derivatives(opls, frame, [(0, 0), (3, 1), (8, 2), (4, 1)], 2e-3)
    assert label.forces.sum(0) == pytest.approx(0, abs=1e-3)
    check_derivatives(opls, row(opls, [0, 1]), [(0, 0), (5, 1), (7, 2)])


def test_torsion_of_methanol_is_the_formula(opls):
    species = opls.species[0]
    base = Frame(species.numbers, species.positions)
    turned = base.replace(positions=species.twisted(species.positions, (0, 1), 60.0))
    energies = [opls.label(each).energy for each in (base, turned)]

    def torsion(frame):  # sum over H-C-O-H of V3/2 (1 + cos 3 phi)
        atoms = frame.atoms()
        phi = np.deg2rad([atoms.get_dihedral(h, 0, 1, 5) for h in (2, 3, 4)])
        return 0.225 * EV_PER_KCAL_MOL * (1 + np.cos(3 * phi)).sum()

    def coulomb(frame):  # of atoms three bonds apart, halved; types 3 and 4 have no common Lennard-Jones energy
        d = np.linalg.norm(frame.positions[2:5] - frame.positions[5], axis=1)
        return 0.5 * 14.399645 * (0.04 * 0.418 / d).sum()

    wanted = torsion(turned) - torsion(base) + coulomb(turned) - coulomb(base)
    assert abs(wanted) > 0.02
    assert energies[1] - energies[0] == pytest.approx(wanted, abs=1e-5)


def test_other_atoms_and_orders_are_unsuited(opls):
    frame = row(opls, [0, 1])
    with pytest.raises(Unsuited, match=r"atoms O C O H H H .* of 9 .*wanted molecules one after another, each C O H H"):
        opls.label(frame.replace(numbers=np.array([8, 6, 8, 1, 1, 1, 1, 1, 1])))
    with pytest.raises(Unsuited, match="from atom 7 of 8 on"):
        opls.label(Frame(frame.numbers[:8], frame.positions[:8]))
    with pytest.raises(InputError, match="all directions periodic or none"):
        opls.label(frame.replace(cell=np.eye(3) * 9, pbc=np.array([True, True, False])))
    torn = frame.positions.copy()
    torn[0] = np.nan
    with pytest.raises(Unsuited, match="finite positions"):
        opls.label(frame.replace(positions=torn))


def test_species_of_equal_elements_are_told_apart_by_their_bonds(tmp_path):
    text = (LIQUID / "methanol.data").read_text()
    other = text.replace("5 3 2 6", "5 3 1 6").replace("7 3 1 2 6", "7 1 6 1 3").split("Dihedrals")[0]  # H on C
    a, b = (DataFile(each, "x") for each in (text, other.replace("3 dihedrals\n", "")))
    kinds = {"1": 6, "2": 8, "3": 1, "4": 1}
    species = [a.species(kinds)[0], b.species(kinds)[0]]
    near = species[1].positions.copy()
    near[5] = near[0] + [0.6, 0.6, 0.6]
    both = Frame(np.tile(species[0].numbers, 2), np.concatenate([species[0].positions, near + 6.0]))
    species[1].positions[5] = near[5]
    assert composed(both, species).kinds == (0, 1)


def include(folder, text, **files):
    """An include with a data file in a folder."""
    (folder / "field.in").write_text(text)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return {"data": folder / "atoms.data", "include": folder / "field.in"}


def atoms_data(masses, lines, edge=12.0):
    rows = [f"{k} {mass}" for k, mass in enumerate(masses, 1)]
    box = [f"0 {edge} {axis}lo {axis}hi" for axis in "xyz"]
    head = ["atoms", "", f"{len(lines)} atoms", f"{len(masses)} atom types", *box, "", "Masses", "", *rows]
    return "\n".join([*head, "", "Atoms", "", *lines]) + "\n"


def test_eam_in_metal_units_is_that_of_ase(tmp_path):
    (tmp_path / "potentials").mkdir()
    shutil.copy(POTENTIALS / "Al_zhou.eam.alloy", tmp_path / "potentials")
    keys = include(
        tmp_path,
        "variable data index atoms.data\nunits metal\natom_style atomic\nread_data ${data}\n"
        "pair_style eam/alloy\npair_coeff * * potentials/Al_zhou.eam.alloy Al\n",
        atoms_data=atoms_data([26.98], ["1 1 0 0 0"]),
    )
    teacher = teacher_of(**keys)
    assert {"include/potentials/Al_zhou.eam.alloy"} < set(teacher.config.files())
    atoms = bulk("Al", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EAM(potential=str(POTENTIALS / "Al_zhou.eam.alloy"))
    label = check_derivatives(teacher, Frame.from_atoms(atoms).replace(energy=None, forces=None), [(0, 0), (9, 2)])
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-3)
    assert label.forces == pytest.approx(atoms.get_forces(), abs=2e-3)
    free = teacher.label(Frame(atoms.numbers[:13], atoms.positions[:13]))
    assert free.stress is None and np.isfinite(free.forces).all()
    with pytest.raises(Unsuited, match=r"atoms of H; wanted those of the data file, Al"):
        teacher.label(Frame(np.array([13, 1]), np.eye(3)[:2]))
    frames = list(teacher.trajectory(Frame.from_atoms(atoms), 300.0, 0.01, 0.005, 2, 1))
    assert len(frames) == 2 and not np.allclose(frames[0].positions, frames[1].positions)
    teacher.close()


REAXFF = """variable data index atoms.data
variable precision index 1e-6
units real
atom_style charge
read_data ${data}
pair_style reaxff NULL safezone 3.0 mincap 150
pair_coeff * * ffield.reax.cho C H O
fix charges all qeq/reaxff 1 0.0 10.0 ${precision} reaxff
"""
CHO = atoms_data([12.011, 1.008, 15.999], ["1 1 0.1 0 0 0", "2 2 -0.2 3 0 0", "3 3 0 0 3 0", "4 1 0.1 3 3 0"])


def test_reaxff_with_charges_depends_on_the_frame_only(tmp_path):
    shutil.copy(POTENTIALS / "ffield.reax.cho", tmp_path)
    teacher = teacher_of(**include(tmp_path, REAXFF, atoms_data=CHO), variables={"precision": 1e-9})
    assert teacher.molecules == ()
    both = molecule("CH3OH") + Atoms("H2O", molecule("H2O").positions + np.array([0, 0, 3.5]))
    free = Frame(both.numbers, both.positions + 0.02 * np.sin(np.arange(27)).reshape(9, 3))
    box = free.replace(cell=np.diag([9.0, 8.5, 9.5]), pbc=np.ones(3, bool))
    for frame in (free, box):
        label = check_derivatives(
            teacher, frame, [(0, 0), (4, 1), (7, 2)], 5e-3
        )  # bond orders below a threshold are cut
        teacher.label(frame.replace(positions=frame.positions * 1.05))
        again = teacher.label(frame)
        assert again.energy == pytest.approx(label.energy, abs=1e-7)
        assert again.forces == pytest.approx(label.forces, abs=1e-5)
    assert -60 < teacher.label(free).energy < -20  # eV, atomisation of both is 37
    assert teacher.unfit(free) is None
    teacher.close()


COMB3_IN = """variable data index atoms.data
units metal
atom_style charge
read_data ${data}
pair_style comb3 polar_off
pair_coeff * * ffield.comb3 H C O Cu
fix charges all qeq/comb 1 1e-4
"""


def test_comb3_by_an_include_is_the_teacher_comb3(tmp_path):
    for name in ("ffield.comb3", "lib.comb3"):
        shutil.copy(POTENTIALS / name, tmp_path)
    data = atoms_data([1.008, 12.011, 15.999, 63.546], [f"{k} {k} 0 {3 * k} 0 0" for k in (1, 2, 3, 4)])
    teachers = [teacher_of(**include(tmp_path, COMB3_IN, atoms_data=data)), COMB3(COMB3Config(name="comb3"))]
    found, wanted = (teacher.label(formate_on_copper()) for teacher in teachers)
    assert found.energy == pytest.approx(wanted.energy, abs=1e-8)
    assert found.forces == pytest.approx(wanted.forces, abs=1e-8)
    assert found.stress == pytest.approx(wanted.stress, abs=1e-9)
    for teacher in teachers:
        teacher.close()


def test_coefficients_and_type_labels_in_the_data_file(opls, tmp_path):
    """As moltemplate and LAMMPS' write_data have them."""
    names = {"1": "CT", "2": "OH", "3": "HC", "4": "HO", "5": "OW", "6": "HW"}
    commands, sections = [], {"bond": [], "angle": [], "dihedral": []}
    for line in OPLS["include"].read_text().splitlines():
        word, _, rest = line.split("#")[0].partition("_coeff ")
        (sections[word] if word in sections and rest else commands).append(rest if word in sections and rest else line)
    head, body = OPLS["data"].read_text().split("Atoms # full\n")
    atoms, bonds = body.split("Bonds\n")
    rows = [line.split() for line in atoms.strip().splitlines()]
    atoms = "\n".join(" ".join([*row[:2], names[row[2]], *row[3:]]) for row in rows)
    labels = "\n".join(f"{number} {name}" for number, name in names.items())
    coefficients = "".join(f"{key.title()} Coeffs\n\n" + "\n".join(rows) + "\n\n" for key, rows in sections.items())
    head = head.replace("Masses", f"Atom Type Labels\n\n{labels}\n\nMasses")
    (tmp_path / "labels.data").write_text(f"{head}{coefficients}Atoms # full\n\n{atoms}\n\nBonds\n{bonds}")
    (tmp_path / "labels.in").write_text("\n".join(commands) + "\n")
    teacher = teacher_of(**{**OPLS, "data": tmp_path / "labels.data", "include": tmp_path / "labels.in"})
    frame = row(teacher, [1, 0], 8.0)
    found, wanted = (each.label(frame) for each in (teacher, opls))
    assert found.energy == pytest.approx(wanted.energy, abs=1e-10)
    teacher.close()


HYDROGEN = """two atoms

2 atoms
1 bonds

0 9 xlo xhi
0 9 ylo yhi
0 9 zlo zhi

Atoms # full

1 1 1 0.0 1.0 1.0 1.0
2 1 1 0.0 1.0 1.0 1.74

Bonds

1 1 1 2
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2 atoms", "3 atoms", "x with 2 lines in Atoms; wanted 3, as its head says"),
        ("1 1 1 2\n", "", "x with 0 lines in Bonds; wanted 1, as its head says"),
        ("1 1 1 2\n", "1 1 1\n", "x with the line `1 1 1` in Bonds; wanted id, type and 2 atoms"),
        ("1.74", "nan", "lines of Atoms that are not"),
        ("1.74", "1.7x", "lines of Atoms that are not"),
        ("0 9 zlo", "0 nine zlo", "x without a box"),
    ],
)
def test_damaged_data_files_are_refused(old, new, words):
    whole = DataFile(HYDROGEN, "x")
    assert len(whole.species({"1": 1})) == 1
    with pytest.raises(InputError, match=re.escape(words)):
        DataFile(HYDROGEN.replace(old, new), "x").species({"1": 1})


def test_other_sections_are_refused(tmp_path):
    (tmp_path / "cmap.data").write_text(OPLS["data"].read_text() + "\nCMAP\n\n1 1 1 2 3 4 5\n")
    with pytest.raises(InputError, match="a data file with the section CMAP"):
        teacher_of(**{**OPLS, "data": tmp_path / "cmap.data"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("units real", "units lj"), r"in units lj; wanted units metal or real"),
        (("read_data ${data}", "read_data opls.data"), r"without `read_data \$\{data\}`"),
        (("kspace_style", "fix s all shake 1e-4 20 0 b 3\nkspace_style"), "fix shake; wanted flexible molecules"),
        (("pair_coeff 1 1", "pair_coef 1 1"), r"LAMMPS: Unknown command: pair_coef 1 1.*correct them"),
        (("dihedral_coeff 1", "# "), r"LAMMPS: .*[Dd]ihedral"),
    ],
)
def test_an_include_that_is_none_is_refused(tmp_path, change, words):
    shutil.copy(OPLS["data"], tmp_path)
    (tmp_path / "opls.in").write_text(OPLS["include"].read_text().replace(*change))
    with pytest.raises(InputError, match=words):
        teacher_of(data=tmp_path / "mixture.data", include=tmp_path / "opls.in")


def test_an_include_that_moves_atoms_is_refused(tmp_path):
    (tmp_path / "opls.in").write_text(OPLS["include"].read_text() + "displace_atoms all move 0.0 0.0 0.1 units box\n")
    teacher = teacher_of(data=OPLS["data"], include=tmp_path / "opls.in")
    with pytest.raises(InputError, match="which moves atoms; wanted a force field; leave out run, minimize"):
        teacher.label(row(teacher, [0, 1], 9.0))
    teacher.close()


def test_unknown_variables_and_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"teacher\.variables\.acuracy \(did you mean 'accuracy'\?\)"):
        teacher_of(**{**OPLS, "variables": {"acuracy": 1}})
    with pytest.raises(InputError, match=r"no file .*none\.data"):
        teacher_of(**{**OPLS, "data": tmp_path / "none.data"})


def test_elements_by_masses_or_given(tmp_path):
    assert [element(mass, "1") for mass in (1.0, 12.011, 15.9994, 58.933)] == [1, 6, 8, 27]
    for mass in (15.035, 2.014, 40.03):
        with pytest.raises(InputError, match=rf"a mass of {mass} g/mol of atom type 7; .*give teacher\.elements"):
            element(mass, "7")
    (tmp_path / "united.data").write_text(OPLS["data"].read_text().replace("1 12.011", "1 15.035"))
    keys = {**OPLS, "data": tmp_path / "united.data"}
    with pytest.raises(InputError, match=r"15\.035 g/mol of atom type 1"):
        teacher_of(**keys)
    teacher = teacher_of(**keys, elements=["C", "O", "H", "H", "O", "H"])
    assert teacher.species[0].numbers.tolist() == [6, 8, 1, 1, 1, 1]
    teacher.close()
    with pytest.raises(InputError, match="got 2 elements for 6 atom types"):
        teacher_of(**keys, elements=["C", "O"])


def test_two_types_of_an_element_without_bonds_are_refused(tmp_path):
    text = "variable data index atoms.data\nunits metal\natom_style atomic\nread_data ${data}\npair_style zero 5.0\n"
    data = atoms_data([63.546, 63.546], ["1 1 0 0 0", "2 2 3 0 0"])
    with pytest.raises(InputError, match="several types of one element"):
        teacher_of(**include(tmp_path, text + "pair_coeff * *\n", atoms_data=data))
