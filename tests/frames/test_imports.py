"""ASE trajectories, folders of deepmd-kit, JSON of pymatgen; files of CP2K 2023.1 (tests/data/cp2k, by its input)."""

import builtins
import json
import lzma
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tlmd.frames.frame import Frame, minimum_image
from tlmd.frames.imports.formats import files_of
from tlmd.frames.read import read_frames
from tlmd.frames.split import read_sets
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.train.config import FinetuneConfig
from tlmd.units import BAR_PER_EV_A3

CP2K = Path(__file__).parents[1] / "data" / "cp2k"


def frames(n: int = 3) -> list[Frame]:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(n):
        sites = np.array([[0.0, 0, 0], [0.9, 0.3, 0], [-0.3, 0.9, 0.1]]) + rng.normal(0, 0.05, (3, 3))
        stress = rng.normal(0, 0.01, (3, 3))
        labels = (-3.0 + rng.normal(), rng.normal(0, 1, (3, 3)), stress + stress.T)
        cell = np.array([[5.0, 0, 0], [0.4, 5.2, 0], [0, 0.3, 4.8]])
        found.append(Frame(np.array([8, 1, 1]), sites, cell, np.ones(3, bool), *labels))
    return found


def same(read, written, **tolerance) -> None:
    assert len(read) == len(written) > 0
    for ours, theirs in zip(read, written, strict=True):
        assert list(ours.numbers) == list(theirs.numbers) and list(ours.pbc) == list(theirs.pbc)
        moved = minimum_image(ours.positions - theirs.positions, theirs.cell)  # pymatgen's trajectories are wrapped
        np.testing.assert_allclose(moved, 0, atol=max(1e-9, tolerance.get("atol", 0)))
        for name in ("cell", "energy", "forces", "stress"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), **{"atol": 1e-9, **tolerance})


def test_ase_trajectory(tmp_path):
    """Of a calculator with two energies the free one is taken, and said."""
    written = frames()
    images = [frame.atoms() for frame in written]
    ase.io.write(tmp_path / "run.traj", images)
    shutil.copy(tmp_path / "run.traj", tmp_path / "renamed.xyz")
    for name in ("run.traj", "renamed.xyz"):
        same(read_frames(tmp_path / name), written)
        assert read_frames(tmp_path / name).notes == ()
    for atoms in images:
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.3
    ase.io.write(tmp_path / "smeared.traj", images)
    read = read_frames(tmp_path / "smeared.traj")
    assert read[0].energy == pytest.approx(written[0].energy - 0.3)
    assert len(read.notes) == 1 and "the free energy" in read.notes[0] and "100 meV/atom" in read.notes[0]
    whole = (tmp_path / "run.traj").read_bytes()
    (tmp_path / "run.traj").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"run\.traj, an ASE trajectory: .*; wanted a whole file"):
        read_frames(tmp_path / "run.traj")


def test_labels_that_are_missing_are_said(tmp_path):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], cell=[5, 5, 5], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0)
    ase.io.write(tmp_path / "run.traj", [atoms])
    assert read_frames(tmp_path / "run.traj").notes == (
        f"{tmp_path / 'run.traj'} (an ASE trajectory): no forces, no stress",
    )


def deepmd(folder: Path, written: list[Frame], sets=(2, 1)) -> None:
    """As dpdata's to_deepmd_npy writes it; its virial is compressed-positive pressure times volume, eV."""
    folder.mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    start = 0
    for k, count in enumerate(sets):
        part, start = written[start : start + count], start + count
        place = folder / f"set.{k:03d}"
        place.mkdir()
        np.save(place / "coord.npy", np.array([frame.positions.ravel() for frame in part]))
        np.save(place / "box.npy", np.array([frame.cell.ravel() for frame in part]))
        np.save(place / "energy.npy", np.array([frame.energy for frame in part]))
        np.save(place / "force.npy", np.array([frame.forces.ravel() for frame in part]).astype(np.float32))
        virial = [-frame.stress.ravel() * np.linalg.det(frame.cell) for frame in part]
        np.save(place / "virial.npy", np.array(virial))


