"""Frames: round trips, keys, refused sets, distances, and the committed water split."""

from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tlmd.frames.checks import BOHR_A, check_frames, minimum_rms_distance, rms_distances
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_HARTREE, EV_PER_KCAL_MOL

WATER = Path(__file__).parents[2] / "inputs" / "water"
CELL = np.array([[10.0, 0, 0], [1.0, 9.0, 0], [0.5, -0.3, 8.0]])


def frame(seed: int = 0, **changes) -> Frame:
    rng = np.random.default_rng(seed)
    stress = rng.normal(size=(3, 3)) * 1e-3
    values = {
        "numbers": np.array([8, 1, 1]),
        "positions": rng.uniform(0, 8, (3, 3)),
        "cell": CELL,
        "pbc": np.array([True, True, False]),
        "energy": -470.0 + rng.normal(),
        "forces": rng.choice([-1, 1], (3, 3)) * rng.uniform(0.8, 1.2, (3, 3)),
        "stress": stress + stress.T,
        "info": {"kind": "bulk", "source": "a file 3", "temperature_K": 300.0},
    }
    return Frame(**(values | changes))


def same(a: Frame, b: Frame, tolerance: float = 1e-8) -> None:
    for name in ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress"):
        x, y = getattr(a, name), getattr(b, name)
        if x is None:
            assert y is None, name
        else:
            np.testing.assert_allclose(np.asarray(x, float), np.asarray(y, float), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_round_trip(tmp_path, suffix):
    frames = [frame(0), frame(1, forces=None), frame(2, stress=None, energy=None), frame(3, cell=np.zeros((3, 3)))]
    frames[3] = frames[3].replace(pbc=np.zeros(3, bool))
    path = tmp_path / f"set.extxyz{suffix}"
    write_frames(path, frames)
    again = read_frames(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert len(again) == 4
    for a, b in zip(frames, again, strict=True):
        same(a, b)
        assert b.info == a.info


@pytest.mark.parametrize("text", ["O/C=C\\C=O", "a=b", "end\\", "\\\\two words", "{}"])
def test_text_of_info_is_read_as_it_was(tmp_path, text):
    write_frames(tmp_path / "one.extxyz", [frame(0).replace(info={"text": text, "more": 2})])
    assert read_frames(tmp_path / "one.extxyz")[0].info == {"text": text, "more": 2}
    assert ase.io.read(tmp_path / "one.extxyz").info["text"] == text


def test_agrees_with_ase_both_ways(tmp_path):
    ours, theirs = frame(5, pbc=np.ones(3, bool)), tmp_path / "ase.extxyz"
    ase.io.write(theirs, ours.atoms())
    same(ours, read_frames(theirs)[0])
    write_frames(tmp_path / "ours.extxyz", [ours])
    atoms = ase.io.read(tmp_path / "ours.extxyz")
    same(ours, Frame.from_atoms(atoms))
    np.testing.assert_allclose(atoms.get_stress(voigt=False), ours.stress, atol=1e-10)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "set.extxyz"
    write_frames(path, [frame(0)])

    def broken():
        yield frame(1)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_frames(path, broken())
    same(read_frames(path)[0], frame(0))
    assert [p.name for p in tmp_path.iterdir()] == ["set.extxyz"]


def test_names_of_labels(tmp_path):
    path = tmp_path / "set.extxyz"
    text = '3\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:{0}:R:3 {1}=-1.5 virial="1 2 3 2 4 5 3 5 6"\n'
    atoms = "O 0 0 0 .1 .2 .3\nH 1 0 0 .4 .5 .6\nH 0 1 0 .7 .8 .9\n"
    for forces, energy in (("REF_forces", "REF_energy"), ("force", "free_energy"), ("forces", "dft_energy")):
        path.write_text(text.format(forces, energy) + atoms)
        read = read_frames(path)[0]
        assert read.energy == -1.5 and read.forces[2, 2] == 0.9 and read.pbc.all() and read.info == {}
        np.testing.assert_allclose(read.stress, -np.array([[1, 2, 3], [2, 4, 5], [3, 5, 6]]) / 64)
    path.write_text(text.format("pbe_forces", "pbe_energy") + atoms)
    assert read_frames(path)[0].energy is None
    assert read_frames(path, keys={"energy": "pbe_energy", "forces": ["pbe_forces"]})[0].forces[0, 1] == 0.2
    with pytest.raises(InputError, match=r"no energy under the key dft1"):
        read_frames(path, keys={"energy": "dft1"})
    with pytest.raises(InputError, match=r"keys for dipole"):
        read_frames(path, keys={"dipole": "mu"})


def test_ase_database(tmp_path):
    path = tmp_path / "set.db"
    atoms = Atoms("OH2", [[0, 0, 0], [0.9, 0, 0], [0, 0.9, 0]])
    with ase.db.connect(path) as database:
        atoms.calc = SinglePointCalculator(atoms, energy=-2.0, forces=np.full((3, 3), 0.5))
        database.write(atoms)
        atoms.calc = None
        atoms.positions[0] += 0.1
        database.write(atoms, data={"energy": np.array([-3.0]), "forces": np.ones((3, 3))})
    first, second = read_frames(path)
    assert (first.energy, second.energy) == (-2.0, -3.0)
    assert first.forces[0, 0] == 0.5 and second.forces[0, 0] == 1.0


def test_bad_files(tmp_path):
    path = tmp_path / "set.extxyz"
    with pytest.raises(InputError, match="no file"):
        read_frames(path)
    path.write_text("\n")
    with pytest.raises(InputError, match=r"no frames in .*set.extxyz"):
        read_frames(path)
    write_frames(path, [frame(0), frame(1)])
    whole = path.read_text()
    path.write_text(whole[: whole.rindex("H ")])
    with pytest.raises(InputError, match=r"set.extxyz, frame 1: 2 of 3 atoms"):
        read_frames(path)
    path.write_text(whole.replace("O ", "Xq ", 1))
    with pytest.raises(InputError, match=r"frame 0: .*Xq"):
        read_frames(path)
    packed = tmp_path / "set.extxyz.xz"
    write_frames(packed, [frame(i) for i in range(50)])
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(InputError, match="a complete extxyz file"):
        read_frames(packed)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"forces": np.full((3, 3), 101.0)}, r"frame 2: a force of 101 eV/A; wanted at most max_force = 100"),
        ({"forces": np.full((3, 3), np.nan)}, r"frame 2: forces with nan or inf"),
        ({"energy": np.inf}, r"frame 2: energy inf"),
        ({"positions": np.full((3, 3), np.nan)}, r"frame 2: positions with nan"),
        ({"stress": np.eye(3) * 50}, r"frame 2: a stress of 50 eV/A\^3"),
        ({"cell": np.zeros((3, 3)), "pbc": np.ones(3, bool)}, r"frame 2: pbc without a cell"),
        ({"positions": frame(1).positions}, r"frame 2: a duplicate of frame 1"),
        ({"energy": -470.0 / EV_PER_HARTREE}, r"frame 2: mixed units.*factor 27\.\d+.*hartree"),
        ({"energy": -470.0 / EV_PER_KCAL_MOL}, r"frame 2: mixed units.*factor 23\.\d+.*kcal/mol"),
        ({"forces": frame(2).forces / EV_PER_KCAL_MOL}, r"frame 2: mixed units, its rms force.*kcal/mol"),
        ({"forces": frame(2).forces * BOHR_A / EV_PER_HARTREE}, r"frame 2: mixed units, its rms force.*hartree/bohr"),
    ],
)
def test_refused_sets(tmp_path, bad, words):
    path = tmp_path / "set.extxyz"
    frames = [frame(i) for i in range(4)]
    check_frames(frames)
    frames[2] = frame(2, **bad)
    write_frames(path, frames)
    with pytest.raises(InputError, match=r"set\.extxyz, " + words):
        read_frames(path)
    assert len(read_frames(path, check=False)) == 4


