"""tl-demo, shortened: every stage of the workflow runs for real and leaves the files and keys of the contract."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tlmd import cli
from tlmd.analysis.reference import read_references
from tlmd.demo.config import Size, demo_config, size_of
from tlmd.demo.workflow import Workflow, add_level_of_theory
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.generate.config import GenerateConfig
from tlmd.generate.driver import generate
from tlmd.modelfile import read_card
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.installed import example_inputs, examples
from tlmd.start.projects import write_atoms
from tlmd.train.config import FinetuneConfig
from tlmd.units import BAR_PER_EV_A3

SCRIPT = Path(sysconfig.get_path("scripts")) / "tl-demo"
SMALL = Size(6, 2, 40, 200, 5.0, 400)
WATER = demo_config("water")
needs_scripts = pytest.mark.skipif(not SCRIPT.exists(), reason="needs the installed console scripts")


@pytest.fixture
def folder(tmp_path):
    """Its name has spaces, quotes and letters beyond ASCII."""
    path = tmp_path / """my "first" démo's folder"""
    path.mkdir()
    return path


def run_demo(folder: Path, *options: str) -> str:
    """A small demo in folder/out with these options; returns what it printed."""
    command = [SCRIPT, "--out", "out", "--steps", "6", "--frames", "2", "--md-minutes", "5", "--md-steps", "400"]
    command += ["--classical-frames", "40", "--classical-steps", "60", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1500)
    # 0.4 ps with a model of two frames: if the box still expands or shrinks the demo has no density, and says so
    assert done.returncode == int("a density that still drifts" in done.stdout), done.stdout + done.stderr
    return done.stdout


def require_whole(out: Path, said: str, system: str) -> None:
    """The files, the records and the report of a demo of one system."""
    config = demo_config(system)
    level = load_config(FinetuneConfig, config.finetune).data.level_of_theory
    for name in ("classical", "scratch", "finetuned"):
        assert sorted(read_card(out / name / "model.pt").elements) == sorted(config.elements)
    assert read_card(out / "finetuned" / "model-lammps.pt").level_of_theory == level
    assert (out / "classical" / "forcefield").exists() == (config.calibrate is not None)
    records = json.loads((out / "results.json").read_text())
    keys = "quantity value standard_error unit experiment experiment_error deviation_percent temperature_K source"
    assert all(list(record)[:9] == keys.split() for record in records)
    quantities = {record["quantity"] for record in records}
    for word in ("diffusion coefficient", config.pairs):  # ... of CH4O, where others come about in so short a run
        assert any(quantity.startswith(word) for quantity in quantities)
    assert ("density" in quantities) != ("a density that still drifts" in said)
    theory = read_references(config.references).level_of_theory if config.references else None
    for record in records:  # the level of theory stands beside the experiment, with its source
        if theory or record["quantity"] != "density":  # else estimated, if the run is long enough
            known = theory and theory.known(record["quantity"], record["unit"], "")
            assert record["level_of_theory"] == (known.value if known else None)
        assert ("level of theory: " in record["source"]) == (record["level_of_theory"] is not None)
        assert f"target {config.temperature_K:g} K" in record["source"]
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page and "fine-tuned (T-PaiNN)" in page and config.title in page
    unseen = len(read_frames(load_config(FinetuneConfig, config.finetune).data.test))
    assert f"{unseen} unseen {level} frames" in page
    assert "fine-tuned (T-PaiNN)" in said and "report.html" in said


@needs_scripts
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:density")  # 0.4 ps may still drift
def test_water(folder):
    """From the shipped model, whose teacher is calibrated to the DFT frames."""
    said = run_demo(folder)
    require_whole(folder / "out", said, "water")
    loses_only_what_failed(folder / "out")


@needs_scripts
@pytest.mark.timeout(1800)
def test_methanol(folder):
    """In a folder of one's own: the inputs of methanol, frames labelled by its force field in the place of DFT's."""
    system = folder / "methanol"
    shutil.copytree(example_inputs("methanol"), system)
    teacher = system / "teacher.toml"
    teacher.write_text(teacher.read_text().replace("equilibrate_ps = 1.0", "equilibrate_ps = 0.05"))
    quick = ["frames=4", "frames_per_item=4", "equilibrate_ps=0.05", "spacing_ps=0.05"]
    settings = load_config(
        GenerateConfig, system / "labels" / "frames.toml", [f"systems.liquid.{key}" for key in quick]
    )
    generate(settings, folder / "labelled")
    frames = read_frames(folder / "labelled" / "frames.extxyz.xz")
    for name, part in {"train": frames[:2], "valid": frames[2:3], "test": frames[3:]}.items():
        write_frames(system / f"{name}.extxyz.xz", part)
    write_atoms(system / "atoms.data", frames[0], ["C", "H", "O"])  # 16 molecules are enough here
    demo = system / "demo.toml"  # so rough a model needs a short time step
    demo.write_text(demo.read_text().replace("timestep_fs = 1.0", "timestep_fs = 0.1"))
    said = run_demo(folder, "--system", str(system))
    require_whole(folder / "out", said, str(system))
    assert "P mean" in (folder / "out" / "report.html").read_text()  # the frames have stresses


def loses_only_what_failed(out):
    """One run without a usable log costs its own results alone."""
    (out / "md" / "diffusion.log").write_text("LAMMPS\n")
    workflow = Workflow(out, WATER, SMALL, from_scratch=False)
    before = {record["quantity"] for record in json.loads((out / "results.json").read_text())} & {"density"}
    assert {record["quantity"] for record in workflow.analyse().records} == before
    assert "diffusion" in workflow.failed and "no result" in workflow.failed["diffusion"]