def test_deepmd_folder(tmp_path):
    written = frames()
    deepmd(tmp_path / "data" / "water", written)
    for path in ("data", "data/water", "data/water/type.raw"):
        same(read_frames(tmp_path / path), written, rtol=1e-6)
    assert read_frames(tmp_path / "data")[2].info == {"source": "water/set.001"}
    assert len(files_of(tmp_path / "data")) == 12
    (tmp_path / "data/water/set.001/virial.npy").unlink()
    assert read_frames(tmp_path / "data").notes[0].endswith("(a folder of deepmd-kit): no stress in 1 of 3 frames")


def test_deepmd_folder_that_is_not_whole(tmp_path):
    deepmd(tmp_path / "a", frames())
    np.save(tmp_path / "a/set.000/energy.npy", np.zeros(1))
    with pytest.raises(InputError, match=r"energy\.npy of 1 frames; wanted 2, as in coord"):
        read_frames(tmp_path / "a")
    whole = (tmp_path / "a/set.000/coord.npy").read_bytes()
    (tmp_path / "a/set.000/coord.npy").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"coord\.npy: .*wanted 9 numbers for each frame"):
        read_frames(tmp_path / "a")
    (tmp_path / "a/type_map.raw").unlink()
    with pytest.raises(InputError, match=r"without type_map\.raw; wanted the elements of the types"):
        read_frames(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="a folder without type.raw"):
        read_frames(tmp_path / "b")


def test_a_run_records_every_file_of_a_folder(tmp_path):
    deepmd(tmp_path / "data", frames())
    (tmp_path / "f.toml").write_text(
        '[data]\ntrain = "data"\n[transfer]\nstart_from = "water-spcfw-f64"\n[training]\nmax_steps = 1\n'
    )
    config = load_config(FinetuneConfig, tmp_path / "f.toml")
    files = config.input_files()
    assert files["data.train.data/set.000/coord.npy"].is_file() and "data.train" not in files
    (tmp_path / "data/set.001/force.npy").unlink()
    assert any("no forces in 1 of 3 frames" in note for note in read_sets(config.data, None, "first", 1).notes)


