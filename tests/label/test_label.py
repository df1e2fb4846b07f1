"""tl-label: every frame is labelled or set aside with its reason, nothing is done twice, nothing is left running."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ase.build import molecule

from tlmd import cli
from tlmd.frames.read import read_frames
from tlmd.label.codes.cp2k import CP2K
from tlmd.label.config import LabelConfig
from tlmd.label.label import collect, prepare
from tlmd.run.config import load_config
from tlmd.run.errors import InputError

TBLITE = '[calculator]\nname = "tblite"\n'
TROUBLE = '''
"""Calculators that fail in the ways that calculators fail."""
import os, time
from ase.calculators.calculator import SCFError
from ase.calculators.lj import LennardJones

class Trouble(LennardJones):
    def calculate(self, atoms, *arguments):
        kind = atoms.info["set"]
        if kind == "w1":
            raise SCFError("no convergence in 7 steps")
        if kind == "w2":
            os.abort()
        if kind == "w3":
            time.sleep(600)
        if kind == "w4":
            raise RuntimeError("no licence")
        super().calculate(atoms, *arguments)
        if kind == "w5":
            self.results["forces"] = self.results["forces"] + 1.0
        if kind == "w6":
            self.results["free_energy"] = float("nan")
'''
ASE = '[calculator]\nname = "ase"\ncalculator = "trouble.py:Trouble"\nlevel = "Lennard-Jones"\n'


def states(place) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(place.out.glob("frames/*/state.json"))]


def command(place, *words) -> subprocess.Popen:
    program = "from tlmd.cli import label; label()"
    return subprocess.Popen([sys.executable, "-c", program, *words], cwd=place.path, stderr=subprocess.PIPE, text=True)


def processes_of(place) -> list[str]:
    """Processes that work in the folder, or were started for it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline()]
        except (psutil.Error, OSError):
            continue
        if any(str(place.path) in word for word in words) and process.pid != os.getpid():
            found.append(" ".join(words))
    return found


def test_killed_and_started_again(place):
    place.write(place.waters(3), TBLITE)
    process = command(place, "label.toml")
    until = time.monotonic() + 120
    while not any(state["state"] == "labelled" for state in states(place)):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    assert processes_of(place)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 60
    while processes_of(place) and time.monotonic() < until:
        time.sleep(0.2)
    assert not processes_of(place)

    before = states(place)
    assert [state["state"] for state in before] != ["labelled"] * 3
    labels = read_frames(place.run("executor.jobs=2"))
    assert states(place)[0] == before[0]
    assert [frame.info["set"] for frame in labels] == ["w0", "w1", "w2"]
    calculator = pytest.importorskip("tblite.ase").TBLite(verbosity=0)
    atoms = labels[1].atoms()
    atoms.calc = calculator
    assert labels[1].energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert labels[1].forces == pytest.approx(atoms.get_forces(), abs=1e-4)
    known = {"code": "tblite", "functional": "GFN2-xTB", "set": "w1"}
    assert labels[1].info.items() >= known.items() and len(labels[1].info["input_sha256"]) == 64

    place.write([*place.waters(3)[::-1], *place.waters(4)[3:]], TBLITE)  # other order, one more
    labels = read_frames(place.run())
    assert [frame.info["set"] for frame in labels] == ["w2", "w1", "w0", "w3"]
    assert [state["ended"] for state in states(place)][:1] == [before[0]["ended"]] and len(states(place)) == 4
    with pytest.raises(InputError, match=r"calculator\.method = GFN1-xTB; wanted GFN2-xTB, as in the run"):
        place.run('calculator.method="GFN1-xTB"')


def test_labels_that_are_known_are_not_made_again(place):
    place.write(place.waters(2), TBLITE)
    labels = place.run()
    kept = place.path / "kept.extxyz"
    labels.rename(kept)
    place.write(place.waters(3), f'known = ["{kept}"]\n' + TBLITE)
    place.out = place.path / "again"
    again = read_frames(place.run())
    first = read_frames(kept)
    assert [frame.energy for frame in again[:2]] == [frame.energy for frame in first]
    assert [state["seconds"] is None for state in states(place)] == [True, True, False]  # the third was run
    place.write(place.waters(3), f'known = ["{kept}"]\n' + TBLITE + 'method = "GFN1-xTB"\n')
    place.out = place.path / "other"
    other = read_frames(place.run())
    assert abs(other[0].energy - first[0].energy) > 1  # another level is another input
    place.write(place.waters(1), f'known = ["{place.path / "frames.extxyz"}"]\n' + TBLITE)
    place.out = place.path / "third"
    with pytest.raises(InputError, match="without input_sha256"):
        place.run()