def test_density_of_the_labels_to_first_order():
    """A pressure 200 bar too high on the mean, and a compressibility of 0.5 / GPa: the labels are denser by 1 %."""
    errors = np.array([100.0, 200.0, 300.0]) / BAR_PER_EV_A3
    label = np.random.default_rng(1).normal(size=(3, 3, 3))
    predicted = label - errors[:, None, None] * np.eye(3)  # stresses: of the other sign
    stresses = np.stack([label.ravel(), predicted.ravel()], axis=1)
    density = {"value": 0.9, "standard_error": 0.0, "source": "run"}
    squeezed = {"value": 0.5, "standard_error": 0.0}
    add_level_of_theory(density, squeezed, stresses)
    assert density["level_of_theory"] == pytest.approx(0.909)
    assert density["level_of_theory_error"] == pytest.approx(0.9 * 0.5e-4 * 100 / 3**0.5)
    assert density["source"] == (
        "run; level of theory: this density and the error of its pressure on 3 unseen frames, +200 ± 58 bar, to first "
        "order"
    )
    one = {"value": 0.9}
    add_level_of_theory(one, squeezed, stresses[:9])
    assert one == {"value": 0.9}


def test_what_is_not_given_is_as_the_system_says(tmp_path):
    given = {"steps": 7, "frames": None, "classical_frames": None, "md_minutes": 1.0, "md_steps": 100}
    size = size_of(WATER, given, from_scratch=False)
    assert (size.steps, size.classical_frames, size.classical_steps) == (
        7,
        WATER.classical_frames,
        WATER.classical_steps,
    )
    assert size_of(WATER, given, from_scratch=True).classical_steps == WATER.classical_steps_from_scratch
    available = len(read_frames(load_config(FinetuneConfig, WATER.finetune).data.train))
    assert size.frames == min(WATER.frames, available)
    more = demo_config("water", [f"frames={available + 1}"])
    assert size_of(more, given, from_scratch=False).frames == available


def test_a_system_is_a_name_or_a_folder(tmp_path):
    assert demo_config("methanol").data == example_inputs("methanol") / "atoms.data"
    with pytest.raises(InputError, match=r"--system methanl \(did you mean 'methanol'\?\); wanted methanol or water"):
        demo_config("methanl")
    with pytest.raises(InputError, match=r"or a folder with a demo.toml"):
        demo_config(str(tmp_path))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--steps", "0", "got --steps 0; wanted 1 to 1e+07"),
        ("--steps", "-3", "got --steps -3; wanted 1 to 1e+07"),
        ("--frames", "0", "got --frames 0; wanted 1 to"),
        ("--frames", "9999", "got --frames 9999; wanted 1 to "),
        ("--classical-frames", "0", "got --classical-frames 0"),
        ("--classical-steps", "0", "got --classical-steps 0"),
        ("--md-minutes", "nan", "got --md-minutes nan; wanted 0.05 to 100000"),
        ("--md-minutes", "inf", "got --md-minutes inf"),
        ("--md-minutes", "0", "got --md-minutes 0"),
        ("--md-steps", "0", "got --md-steps 0"),
        ("--md-steps", str(10**12), "got --md-steps 1e+12"),
    ],
)
def test_odd_sizes_are_refused_before_anything_starts(tmp_path, monkeypatch, capsys, option, value, words):
    monkeypatch.setattr("sys.argv", ["tl-demo", "--out", str(tmp_path / "out"), option, value])
    with pytest.raises(SystemExit) as ended:
        cli.demo()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith(f"error: {words}") and said.count("\n") == 1, said
    assert not (tmp_path / "out").exists()


def test_an_error_of_a_stage_is_said_once(tmp_path):
    """Its own words and remedy, not wrapped again; of another program its last line or LAMMPS' ERROR."""
    workflow = Workflow(tmp_path, WATER, SMALL, from_scratch=False)
    with pytest.raises(InputError) as refused:
        workflow.run(["tl-export", tmp_path / "missing.pt"], tmp_path / "logs" / "x.output")
    assert str(refused.value).count("got ") == 1 and "missing.pt" in str(refused.value)
    assert "error:" not in str(refused.value) and "a command that ends well" not in str(refused.value)
    code = "print('ERROR: lost atoms (src/x.cpp:1)\\nLast input line: run 5'); raise SystemExit(1)"
    with pytest.raises(
        InputError, match=r"got ERROR: lost atoms \(src/x\.cpp:1\); wanted a command that ends well; see"
    ):
        workflow.run([sys.executable, "-c", code], tmp_path / "logs" / "y.output")


def test_steps_that_are_not_recorded_take_half_of_the_time(tmp_path):
    for minutes in (0.05, 3.5, 60.0):
        size = Size(6, 2, 40, 200, minutes, 10**6)
        variables = Workflow(tmp_path, WATER, size, False).variables("density")
        assert 1 <= variables["equilibrate_limit"] <= variables["limit"] / 2
        assert variables["limit"] == pytest.approx(60 * minutes, abs=1)


def test_every_system_is_installed():
    rules = (Path(__file__).parents[1] / "CMakeLists.txt").read_text()
    (folders,) = re.findall(r"install\(DIRECTORY (.*) DESTINATION tlmd/inputs\)", rules)
    assert {"water", "methanol"} <= set(examples("demo.toml")) == {Path(word).name for word in folders.split()}