def test_half_the_set_in_other_units():
    frames = [frame(i) for i in range(10)]
    frames[5:] = [f.replace(energy=f.energy / EV_PER_HARTREE) for f in frames[5:]]
    with pytest.raises(InputError, match="mixed units"):
        check_frames(frames)


def test_max_force_is_adjustable(tmp_path):
    write_frames(tmp_path / "a.extxyz", [frame(0, forces=np.full((3, 3), 150.0))])
    assert len(read_frames(tmp_path / "a.extxyz", max_force=200)) == 1


def test_rms_distance_is_minimum_image():
    a = frame(0, pbc=np.ones(3, bool))
    rng = np.random.default_rng(9)
    move = rng.normal(scale=0.05, size=(3, 3))
    images = rng.integers(-2, 3, (3, 3)) @ CELL
    b = a.replace(positions=a.positions + move + images)
    truth = np.sqrt((move**2).sum(1).mean())
    assert minimum_rms_distance([a], [frame(1, pbc=a.pbc), b]) == pytest.approx(truth, abs=1e-12)
    scaled = a.replace(cell=a.cell * 1.1, positions=a.positions * 1.1)
    assert minimum_rms_distance([a], [scaled]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="no two frames of the same atoms"):
        minimum_rms_distance([a], [a.replace(numbers=np.array([8, 8, 1]))])


def test_committed_split_of_water():
    parts = {name: read_frames(WATER / f"{name}.extxyz.xz") for name in ("train", "valid", "test")}
    assert len(parts["train"]) >= 100 and len(parts["test"]) >= 100
    for part in parts.values():
        assert {f.info["set"] for f in part[:2]} == {"classical", "pimd"}
        assert all(len(f) == 192 and f.forces is not None for f in part)
    for a, b in (("train", "test"), ("train", "valid"), ("valid", "test")):
        distances = rms_distances(parts[a], parts[b])
        assert np.isfinite(distances).all()
        assert distances.min() >= 0.99
    assert sum((WATER / f"{name}.extxyz.xz").stat().st_size for name in parts) < 2e6
