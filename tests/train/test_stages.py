"""What every stage that learns refuses before it begins: sets without labels, with a common frame, a wrong split."""

import pytest

from tlmd.curves.curve import STAGES
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.run.config import load_config
from tlmd.run.errors import InputError


@pytest.fixture
def stages(folder):
    """A function that runs a stage with keys set; the models to start from are never opened."""
    (folder / "old").mkdir()
    (folder / "old" / "model.pt").write_bytes(b"a model")
    bare = [f.replace(energy=None, forces=None, stress=None) for f in read_frames(folder / "test.extxyz")]
    write_frames(folder / "bare.extxyz", [f.replace(positions=f.positions + 1) for f in bare])
    sets = "\n".join(f'{name} = "{name}.extxyz"' for name in ("train", "valid", "test"))
    (folder / "mekrr.toml").write_text(f'[data]\n{sets}\n[backbone]\nmodel = "old/model.pt"\n')

    def run(stage: str, *settings: str):
        config, function = STAGES[stage]
        return function(load_config(config, folder / f"{stage}.toml", settings), folder / "run")

    return run


@pytest.mark.parametrize("stage", list(STAGES))
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.train={}/bare.extxyz", "bare.extxyz without labels; wanted frames with an energy, forces or a stress"),
        ("data.valid={}/bare.extxyz", "bare.extxyz without labels"),
        ("data.test={}/bare.extxyz", "bare.extxyz without labels"),
        ("data.valid={}/train.extxyz", "frame 0 of data.train = .* and 9 more; wanted sets without a common frame"),
        ("data.test={}/valid.extxyz", "frame 0 of data.valid = .* and 5 more; wanted sets without a common frame"),
    ],
)
def test_sets_are_checked_first(stages, folder, stage, setting, words):
    assert len(STAGES) == 3
    with pytest.raises(InputError, match=words):
        stages(stage, setting.format(folder))
    assert not (folder / "run" / "model.pt").exists()


@pytest.mark.parametrize("stage", list(STAGES))
def test_split_by_is_checked_first(stages, folder, stage):
    with pytest.raises(InputError, match=r'data\.split_by = "phase"; wanted an info key of the test frames: none'):
        stages(stage, "data.split_by=phase", f"data.test={folder}/test.extxyz")
