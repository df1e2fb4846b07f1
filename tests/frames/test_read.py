"""Reading: names of labels, what is no label, damaged and foreign files."""

import gzip
import lzma

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.labels import doubtful
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError

PROPERTIES = "species:S:1:pos:R:3"
ATOMS = ("O 0 0 0", "H 1 0 0", "H 0 1 0")


def extxyz(path, head: str, properties: str = PROPERTIES, more: str = "", atoms=ATOMS) -> None:
    rows = "".join(f"{row} {more}\n" for row in atoms)
    path.write_text(f'{len(atoms)}\nLattice="4 0 0 0 4 0 0 0 4" Properties={properties} {head}\n{rows}')


@pytest.mark.parametrize("energy", ["energy", "Energy", "ENERGY", "ref_energy", "DFT_Energy", "Total_energy"])
@pytest.mark.parametrize("forces", ["forces", "Forces", "FORCES", "Ref_Forces", "DFT_force"])
@pytest.mark.parametrize("stress", ["stress", "Stress", "dft_Stress", "Virial", "REF_VIRIALS", "DFT_virials"])
def test_capitals_play_no_part(tmp_path, energy, forces, stress):
    path = tmp_path / "a.extxyz"
    extxyz(path, f'{energy}=-1.5 {stress}="1 0 0 0 2 0 0 0 3"', f"{PROPERTIES}:{forces}:R:3", ".1 .2 .3")
    frame = read_frames(path, check=False)[0]
    factor = -1 / 64 if "vir" in stress.casefold() else 1
    assert frame.energy == -1.5 and frame.forces[1, 2] == 0.3 and frame.info == {} and frame.unused == ()
    np.testing.assert_allclose(frame.stress, np.diag([1, 2, 3]) * factor)


def test_the_usual_spelling_goes_first_and_given_keys_are_taken_as_they_are(tmp_path):
    path = tmp_path / "a.extxyz"
    extxyz(path, "Energy=-7 energy=-1.5 PBE_energy=-3 pbe_energy=-4")
    assert read_frames(path)[0].energy == -1.5
    assert read_frames(path, keys={"energy": "PBE_energy"})[0].energy == -3
    with pytest.raises(InputError, match="no energy under the key Pbe_energy"):
        read_frames(path, keys={"energy": "Pbe_energy"})


def test_columns_that_are_not_used_are_known(tmp_path):
    path = tmp_path / "a.extxyz"
    extxyz(path, "e_xtb=-1.5", f"{PROPERTIES}:f_xtb:R:3:magmom:R:1", ".1 .2 .3 0.5 9")
    frame = read_frames(path)[0]
    assert not frame.labelled and frame.unused == ("f_xtb", "magmom", "1 columns without a name")
    assert doubtful([*frame.info, *frame.unused]) == ["e_xtb", "f_xtb"]


@pytest.mark.parametrize(
    ("head", "properties", "more", "words"),
    [
        ('energy="1 2 3"', PROPERTIES, "", r"frame 0: energy = \[1 2 3\], not one number"),
        ("energy=T", PROPERTIES, "", r"frame 0: energy = True, not one number"),
        ("energy=none", PROPERTIES, "", r"frame 0: energy = none, not one number"),
        ("energy=1", f"{PROPERTIES}:pos:R:3", "1 2 3", r"frame 0: Properties with pos twice"),
        ("energy=1", "species:S:1:forces:R:3", "", r"frame 0: Properties without pos:R:3"),
        ("energy=1", f"{PROPERTIES}:forces:R:2", "1 2", r"frame 0: forces of shape \(2, 3\)"),
        ("energy=1", f"{PROPERTIES}:forces:R:3", "1 2", r"frame 0: 6 columns, too few for Properties"),
        ("energy=1", f"{PROPERTIES}:forces", "1 2 3", r"not name:kind:count"),
        ('energy=1 stress="1 2"', PROPERTIES, "", r"frame 0: .*stress.* 9-long"),
        ('energy=1 pbc="a b c"', PROPERTIES, "", r"frame 0: pbc that is not T or F"),
        ("energy=nan", PROPERTIES, "", r"frame 0: energy nan"),
        ("energy=1e400", PROPERTIES, "", r"frame 0: energy inf"),
        ("energy=1e300", PROPERTIES, "", r"frame 0: an energy of 3.333e\+299 eV/atom"),
        ("energy=" + "9" * 5000, PROPERTIES, "", r"frame 0: "),
    ],
)
def test_labels_of_another_shape(tmp_path, head, properties, more, words):
    extxyz(tmp_path / "a.extxyz", head, properties, more)
    with pytest.raises(InputError, match=words) as caught:
        read_frames(tmp_path / "a.extxyz")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("z", ["-1", "0", "999", "1.5", "nan", "1e300"])