def test_pymatgen(tmp_path):
    """Structures with properties, and a trajectory, whose stress is VASP's."""
    pytest.importorskip("pymatgen.core")
    from monty.serialization import dumpfn
    from pymatgen.core import Structure
    from pymatgen.core.trajectory import Trajectory

    written, structures = frames(), []
    for frame in written:
        structure = Structure(frame.cell, ["O", "H", "H"], frame.positions, coords_are_cartesian=True)
        structure.add_site_property("forces", frame.forces.tolist())
        stress = (-frame.stress * BAR_PER_EV_A3 / 1e3).tolist()  # kbar
        structure.properties = {"energy": frame.energy, "stress": stress}
        structures.append(structure)
    dumpfn(structures, tmp_path / "list.json")
    properties = [structure.properties for structure in structures]
    trajectory = Trajectory.from_structures(structures, constant_lattice=False, frame_properties=properties)
    dumpfn(trajectory, tmp_path / "trajectory.json")
    (tmp_path / "one.json").write_text(json.dumps(structures[0].as_dict()))
    for name, expected in (("list", written), ("trajectory", written), ("one", written[:1])):
        read = read_frames(tmp_path / f"{name}.json")
        same(read, expected, atol=1e-7)
        assert "kbar with VASP's sign" in read.notes[0]
    text = (tmp_path / "list.json").read_text()
    (tmp_path / "list.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"list\.json, a JSON file of pymatgen: .*wanted a whole file"):
        read_frames(tmp_path / "list.json")


def test_pymatgen_is_named_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text('{"@module": "pymatgen.core.structure", "@class": "Structure"}')
    load = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith(("pymatgen", "monty")):
            raise ImportError(name)
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pymatgen is not installed; .*pip install pymatgen"):
        read_frames(tmp_path / "a.json")


@pytest.fixture
def cp2k(tmp_path) -> Path:
    """A copy of the files of a short MD run of one water molecule in a skew cell, NPT_F."""
    for file in CP2K.glob("md-*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_cp2k_output_and_trajectory_agree(cp2k):
    """The first step of MD has the positions of the single calculation; .stress with the kinetic part taken off has
    the stress of the electronic structure, here to 2e-5 of it."""
    (cp2k / "single.out").write_bytes(lzma.decompress((CP2K / "single.out.xz").read_bytes()))
    single, steps = read_frames(cp2k / "single.out")[0], read_frames(cp2k / "md-pos-1.xyz")
    assert len(steps) == 3 and steps[2].info["step"] == 2
    assert single.energy == pytest.approx(-16.972953477915830 * 27.211386245988, abs=1e-9)
    np.testing.assert_allclose(single.forces[1, 0], 0.11241001 * 27.211386245988 / 0.529177210903, atol=1e-6)
    np.testing.assert_allclose(single.stress[0, 0], -6.08768207452 / 160.2176634, rtol=1e-6)  # compressed is positive
    np.testing.assert_allclose(single.cell, [[5, 0, 0], [0.4, 5.2, 0], [0, 0.3, 4.8]], atol=1e-6)
    same([single], steps[:1], atol=2e-6)
    output = lzma.decompress((CP2K / "md.out.xz").read_bytes()).decode().split("STRESS| Analytical stress tensor [GPa]")
    for step, part in zip(steps, output[1:], strict=True):
        table = np.array([line.split()[2:5] for line in part.splitlines()[2:5]], dtype=float)
        np.testing.assert_allclose(step.stress, -table / 160.2176634, atol=2e-6)
    kinetic = np.loadtxt(cp2k / "md-1.stress")[1, 2] / 1e4 - 5.42954511451
    assert kinetic > 0.2  # GPa, what would be wrong without the velocities


def test_cp2k_trajectory_without_some_of_its_files(cp2k):
    (cp2k / "md-vel-1.xyz").unlink()
    read = read_frames(cp2k / "md-pos-1.xyz")
    assert all(frame.stress is None and frame.forces is not None for frame in read)
    assert "holds the kinetic part; print the velocities" in read.notes[0] and "no stress" in read.notes[1]
    (cp2k / "md-frc-1.xyz").unlink()
    assert "no forces, no stress" in read_frames(cp2k / "md-pos-1.xyz").notes[1]
    (cp2k / "md-1.cell").unlink()
    with pytest.raises(InputError, match=r"md-pos-1\.xyz without a cell; .*MOTION / PRINT / CELL"):
        read_frames(cp2k / "md-pos-1.xyz")
    output = lzma.decompress((CP2K / "single.out.xz").read_bytes()).decode()  # PRINT_LEVEL MEDIUM has the cell
    (cp2k / "log.out").write_text(output.replace("  single\n", "  md\n"))
    assert read_frames(cp2k / "md-pos-1.xyz")[1].cell[1, 0] == pytest.approx(0.4, abs=1e-6)
    (cp2k / "log.out").write_text(output.replace("  single\n", "  md\n MD_PAR| Ensemble type      NPT_F\n"))
    with pytest.raises(InputError, match=r"md-pos-1\.xyz without a cell, which changes in NPT_F"):
        read_frames(cp2k / "md-pos-1.xyz")


def test_cp2k_files_that_do_not_fit(cp2k):
    for name in ("md-frc-1.xyz", "md-pos-1.xyz"):
        text = (cp2k / name).read_text()
        (cp2k / name).write_text(text[: text.rindex("H ")])
        with pytest.raises(InputError, match=rf"{name}, step 2: cut short"):
            read_frames(cp2k / "md-pos-1.xyz")
        (cp2k / name).write_text(text[: text.index(" i =        2") - 9])
        if name == "md-frc-1.xyz":
            with pytest.raises(InputError, match=r"md-frc-1\.xyz without step 2; wanted the steps of the positions"):
                read_frames(cp2k / "md-pos-1.xyz")
    output = lzma.decompress((CP2K / "md.out.xz").read_bytes()).decode()
    (cp2k / "md.out").write_text(output)
    with pytest.raises(InputError, match=r"md\.out, an output of CP2K of 3 steps; wanted one step; read PROJECT-pos-1"):
        read_frames(cp2k / "md.out")
    (cp2k / "md.out").write_text(output[: len(output) // 2])
    with pytest.raises(InputError, match=r"md\.out, an output of CP2K that is cut short"):
        read_frames(cp2k / "md.out")
    odd = output.replace("*** SCF run converged in ", "*** WARNING SCF run NOT converged ***", 1)
    (cp2k / "md.out").write_text(odd)
    for name in ("md.out", "md-pos-1.xyz"):
        with pytest.raises(InputError, match="SCF run that did not converge, step 0"):
            read_frames(cp2k / name)