def test_what_fails_is_set_aside_with_its_reason(place):
    (place.path / "trouble.py").write_text(TROUBLE)
    place.write(place.waters(8), ASE)
    with pytest.raises(InputError, match="6 of 8 frames without a label"):
        place.run("executor.jobs=3", "executor.limit_minutes=0.2")
    reasons = [state.get("reason") for state in states(place)]
    wanted = (
        "trouble.py: no convergence in 7 steps",
        "exit code 134",
        "not ended after 0.2 minutes",
        "exit code 1: RuntimeError: no licence",
        "a net force of 1.7 eV/A for each atom",
        "energy nan",
    )
    for reason, words in zip(reasons[1:7], wanted, strict=True):
        assert words in reason
    assert reasons[0] is reasons[7] is None
    failed = read_frames(place.out / "failed.extxyz")
    assert failed[0].info["reason"] == wanted[0] and not any(frame.labelled for frame in failed)
    assert [frame.info["set"] for frame in read_frames(place.out / "labelled.extxyz")] == ["w0", "w7"]

    with pytest.raises(InputError, match="6 of 8"):
        place.run()  # runs nothing
    assert [state.get("ended") for state in states(place)] == [state["ended"] for state in states(place)]
    (place.path / "trouble.py").write_text(TROUBLE.replace("w", "x"))
    with pytest.raises(InputError, match="trouble.py"):  # another calculator
        place.run()


def test_jobs_by_hand(place):
    place.write(place.waters(3), TBLITE)
    jobs = place.run(action=prepare)
    assert not list(place.out.glob("frames/*/output.json"))
    lines = jobs.read_text().splitlines()
    assert len(lines) == 3
    for line in lines[:2]:
        subprocess.run(["sh", "-c", line], check=True)
    with pytest.raises(InputError, match="1 of 3 frames without a label"):
        place.run(action=collect)
    assert len(read_frames(place.out / "labelled.extxyz")) == 2
    with pytest.raises(InputError, match="without inputs"):
        collect(place.config(), place.path / "other")


def test_wall_time_of_the_command(place):
    (place.path / "trouble.py").write_text(TROUBLE)
    place.write(place.waters(4)[3:] + place.waters(2)[:1], ASE)
    began = time.monotonic()
    with pytest.raises(InputError, match="2 of 2 frames without a label; wanted all of them; the same command goes on"):
        place.run("executor.minutes=0.15")
    assert time.monotonic() - began < 60
    assert [state["state"] for state in states(place)] == ["waiting", "waiting"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["calculator.multiplicity=2"], "frame 0: multiplicity 2 for 10 electrons"),
        (['executor.kind="slurm"', "executor.limit_minutes=1440"], "shorter than walltime"),
        (['executor.kind="slum"'], 'one of "local", "slurm"'),
        (["calculator.methd=1"], "did you mean"),
    ],
)
def test_bad_settings(place, settings, words):
    place.write(place.waters(1), TBLITE)
    with pytest.raises(InputError, match=words):
        place.run(*settings)


def test_command_line(place):
    with pytest.raises(InputError, match=r"got prepair label.toml; wanted \[prepare\|collect\] CONFIG"):
        cli.label.__wrapped__(["prepair", "label.toml"])
    place.write(place.waters(1), TBLITE)
    process = command(place, "prepare", "label.toml")
    process.communicate()
    assert process.returncode == 0 and (place.out / "frames" / "00001" / "run.sh").exists()


def test_charge_of_a_frame(place):
    atoms = molecule("OH")
    frames = [frame.replace(numbers=atoms.numbers, positions=atoms.positions) for frame in place.waters(2)]
    frames = [frames[0], frames[1].replace(positions=frames[1].positions * 1.02, info={"charge": -1})]
    place.write(frames, TBLITE)
    radical, anion = read_frames(place.run("executor.jobs=2"))
    assert anion.info["charge"] == -1 and "charge" not in radical.info
    assert anion.energy < radical.energy - 1  # an electron affinity of about 2 eV, large in tight binding


def test_the_documentation_and_the_inputs_have_known_keys(tmp_path):
    root = Path(__file__).parents[2]
    blocks = re.findall(
        r"^```toml\n(.*?)^```", (root / "docs" / "labels.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert len(blocks) > 5
    for block in blocks:
        (tmp_path / "label.toml").write_text(block)
        load_config(LabelConfig, tmp_path / "label.toml")
    water = load_config(LabelConfig, root / "inputs" / "water" / "labels" / "label.toml").calculator
    assert (water.name, water.functional, water.dispersion, water.cutoff_Ry) == ("cp2k", "revPBE", "D3", 1200)
    surface = load_config(LabelConfig, root / "inputs" / "surface" / "label.toml")
    assert surface.stress is False and surface.calculator.solver == "diagonalization"
    (frame,) = read_frames(root / "inputs" / "surface" / "slab.extxyz")
    CP2K(surface.calculator).write(tmp_path, frame, surface.stress)
    text = (tmp_path / "cp2k.inp").read_text()
    assert text.count("PERIODIC XY\n") == 2 and "FULL_GRID FALSE" in text and "PSOLVER MT" in text
