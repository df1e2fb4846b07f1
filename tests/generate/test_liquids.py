"""Systems of molecular liquids: methanol, and methanol with water, by the teacher lammps; molecules by SMILES."""

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest

from tlmd.frames.frame import Frame, distances
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.composition import Composition, Limits, composed, contact_range, nearest_contact
from tlmd.generate.config import GenerateConfig
from tlmd.generate.liquid import of_smiles
from tlmd.generate.registry import SYSTEMS, config_of
from tlmd.generate.species import angle_deg, lengthened, opened
from tlmd.generate.systems.clusters import contacts
from tlmd.generate.teachers.lammps import Lammps, LammpsFilesConfig
from tlmd.run.errors import InputError
from tlmd.units import density_g_cm3

LIQUID = Path(__file__).parents[1] / "data" / "liquid"
TEACHER = {"name": "lammps", "include": LIQUID / "opls.in", "sampling": {"cutoff": 5.0, "accuracy": 1e-3}}
SHORT = {"equilibrate_ps": 0.02, "spacing_ps": 0.01, "molecules": 9, "density_g_cm3": (0.7, 0.9), "frames_per_item": 3}
BOXES = ("bulk", "interface", "rattled", "strained", "stretched", "turned")
FREE = ("cluster", "contact", "dimer", "monomer")
LIQUIDS = sorted(kind for kind in SYSTEMS if config_of(SYSTEMS[kind]).matter == "liquid")
each_liquid = pytest.mark.parametrize("kind", LIQUIDS)


@pytest.fixture(scope="module", params=["methanol", "mixture"])
def teacher(request):
    teacher = Lammps(LammpsFilesConfig(**TEACHER, data=LIQUID / f"{request.param}.data"))
    yield teacher
    teacher.close()


def keys_of(kind, **more):
    fields = config_of(SYSTEMS[kind]).model_fields
    keys = {**SHORT, "molecules": (2, 4) if kind == "cluster" else 9, **more}
    return {"kind": kind, **{key: value for key, value in keys.items() if key in fields}}


def sample(kind, teacher, frames=5, **more):
    system = SYSTEMS[kind](config_of(SYSTEMS[kind]).model_validate(keys_of(kind, frames=frames, **more)))
    items = range(system.items)
    return [made for item in items for made in system.sample(item, np.random.default_rng([1, item]), teacher)]


def species_of(teacher):
    return [species for species, _ in teacher.molecules]


def test_all_kinds_of_liquids_are_tried_here():
    assert LIQUIDS == sorted(BOXES + FREE)


@each_liquid
def test_frames_are_whole_molecules_apart_from_each_other_with_labels(kind, teacher):
    frames = sample(kind, teacher)
    assert len(frames) == 5 and all(isinstance(frame, Frame) for frame in frames)
    for frame in frames:
        found = composed(frame, species_of(teacher))
        assert frame.info["molecules"] == found.name
        assert frame.pbc.all() == (kind in BOXES)
        for species, mine in ((found.species_of(m), found.atoms_of(m)) for m in range(len(found))):
            bonds = frame.positions[mine][species.bonds]  # without images
            assert np.linalg.norm(bonds[:, 0] - bonds[:, 1], axis=-1).max() < 2.5
        assert nearest_contact(frame, found) > 1.0
        label = teacher.label(frame)
        assert np.isfinite(label.energy) and np.isfinite(label.forces).all()
        assert (label.stress is not None) == (kind in BOXES)
        if kind in (*BOXES, "cluster"):
            assert 150 <= frame.info["temperature_K"] <= 700
        if kind in BOXES:
            density = density_g_cm3(found.mass, np.linalg.det(frame.cell))
            assert frame.info["density_g_cm3"] == pytest.approx(density, rel=1e-6)


def test_a_box_holds_the_molecules_in_the_numbers_of_the_data_file(teacher):
    (frame,) = sample("bulk", teacher, 1)
    both = {"CH4O:6 H2O:3": 2, "CH4O:9": 1}
    assert both[frame.info["molecules"]] == len(teacher.molecules)
    if len(teacher.molecules) == 2:
        (frame,) = sample("bulk", teacher, 1, composition=[1, 8])
        assert frame.info["molecules"] == "CH4O:1 H2O:8"
    with pytest.raises(InputError, match="composition of 3 numbers for CH4O"):
        sample("bulk", teacher, 1, composition=[1, 1, 1])


