"""Stage configuration: overrides, paths, and one-line errors that name the key."""

from pathlib import Path

import pytest

from tlmd.generate.config import GenerateConfig
from tlmd.run.config import ConfigPath, Section, StageConfig, load_config
from tlmd.run.errors import InputError

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
        ("training.max_step=3", r"unknown key 'training.max_step'.*did you mean 'max_steps'"),
        ("sede=3", r"unknown key 'sede'.*did you mean 'seed'"),
        ("training.max_steps=1.5", r"training.max_steps = 1.5"),
        ("seed=-1", r"seed = -1 .*greater than or equal to 0"),
        ("training=3", r"training = 3"),
        ("training.max_steps", r"wanted --set table.key=value"),
        ("data.a=3", r"wanted a table at 'data'"),
    ],
)
def test_bad_key_or_value(toml, override, words):
    with pytest.raises(InputError, match=words) as caught:
        load_config(Example, toml, [override])
    assert "\n" not in str(caught.value)


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
        ("systems.wide.tempreature_K=[1,2]", r"unknown key 'systems.wide.tempreature_K'.*'temperature_K'"),
        ("systems.wide.temperature_K=[500,300]", r"systems.wide.temperature_K = .*low end first"),
        ('systems.wide.kind="bulky"', r"systems.wide.*bulky"),
        ("systems.extra.frames=3", r"no key 'systems.extra.kind'"),
        ("systems.wide.frames=0", r"systems.wide.frames = 0 .*greater than 0"),
        ('teacher.name="tip4p"', r"teacher.*tip4p.*'spcfw'"),
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
