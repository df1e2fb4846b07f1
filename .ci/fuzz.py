"""Readers of files must end well or in one line, whatever is in the file: python .ci/fuzz.py --seconds 600

hypothesis damages small valid files (bytes replaced, cut, repeated; words that numbers should not be) and reads them.
An exception that the commands do not turn into one line is a failure, shown with the smallest damage that causes it.
Wants the package hypothesis; not a part of .ci/run.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tlmd.analysis.records import read_records
from tlmd.analysis.reference import read_references
from tlmd.analysis.stress import read_pressures
from tlmd.analysis.thermo import read_log
from tlmd.analysis.trajectory import read_dump
from tlmd.export import export_model
from tlmd.frames.read import read_frames
from tlmd.generate.lammps_data import read as read_data
from tlmd.modelfile import load_model, read_card
from tlmd.run.command import EXPECTED, in_words
from tlmd.run.config import load_config
from tlmd.run.installed import SHIPPED, water_inputs
from tlmd.train.config import FinetuneConfig

WORDS = [
    b"nan", b"inf", b"-1", b"0", b"1e400", b"99999999999999999999", b"", b" ", b"\n", b"\0", b"\xff\xfe", b'"', b"[",
    b"]", b"{", b"}", b"=", b"\xc3\xa9", b"true", b"H", b"Lattice", b"Properties", b"#", b"1e-400", b"-0.0", b"..",
]  # fmt: skip
EXTXYZ = b"""3
Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 energy=-10.5 stress="1 0 0 0 1 0 0 0 1"
O 0.0 0.0 0.1 0.1 0.2 0.3
H 0.0 0.8 -0.5 0.1 -0.2 0.3
H 0.0 -0.8 -0.5 -0.2 0.0 -0.6
2
Properties=species:S:1:pos:R:3 energy=-1.0
H 0 0 0
H 0 0 0.74
"""
LOG = b"""LAMMPS (22 Jul 2025 - Update 4)
units metal
timestep 0.0005
fix ensemble all npt temp 300 300 0.1 iso 1.0 1.0 0.5
run 40
   Step          Temp          Press          Volume        Density         PotEng
         0   300            1              1920           0.997         -100
        20   310            2              1921           0.9965        -101
        40   305           -3              1922           0.9960        -100.5
Loop time of 1.5 on 1 procs for 40 steps with 192 atoms
"""
FRAME = b"""ITEM: TIMESTEP
%d
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0.0 9.0
0.0 9.0
0.0 9.0
ITEM: ATOMS id type element xu yu zu
1 1 O %.1f 0.0 0.0
2 2 H %.1f 0.0 1.0
"""
DUMP = FRAME % (0, 0.0, 0.0) + FRAME % (10, 0.1, 0.1)
PRESSURES = b"""# Time-averaged data for fix tensor
# TimeStep c_thermo_press[1] c_thermo_press[2] c_thermo_press[3] c_thermo_press[4] c_thermo_press[5] c_thermo_press[6]
10 1.0 2.0 3.0 0.1 0.2 0.3
20 1.5 2.5 3.5 0.2 0.1 0.0
"""
DATA = b"""two molecules of hydrogen

4 atoms
2 bonds
1 atom types
1 bond types

0 9 xlo xhi
0 9 ylo yhi
0 9 zlo zhi

Masses

1 1.008

Atoms # full

1 1 1 0.0 1.0 1.0 1.0
2 1 1 0.0 1.0 1.0 1.74
3 2 1 0.0 5.0 5.0 5.0
4 2 1 0.0 5.0 5.0 5.74

Bonds

1 1 1 2
2 1 3 4
"""
RECORDS = b"""[{"quantity": "density", "value": 0.997, "standard_error": 0.001, "unit": "g/cm3", "experiment": null,
"experiment_error": null, "deviation_percent": null, "temperature_K": 298.0, "source": "run.log"}]
"""
REFERENCES = b"""[experiment]
source = "CRC Handbook"
density = 0.7866
"diffusion coefficient" = {value = 2.4e-9, error = 0.05e-9}
[level_of_theory]
density = 0.92
"""


def targets(folder: Path) -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """By name: the name of the file, a valid one, and what reads it."""
    model = SHIPPED["water-gfn1-f64"].read_bytes()
    export_model(SHIPPED["water-gfn1-f64"], folder / "seed-lammps.pt")
    exported = (folder / "seed-lammps.pt").read_bytes()
    water = water_inputs()
    return {
        "extxyz": ("frames.extxyz", EXTXYZ, read_frames),
        "extxyz.gz": ("frames.extxyz.gz", gzip.compress(EXTXYZ), read_frames),
        "TOML": ("finetune.toml", (water / "finetune.toml").read_bytes(), lambda p: load_config(FinetuneConfig, p)),
        "card": ("model.pt", model, read_card),
        "model": ("model.pt", model, load_model),
        "exported": ("model-lammps.pt", exported, read_card),
        "LAMMPS data": ("box.data", DATA, read_molecules),
        "log": ("md.log", LOG, read_log),
        "dump": ("md.dump", DUMP, read_dump),
        "pressures": ("pressure.txt", PRESSURES, lambda p: read_pressures(p, "metal")),
        "records": ("results.json", RECORDS, read_records),
        "references": ("values.toml", REFERENCES, read_references),
    }


def read_molecules(path: Path) -> None:
    """A data file with its molecules, labels and charges."""
    data = read_data(path, "full")
    data.species(dict.fromkeys(data.types, 1) | data.labels)
    data.charge_of("1")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The file with one to four damages."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(WORDS), st.binary(max_size=4)))
        kind = draw(st.sampled_from(["replace", "cut", "repeat"]))
        if kind == "replace":
            content = content[:start] + piece + content[end:]
        elif kind == "cut":
            content = content[:start]
        else:
            content = content[:end] + content[start:]
    return content


def fuzz(name: str, file: Path, whole: bytes, read: Callable[[Path], object], seconds: float) -> int:
    """Damaged files that were read in about so many seconds. Raises what a reader raised that it should not."""
    end, count = time.monotonic() + seconds, 0
    read_whole(file, whole, read)

    @settings(
        max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(damaged(whole))
    def one(content: bytes) -> None:
        nonlocal count
        count += 1
        file.write_bytes(content)
        try:
            read(file)
        except EXPECTED as error:
            assert "\n" not in in_words(error), f"{name}: more than one line"

    while time.monotonic() < end:
        one()
    return count


def read_whole(file: Path, whole: bytes, read: Callable[[Path], object]) -> None:
    """The valid file is read without an error."""
    file.write_bytes(whole)
    read(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of all readers together")
    parser.add_argument("--only", help="one reader, by its name")
    given_words = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = {k: v for k, v in targets(folder).items() if given_words.only in (None, k)}
        for target, (file, whole, read) in chosen.items():
            try:
                count = fuzz(target, folder / file, whole, read, given_words.seconds / len(chosen))
                print(f"{target}: {count} damaged files, none unexpected", flush=True)
            except Exception as error:
                failed += 1
                print(
                    f"{target}: FAILED, {type(error).__name__}: {error}\n{(folder / file).read_bytes()[:600]!r}",
                    flush=True,
                )
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
