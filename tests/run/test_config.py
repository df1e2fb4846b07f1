"""Stage configuration: overrides, paths, and one-line errors that name the key."""

from pathlib import Path

import pytest

from tlmd.generate.config import GenerateConfig
from tlmd.run.config import ConfigPath, Section, StageConfig, load_config
from tlmd.run.errors import InputError
from tlmd.train.config import PretrainConfig

INPUTS = Path(__file__).parents[2] / "inputs"


class Training(Section):
    learning_rate: float
    max_steps: int = 10


class Example(StageConfig):
    data: ConfigPath
    training: Training


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "example.toml"
    path.write_text('data = "sets/a.xz"\n[training]\nlearning_rate = 1e-3\n')
    return path


def test_reads_overrides_and_resolves_paths(toml):
    config = load_config(Example, toml, ["training.max_steps=200", 'out="runs/b"', "training.learning_rate = 0.5"])
    assert (config.training.max_steps, config.training.learning_rate, config.seed) == (200, 0.5, 1)
    assert config.data == toml.parent / "sets/a.xz"
    assert config.out == toml.parent / "runs/b"
    assert load_config(Example, toml, ["out=plain_word"]).out == toml.parent / "plain_word"


def test_absolute_path_and_default_out(toml):
    config = load_config(Example, toml, [f'data="{Path("/a/b")}"'])
    assert config.data == Path("/a/b")
    assert load_config(Example, toml).out == Path("run")


def test_python_construction_keeps_paths():
    config = Example(data="x", training={"learning_rate": 1})
    assert config.data == Path("x")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "training.max_step=3",
            r"unknown key 'training.max_step'.*'training.max_steps'.*wanted one of learning_rate, max_steps; rename it",
        ),
        ("learning_rate=3", r"unknown key 'learning_rate'.*did you mean 'training.learning_rate'.*into its table"),
        ("training.seed=3", r"unknown key 'training.seed'.*did you mean 'seed'"),
        ("training.wormhole=3", r"unknown key 'training.wormhole' .*wanted one of learning_rate, max_steps;"),
        ("training.max_steps=true", r"training.max_steps = true .*wanted a whole number; correct it"),
        ("training.learning_rate=inf", r"training.learning_rate = Infinity .*wanted a number; correct it"),
        ("training.learning_rate=nan", r"training.learning_rate = NaN .*wanted a number; correct it"),
        ("seed=18446744073709551616", r"seed = .*wanted a whole number at least 0 and less than 2\^63"),
        ("seed=1\nseed=2", r"got --set seed=1 seed=2; wanted one key"),
        ('data="~nobody_here/a"', r"data = .*wanted a path whose ~ is the home of a user"),
        ("sede=3", r"unknown key 'sede'.*did you mean 'seed'"),
        ("training.max_steps=1.5", r"training.max_steps = 1.5 .*wanted a whole number; correct it"),
        ("seed=-1", r"seed = -1 .*wanted a whole number at least 0"),
        ("training=3", r"training = 3 .*wanted a table"),
        ("training.max_steps", r"wanted --set table.key=value"),
        ("data.a=3", r"wanted a table at 'data'"),
    ],
)
def test_bad_key_or_value(toml, override, words):
    with pytest.raises(InputError, match=words) as caught:
        load_config(Example, toml, [override])
    assert "\n" not in str(caught.value)


def test_paths_do_not_depend_on_the_working_folder(toml, monkeypatch):
    there = load_config(Example, toml)
    monkeypatch.chdir(toml.parent)
    assert load_config(Example, toml.name) == there and there.data.is_absolute()


def test_a_slip_beside_a_missing_key_is_named(tmp_path):
    path = tmp_path / "slip.toml"
    path.write_text('data = "x"\n[training]\nlearning_rat = 1.0\n')
    with pytest.raises(InputError, match=r"unknown key 'training.learning_rat'.*did you mean 'training.learning_rate'"):
        load_config(Example, path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.lr=1", r"did you mean 'optimizer.lr'"),
        ("loss.energy=-0.1", r"loss.energy = -0.1 .*wanted a number at least 0"),
        ("loss.forces=[1.0, -1.0]", r"or a list of 2, each a number at least 0"),
        ("optimizer.lr=1e300", r"a number greater than 0 and at most 1;"),
        ("training.threads=1000000", r"at most 1024"),
        ("model.width=1000000", r"at most 4096"),
        ("model.width=7", r"a whole number that is even"),
        ("model.n_layers=100000", r"at most 16"),
        ("model.cutoff=1e6", r"a number at least 0.5 and at most 20"),
        ("model.cutoff=1e-9", r"a number at least 0.5 and at most 20"),
    ],
)
def test_values_that_can_only_be_slips(override, words):
    with pytest.raises(InputError, match=words) as caught:
        load_config(PretrainConfig, INPUTS / "water" / "scratch.toml", [override])
    assert "Input should be" not in str(caught.value)


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match=r"no file .*absent.toml"):
        load_config(Example, tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = = 3")
    with pytest.raises(InputError, match=r"broken.toml: .*line 1.*wanted a TOML file"):
        load_config(Example, broken)
    broken.write_text('data = "x"\n[training]\n')
    with pytest.raises(InputError, match=r"no key 'training.learning_rate'"):
        load_config(Example, broken)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("systems.wide.tempreature_K=[1,2]", r"unknown key 'systems.wide.tempreature_K'.*'systems.wide.temperature_K'"),
        (
            "systems.wide.temperature_K=[300]",
            r"temperature_K = \[300\] .*wanted a list of 2, each a number",
        ),
        ('systems.wide.kind="conformers"', r"wanted systems of liquid for spcfw; wide is molecules"),
        ("teacher.frames=3", r"unknown key 'teacher.frames'.*did you mean 'systems.\w+.frames'"),
        (
            'systems.wide.slab="slab.xyz"',
            r"unknown key 'systems.wide.slab'.*wanted one of frames, frames_per_item, .*kind, .*temperature_K",
        ),
        ("scale=1e300", r"scale = 1e\+300 .*at most 1000000"),
        ("systems.wide.frames=1000000000000", r"at most 10000000"),
        ("systems.wide.temperature_K=[500,300]", r"systems.wide.temperature_K = .*low end first"),
        ('systems.wide.kind="bulky"', r"systems.wide.*bulky"),
        ("systems.extra.frames=3", r"no key 'systems.extra.kind'"),
        ("systems.wide.frames=0", r"systems.wide.frames = 0 .*greater than 0"),
        ('teacher.name="tip4p"', r"teacher.*tip4p.*\"spcfw\""),
    ],
)
def test_generate_config_errors(override, words):
    with pytest.raises(InputError, match=words):
        load_config(GenerateConfig, INPUTS / "water" / "classical.toml", [override])


def test_no_systems(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("[systems]\n")
    with pytest.raises(InputError, match=r"at least one table"):
        load_config(GenerateConfig, path)