def test_contacts_of_every_pair_of_atoms_are_scanned(teacher):
    species = species_of(teacher)
    cases = contacts(species)
    assert len(cases) == {1: 10, 2: 10 + 8 + 3}[len(species)]  # sorts C, O, H of methyl and of hydroxyl; O, H of water
    count = 3 * len(cases)
    frames = sample("contact", teacher, count, frames_per_item=count)
    short = 0
    for number, frame in enumerate(frames):
        if not isinstance(frame, Frame):
            continue
        kinds, pair = cases[number % len(cases)]
        one, two = (species[kind] for kind in kinds)
        low, high = contact_range(*pair)
        apart = np.linalg.norm(frame.positions[: len(one), None] - frame.positions[None, len(one) :], axis=-1)
        wanted = low + (high - low) * (number + 0.5) / count
        assert np.abs(apart[np.ix_(one.sorts == pair[0], two.sorts == pair[1])] - wanted).min() < 1e-6
        for a, b in combinations_with_replacement(sorted({*one.sorts, *two.sorts}), 2):
            for x, y in {(a, b), (b, a)}:
                near = apart[np.ix_(one.sorts == x, two.sorts == y)].min(initial=np.inf)
                assert near >= (wanted if {a, b} == set(pair) else contact_range(a, b)[0]) - 1e-6
        short += 1
    assert short > 0.8 * count


def test_dimers_have_the_distance_of_their_nearest_heavy_atoms(teacher):
    frames = sample("dimer", teacher, 6, distance_A=(2.6, 5.6), frames_per_item=6)
    for number, frame in enumerate(frames):
        found = composed(frame, species_of(teacher))
        heavy = found.numbers != 1
        other = found.molecule[:, None] != found.molecule
        apart = distances(frame)[other & heavy[:, None] & heavy].min()
        assert apart == pytest.approx(2.6 + 3.0 * (number + 0.5) / 6, abs=1e-6)


def test_turned_molecules_keep_their_shape_and_their_distance(teacher):
    plain, turned = (sample(kind, teacher, 2, **more) for kind, more in (("bulk", {}), ("turned", {"fraction": 1.0})))
    for a, b in zip(plain, turned, strict=True):
        found = composed(b, species_of(teacher))
        moved = 0
        for m in range(len(found)):
            mine = found.atoms_of(m)
            inner = [np.linalg.norm(x[mine, None] - x[mine], axis=-1) for x in (a.positions, b.positions)]
            np.testing.assert_allclose(*inner, atol=1e-9)
            moved += np.abs(a.positions[mine] - b.positions[mine]).max() > 0.01
        assert moved > len(found) / 2
        limits = Limits(found.species, {(1, 1): 0.7, (1, 8): 1.3}, 0.1)
        for m in np.flatnonzero(
            [np.abs((a.positions - b.positions)[found.atoms_of(m)]).max() > 0.01 for m in range(9)]
        ):
            mine, others = found.atoms_of(m), found.molecule != m
            places = b.positions[others]
            ratio = limits.clearance(found.sorts[mine], b.positions[None, mine], found.sorts[others], places, b.cell)
            assert ratio[0] > 0.9  # a molecule turned later keeps away from it


def test_strained_molecules_keep_their_shape(teacher):
    for a, b in zip(sample("bulk", teacher, 2), sample("strained", teacher, 2), strict=True):
        found = composed(b, species_of(teacher))
        assert not np.allclose(a.cell, b.cell, atol=1e-3)
        mine = found.atoms_of(3)
        inner = [np.linalg.norm(x[mine, None] - x[mine], axis=-1) for x in (a.positions, b.positions)]
        np.testing.assert_allclose(*inner, atol=1e-9)


def test_interfaces_have_layers_and_vacuum(teacher):
    (frame,) = sample("interface", teacher, 1, vacuum_A=(15.0, 15.0), equilibrate_ps=0.001, spacing_ps=0.001)
    found = composed(frame, species_of(teacher))
    z = found.centres(frame.positions)[:, 2]
    assert frame.info["vacuum_A"] == 15.0
    assert z.max() - z.min() < frame.cell[2, 2] - 12.0
    if len(teacher.molecules) == 2:
        kinds = np.array(found.kinds)
        assert z[kinds == 0].max() < z[kinds == 1].min() + 2.0 and z[kinds == 0].mean() < z[kinds == 1].mean() - 1.5


def test_a_run_of_all_kinds(tmp_path):
    systems = {kind: {**keys_of(kind), "frames": 2} for kind in LIQUIDS}
    given = {**TEACHER, "data": LIQUID / "mixture.data", "variables": {"accuracy": 1e-6}}
    config = GenerateConfig(teacher=given, systems=systems, max_force=60.0)
    frames = read_frames(driver.generate(config, tmp_path / "run"), max_force=60.0)
    assert {frame.info["kind"] for frame in frames} == set(LIQUIDS) and len(frames) >= 18
    assert "evaluated again from the file, agree" in (tmp_path / "run" / "log.txt").read_text()