def test_atomic_numbers(tmp_path, z):
    extxyz(tmp_path / "a.extxyz", "energy=1", "Z:I:1:pos:R:3", atoms=[f"{z} 0 0 0", "8 1 1 1"])
    with pytest.raises(InputError, match=r"a\.extxyz, frame 0: atomic number "):
        read_frames(tmp_path / "a.extxyz")


@pytest.mark.parametrize("symbol", ["Xq", "X", "o"])
def test_unknown_elements(tmp_path, symbol):
    extxyz(tmp_path / "a.extxyz", "energy=1", atoms=[f"{symbol} 0 0 0", "O 1 1 1"])
    with pytest.raises(InputError, match=rf"a\.extxyz, frame 0: element {symbol}; wanted an extxyz frame"):
        read_frames(tmp_path / "a.extxyz")


@pytest.mark.parametrize("count", ["-3", "0", "x", "9" * 5000, "99999999999", "3 4"])
def test_numbers_of_atoms(tmp_path, count):
    (tmp_path / "a.extxyz").write_text(f"{count}\nenergy=1\n" + "\n".join(ATOMS))
    with pytest.raises(InputError, match=r"frame 0: '.*' where the number of atoms should be") as caught:
        read_frames(tmp_path / "a.extxyz")
    assert len(str(caught.value)) < 300


def test_rows_of_unequal_length_are_refused(tmp_path):
    """Together they have as many words as equal ones."""
    (tmp_path / "a.extxyz").write_text("3\nenergy=1\nO 0 0 0\nH 1 0 0 H 0\nH 2 0\n")
    with pytest.raises(InputError, match="frame 0: atom 1 with 6 columns, 4 before"):
        read_frames(tmp_path / "a.extxyz")


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_damaged_archives(tmp_path, suffix, pack):
    """Wherever a byte is flipped or the file ends: one line, or the frames as they were."""
    rng = np.random.default_rng(0)
    frames = [Frame(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 1.0]]) + rng.normal(0, 0.1, (2, 3)), energy=-1.0)]
    write_frames(tmp_path / "a.extxyz", frames)
    whole = pack((tmp_path / "a.extxyz").read_bytes())
    path = tmp_path / f"a.extxyz{suffix}"
    refused = 0
    for at in range(0, len(whole), 3):
        for damaged in (whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(damaged)
            try:
                assert read_frames(path)[0].energy == -1.0
            except InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > len(whole) / 3


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(100)])
def test_damaged_databases(tmp_path, content):
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.db"):
        read_frames(tmp_path / "a.db")


def test_formats_that_are_not_known_are_told_with_their_conversion(tmp_path):
    """The command in the message makes a file that can be read; binary files are not called damaged extxyz."""
    import subprocess
    import sys

    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], cell=[5, 5, 5], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0, forces=np.ones((2, 3)))
    ase.io.write(tmp_path / "POSCAR", atoms, format="vasp")
    with pytest.raises(InputError, match=r"POSCAR, of a format that is not known; wanted extxyz, .* VASP") as caught:
        read_frames(tmp_path / "POSCAR")
    command = str(caught.value).split('python -c "')[1].rstrip('"')
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=True)
    assert not read_frames(tmp_path / "frames.extxyz")[0].labelled
    (tmp_path / "a.gpw").write_bytes(b"- of UlmGPAW\xad\x00\x01")
    (tmp_path / "b.dat").write_bytes(b"\x93\x00\x01\xff")
    for name in ("a.gpw", "b.dat"):
        with pytest.raises(InputError, match=rf"{name}, of a format that is not known; .*convert it: python -c"):
            read_frames(tmp_path / name)
    (tmp_path / "md.dump").write_text("ITEM: TIMESTEP\n0\n")
    with pytest.raises(InputError, match=r"md\.dump, a dump of LAMMPS, which has no energies; .*tl-generate"):
        read_frames(tmp_path / "md.dump")
