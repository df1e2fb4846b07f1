"""`tl check` finds the stage of a TOML and what is wrong with it; `tl schema` gives every stage's keys."""

from pathlib import Path

import pytest

from tlmd.run.check import check, stage_named, stages
from tlmd.run.errors import InputError

WATER = Path(__file__).parents[2] / "inputs" / "water"
GENERATE = 'out = "cheap"\n[systems.a]\nkind = "monomer"\nframes = 4\n'
PRETRAIN = '[data]\ntrain = "cheap/frames.extxyz.xz"\nvalid_fraction = 0.5\n[training]\nmax_steps = 2\n'


STAGES = {"finetune": "finetune", "scratch": "pretrain", "mekrr": "mekrr", "curve": "curve", "classical": "generate",
          "calibrate": "calibrate", "demo": "demo"}  # fmt: skip


@pytest.mark.parametrize(("name", "stage"), STAGES.items())
def test_stages_of_the_inputs_are_found(name, stage):
    assert check([WATER / f"{name}.toml"]) == [f"{WATER / name}.toml: valid for tl-{stage}"]


def test_inputs_of_a_surface_are_one_workflow():
    lines = check(sorted((WATER.parent / "surface").glob("*.toml")))
    assert len(lines) == 6 and all(": valid for tl-" in line for line in lines)


def test_files_are_there_or_of_a_run_to_come(tmp_path):
    (tmp_path / "pretrain.toml").write_text(PRETRAIN)
    (tmp_path / "teacher.toml").write_text(GENERATE)
    with pytest.raises(InputError, match=r"no file .*frames.extxyz.xz; wanted data.train of .*before tl-pretrain"):
        check([tmp_path / "pretrain.toml"])
    lines = check([tmp_path / "pretrain.toml", tmp_path / "teacher.toml"])
    assert lines[0].endswith("pretrain.toml: valid for tl-pretrain; data.train: of a run to come")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PRETRAIN.replace("max_steps", "max_stpes"), "for tl-pretrain: .*'training.max_stpes'.*did you mean"),
        (PRETRAIN.replace("= 2", "= -2"), "for tl-pretrain: training.max_steps = -2"),
        ("out = 'a'\nseed = 1\n", "which is of no stage by its keys; wanted the TOML of a stage; give --stage"),
        ("out = ", "wanted a TOML file"),
    ],
)
def test_errors_are_those_of_the_stage(tmp_path, text, words):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        check([tmp_path / "a.toml"])


def test_stage_can_be_named():
    with pytest.raises(InputError, match="for tl-pretrain: unknown key 'transfer'"):
        check([WATER / "finetune.toml"], "pretrain")
    with pytest.raises(InputError, match=r"got stage 'fine' \(did you mean 'finetune'\?\); wanted one of .*generate"):
        stage_named("fine")


def test_every_stage_has_a_schema():
    assert {"generate", "pretrain", "finetune", "mekrr"} <= set(stages())
    for name, model in stages().items():
        schema = model.model_json_schema()
        assert schema["additionalProperties"] is False and "out" in schema["properties"], name