# Molecules as graphs


def test_parts_of_a_molecule_move_by_the_bonds():
    ethanol = of_smiles("CCO")
    assert ethanol.name == "C2H6O" and len(ethanol.tree) == 8
    assert ethanol.turnable == [(0, 1), (1, 2)]
    assert ethanol.sorts.tolist() == [6, 6, 8, 0, 0, 0, 0, 0, 1]
    x = ethanol.positions
    longer = ethanol.stretched(x, (1, 2), 1.9)
    assert np.linalg.norm(longer[2] - longer[1]) == pytest.approx(1.9)
    assert np.abs(longer - x).max(axis=1).astype(bool).tolist() == [False, False, True, *[False] * 5, True]
    wider = ethanol.bent(x, (0, 1, 2), 12.0)
    angle = [angle_deg(y[0] - y[1], y[2] - y[1]) for y in (x, wider)]
    assert angle[1] - angle[0] == pytest.approx(12.0)
    assert np.linalg.norm(wider[2] - wider[8]) == pytest.approx(np.linalg.norm(x[2] - x[8]))
    for seed in range(5):
        shape = ethanol.shape(np.random.default_rng(seed))
        assert ethanol.centre(shape) == pytest.approx(0, abs=1e-9)
        lengths = [np.linalg.norm(y[ethanol.bonds[:, 0]] - y[ethanol.bonds[:, 1]], axis=1) for y in (x, shape)]
        np.testing.assert_allclose(*lengths, atol=1e-9)


def test_rings_and_double_bonds_do_not_move():
    benzene, ethene, acid = (of_smiles(each) for each in ("c1ccccc1", "C=C", "CC(=O)O"))
    assert benzene.turnable == ethene.turnable == acid.turnable == []
    assert len(benzene.movable[0]) == 6 and len(ethene.movable[0]) == 5
    rng = np.random.default_rng(1)
    ring = lengthened(benzene, benzene.positions, (1.2, 1.3), 3, rng)
    np.testing.assert_allclose(ring[:6], benzene.positions[:6])
    assert not np.allclose(opened(benzene, ring, (5.0, 9.0), 3, rng), ring)


def test_straight_angles_can_be_bent():
    acetylene = of_smiles("C#C")
    bent = acetylene.bent(acetylene.positions, (2, 0, 1), -20.0)
    assert angle_deg(bent[2] - bent[0], bent[1] - bent[0]) == pytest.approx(160.0, abs=0.5)


def test_molecules_across_a_box_are_made_whole():
    ethanol = of_smiles("CCO")
    row = Composition([ethanol], [0, 0, 0])
    places = np.concatenate([ethanol.positions + place for place in ([0, 0, 0], [7.9, 3, 3], [4, 7.8, 7.7])])
    cell = np.array([[8.0, 0, 0], [0.5, 8, 0], [0.2, -0.4, 8]])
    broken = places - np.floor(places @ np.linalg.inv(cell)) @ cell
    mended = row.whole(broken, cell)
    assert np.abs(mended - broken).max() > 1.0
    steps = (mended - broken) @ np.linalg.inv(cell)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    for m in range(3):
        x = mended[row.atoms_of(m)]
        np.testing.assert_allclose(x - x[0], ethanol.positions - ethanol.positions[0], atol=1e-9)


def test_molecules_by_smiles_for_a_teacher_of_any_atoms(tmp_path):
    pytest.importorskip("tblite")
    systems = {"pairs": {"kind": "contact", "smiles": ["CO", "O"], "frames": 6}}
    systems["cluster"] = {**keys_of("cluster"), "smiles": ["CO"], "frames": 2, "frames_per_item": 2}
    config = GenerateConfig(teacher={"name": "xtb"}, systems=systems, force_tolerance=1e-3, energy_tolerance=1e-4)
    frames = read_frames(driver.generate(config, tmp_path / "run"))
    assert len(frames) >= 7 and frames[-1].info["molecules"] == "CH4O:2"


def test_a_teacher_without_molecules_wants_smiles():
    with pytest.raises(ValueError, match="smiles of liquid: the teacher xtb brings no molecules of its own"):
        GenerateConfig(teacher={"name": "xtb"}, systems={"liquid": {"kind": "bulk", "frames": 1}})
    with pytest.raises(ValueError, match="as many numbers in composition as smiles"):
        config_of(SYSTEMS["bulk"]).model_validate({"kind": "bulk", "frames": 1, "smiles": ["O"], "composition": [1, 2]})


def test_keys_of_water_are_for_water(teacher):
    with pytest.raises(InputError, match="bond_A or angle_deg for CH4O; wanted stretch and bend_deg"):
        sample("monomer", teacher, 1, bond_A=(0.8, 1.2))
