"""Outputs of VASP, Quantum ESPRESSO, ORCA, FHI-aims and GPAW, hand-made in their formats (foreign.py): labels come back
in eV and A with ASE's sign; what is cut short or unconverged is refused in one line."""

import gzip

import numpy as np
import pytest

from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError

from . import foreign

PROGRAMS = {
    "OUTCAR": foreign.outcar,
    "vasprun.xml": foreign.vasprun,
    "pw.out": foreign.espresso,
    "orca.out": foreign.orca,
    "aims.out": foreign.aims,
    "gpaw.txt": foreign.gpaw,
}
SMEARED = {"OUTCAR", "vasprun.xml", "gpaw.txt"}  # whose free energy differs from the energy that ase.io prefers


def frames(n: int = 2) -> list[Frame]:
    """Two waters in a skew cell, anything for labels; a stress without any symmetry but its own."""
    rng, found = np.random.default_rng(5), []
    for _ in range(n):
        oxygens = np.array([[1.0, 1.0, 1.0], [4.0, 3.6, 3.2]])
        sites = np.vstack([oxygens, *(o + np.array([[0.9, 0.3, 0], [-0.3, 0.9, 0.1]]) for o in oxygens)])
        cell = np.array([[6.0, 0, 0], [0.4, 6.2, 0], [0.1, -0.3, 5.8]])
        stress = rng.normal(0, 0.01, (3, 3))
        labels = (-14.2 + rng.normal(), rng.normal(0, 1, (6, 3)), stress + stress.T)
        positions = sites + rng.normal(0, 0.05, (6, 3))
        found.append(Frame(np.array([8, 8, 1, 1, 1, 1]), positions, cell, np.ones(3, bool), *labels))
    return found


@pytest.mark.parametrize("smearing", [0.0, 0.024])
@pytest.mark.parametrize("name", PROGRAMS)
def test_labels_come_back(tmp_path, name, smearing):
    """Energy: the free energy. ORCA: one molecule, no cell, no stress; FHI-aims: here a stress of the last step."""
    written = frames()
    (tmp_path / name).write_text(PROGRAMS[name](written, smearing))
    read = read_frames(tmp_path / name)
    assert len(read) == (1 if name == "orca.out" else 2)
    for index, (ours, theirs) in enumerate(zip(read, written, strict=False)):
        assert list(ours.numbers) == list(theirs.numbers)
        np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-6)
        assert ours.energy == pytest.approx(theirs.energy, rel=2e-7)  # CODATA 2006 in one of ase.io
        np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-6)
        if name == "orca.out":
            assert not ours.pbc.any() and ours.stress is None
            continue
        np.testing.assert_allclose(ours.cell, theirs.cell, atol=1e-5)
        assert ours.pbc.all()
        if name == "aims.out" and index == 0:
            assert ours.stress is None
            continue
        np.testing.assert_allclose(ours.stress, theirs.stress, atol=2e-7)
    told = any("the free energy" in note and "4 meV/atom" in note for note in read.notes)
    assert told == (smearing > 0 and name in SMEARED)
    assert any("no stress in 1 of 2" in note for note in read.notes) == (name == "aims.out")


@pytest.mark.parametrize("name", PROGRAMS)
def test_cut_short(tmp_path, name):
    """At any place: one line that names the file, and no frame with half of its labels."""
    text = PROGRAMS[name](frames())
    for part in (0.35, 0.6, 0.8, 0.9):
        (tmp_path / name).write_text(text[: int(part * len(text))])
        with pytest.raises(InputError, match=rf"{name}, an? .* that is cut short; wanted one with") as caught:
            read_frames(tmp_path / name)
        assert "\n" not in str(caught.value) and "python -c" in str(caught.value)


@pytest.mark.parametrize("name", PROGRAMS)
def test_unconverged(tmp_path, name):
    (tmp_path / name).write_text(PROGRAMS[name](frames(), converged=False))
    with pytest.raises(InputError, match=rf"{name}, .* did not converge, step 0; wanted converged electronic steps"):
        read_frames(tmp_path / name)


def test_older_vasp_is_silent_on_a_loop_that_did_not_converge(tmp_path):
    text = foreign.outcar(frames())
    lines = text.splitlines(keepends=True)
    second = [k for k, line in enumerate(lines) if "aborting loop" in line][1]
    (tmp_path / "OUTCAR").write_text("".join(lines[:second] + lines[second + 1 :]))
    with pytest.raises(InputError, match="did not converge, step 1;"):
        read_frames(tmp_path / "OUTCAR")


def test_the_last_step_must_have_the_labels_of_the_others(tmp_path):
    text = foreign.espresso(frames())
    cut = text.rindex("\n     Computing stress")
    (tmp_path / "pw.out").write_text(text[:cut] + text[text.index("\n=---") :])
    with pytest.raises(InputError, match="without stress in its last step"):
        read_frames(tmp_path / "pw.out")


def test_names_play_no_part_and_archives_are_read(tmp_path):
    written = frames()
    (tmp_path / "anything").write_text(foreign.espresso(written))
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(foreign.outcar(written).encode()))
    for name in ("anything", "OUTCAR.gz"):
        assert read_frames(tmp_path / name)[1].energy == pytest.approx(written[1].energy, rel=2e-7)


def test_keys_are_for_extxyz(tmp_path):
    (tmp_path / "OUTCAR").write_text(foreign.outcar(frames()))
    with pytest.raises(InputError, match="keys for .*OUTCAR, an OUTCAR of VASP"):
        read_frames(tmp_path / "OUTCAR", keys={"energy": "e"})
