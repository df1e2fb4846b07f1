"""The run folder: which run it holds, by contents and not by paths; what a run leaves, and what is damaged."""

import fcntl
import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tlmd.run.config import ConfigPath, Section, StageConfig, load_config, to_toml
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder, read_run


class Data(Section):
    train: ConfigPath
    test: ConfigPath | None = None


class Config(StageConfig):
    data: Data
    steps: int = 3


@pytest.fixture
def toml(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "train.xyz").write_text("frames")
    (tmp_path / "here" / "run.toml").write_text('[data]\ntrain = "train.xyz"\n')
    return tmp_path / "here" / "run.toml"


def start(toml, *overrides, folder=None, stage="train"):
    config = load_config(Config, toml, overrides)
    return RunFolder(folder or toml.parent / "run", stage, config, ("result",))


def leave(run, name="checkpoint"):
    """What a run that has begun leaves."""
    (run.path / name).write_text(name)
    run.close()


def test_a_folder_moved_as_a_whole_is_the_same_run_from_any_working_folder(toml, monkeypatch):
    leave(start(toml))
    monkeypatch.chdir(toml.parent)
    start(Path("run.toml")).close()
    there = toml.parents[1] / "there"
    toml.parent.rename(there)
    start(there / "run.toml").close()
    (there / "train.xyz").rename(there / "other.xyz")
    start(there / "run.toml", "data.train=other.xyz").close()


def test_a_key_that_a_later_version_adds_is_no_difference_until_it_is_set(toml):
    leave(start(toml))
    path = toml.parent / "run" / "run.json"
    notes = json.loads(path.read_text())
    del notes["record"]["config"]["data"]["test"]
    path.write_text(json.dumps(notes))
    start(toml).close()
    (toml.parent / "test.xyz").write_text("frames")
    with pytest.raises(InputError, match="data.test"):
        start(toml, "data.test=test.xyz")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("steps=4",), r"got steps = 4; wanted 3, as in the run that .*run holds; choose another --out, or delete"),
        (("seed=2",), r"got seed = 2; wanted 1"),
        (("data.train=changed.xyz",), r"got data.train = .*changed.xyz with other content; wanted that of .*train.xyz"),
        (("data.test=changed.xyz",), r"got data.test = .*changed.xyz; wanted no file"),
        (("data.train=absent.xyz",), r"got data.train = .*absent.xyz, no file; wanted a file that can be read"),
    ],
)
def test_another_run_is_refused(toml, overrides, words):
    leave(start(toml))
    (toml.parent / "changed.xyz").write_text("other frames")
    with pytest.raises(InputError, match=words):
        start(toml, *overrides)
    with pytest.raises(InputError, match=r"got tl-fit; wanted tl-train"):
        start(toml, stage="fit")


def test_a_run_that_failed_before_its_first_step_is_no_reason_to_refuse(toml):
    start(toml).close()
    leave(start(toml, "steps=4"))
    assert read_run(toml.parent / "run")["record"]["config"]["steps"] == 4
    assert "steps = 4" in (toml.parent / "run" / "config.toml").read_text()
    with pytest.raises(InputError, match=r"got steps = 3; wanted 4"):
        start(toml)


def fails(toml, begin):
    """A stage that ends with an error, before or after it has written something."""
    with start(toml) as run:
        run.say("reading")
        (run.path / "parts").mkdir()
        if begin:
            (run.path / "parts" / "0.json").write_text("{}")
        raise InputError("frames without labels", "labels", "label them")


def test_a_run_that_failed_before_its_first_step_leaves_no_folder(toml):
    with pytest.raises(InputError, match="frames without labels"):
        fails(toml, begin=False)
    assert not (toml.parent / "run").exists()
    with pytest.raises(InputError, match=r"data.train = .*absent.xyz, no file"):
        start(toml, "data.train=absent.xyz")
    assert not (toml.parent / "run").exists()
    with pytest.raises(InputError, match="frames without labels"):
        fails(toml, begin=True)
    assert (toml.parent / "run" / "run.json").exists() and (toml.parent / "run" / "log.txt").exists()


def test_a_folder_of_the_user_stays_and_so_does_what_is_in_it(toml):
    (toml.parent / "run").mkdir()
    (toml.parent / "run" / "notes.md").write_text("mine")
    with pytest.raises(InputError, match="frames without labels"):
        fails(toml, begin=False)
    assert (toml.parent / "run" / "notes.md").read_text() == "mine"


def test_a_lock_on_a_folder_that_is_removed_is_none(toml, monkeypatch):
    """Between opening the lock's file and locking it, another process removes the folder that it has failed in."""
    lock = fcntl.flock

    def removed(file, how):
        shutil.rmtree(toml.parent / "run")
        lock(file, how)

    monkeypatch.setattr("tlmd.run.folder.fcntl.flock", removed)
    with pytest.raises(InputError, match=r"run, in use by a run; wanted a free folder"):
        start(toml)


def test_results_of_another_run_are_not_overwritten(toml):
    (toml.parent / "run" / "parts").mkdir(parents=True)
    (toml.parent / "run" / "result").write_text("precious")
    with pytest.raises(InputError, match=r"whose result is of another run or of an earlier version"):
        start(toml)
    (toml.parent / "run" / "result").rename(toml.parent / "run" / "parts" / "1")
    with pytest.raises(InputError, match=r"whose parts/ is of another run"):
        start(toml)


def test_a_finished_run_is_known_and_nothing_of_it_changes(toml):
    run = start(toml)
    (run.path / "result").write_text("42")
    run.finish(answer=42)
    run.close()
    before = (toml.parent / "run" / "run.json").read_bytes()
    again = start(toml)
    assert again.finished and again.result == {"answer": 42}
    minutes = again.minutes
    assert again.minutes == minutes == json.loads(before)["minutes"]
    again.close()
    assert (toml.parent / "run" / "run.json").read_bytes() == before
    (toml.parent / "run" / "result").write_text("43")
    with pytest.raises(InputError, match=r"result, changed since the run ended; wanted the file as it was written"):
        start(toml)
    (toml.parent / "run" / "result").unlink()
    run = start(toml)
    assert not run.finished
    run.close()


def test_minutes_are_summed_over_all_starts(toml, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tlmd.run.folder.time.monotonic", lambda: now[0])
    for _ in range(3):
        run = start(toml)
        now[0] += 120.0
        run.note_time()
        now[0] += 30.0  # killed before it is noted again
        leave(run)
    run = start(toml)
    now[0] += 60.0
    assert run.minutes == pytest.approx(3 * 2.0 + 1.0)
    run.close()


def test_temporary_files_of_a_killed_run_are_removed(toml):
    run = start(toml)
    (run.path / "parts").mkdir()
    leftovers = [run.path / ".model.pt.123.tmp", run.path / "parts" / ".a.123.tmp"]
    for path in leftovers:
        path.write_text("half")
    run.close()
    start(toml).close()
    assert not any(path.exists() for path in leftovers)


def test_one_run_at_a_time(toml):
    run = start(toml)
    with pytest.raises(InputError, match=r"run, in use by a run; wanted a free folder"):
        start(toml)
    run.close()
    start(toml).close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format_version": 2}',
        b'{"format_version": 2, "record": 3, "minutes": 1}',
    ],
)
def test_damaged_notes_are_one_line(toml, content):
    leave(start(toml))
    (toml.parent / "run" / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run.json, which is damaged|with run.json of format 1") as caught:
        start(toml)
    assert "\n" not in str(caught.value)


def test_a_folder_of_the_previous_version_is_refused_in_one_line(toml):
    leave(start(toml))
    (toml.parent / "run" / "run.json").write_text('{"record": {"stage": "train", "config": {}, "data_sha256": {}}}')
    with pytest.raises(InputError, match=r"with run.json of format 1; wanted format 2, of this version of tlmd"):
        start(toml)


def test_damaged_metrics_are_one_line(toml):
    run = start(toml)
    (run.path / "metrics.csv").write_bytes(b"step,lr\nx,y\n")
    with pytest.raises(InputError, match=r"metrics.csv, which is damaged"):
        run.rewind(3)
    (run.path / "metrics.csv").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"metrics.csv, which is damaged"):
        run.rewind(3)
    run.close()


def test_a_file_in_place_of_the_folder(toml):
    (toml.parent / "run").write_text("")
    with pytest.raises(InputError, match=r"run, which is not a folder; wanted a run folder"):
        start(toml)


def test_to_toml_gives_back_what_it_was_given(tmp_path):
    config = {
        "a": 1,
        "b": [1.5, "x"],
        "gone": None,
        "t": {"a b": {"c": None, "d": True, "e": 'ü😀\n"\\'}, "f": [[1, 2]]},
    }
    expected = {"a": 1, "b": [1.5, "x"], "t": {"a b": {"d": True, "e": 'ü😀\n"\\'}, "f": [[1, 2]]}}
    assert tomllib.loads(to_toml(config)) == expected


def test_generate_is_not_complete_over_labels_of_another_force_field(tmp_path):
    from tlmd.generate.config import GenerateConfig

    text = '[teacher]\nname = "calibrated"\ninclude = "forcefield.in"\n[systems.mine]\nkind = "file"\nframes = 2\n'
    text += 'file = "a.xyz"\n'
    (tmp_path / "generate.toml").write_text(text)
    for name in ("forcefield.in", "forcefield.table", "a.xyz", "extra.in"):
        (tmp_path / name).write_text("variable table index forcefield.table\ninclude extra.in\n")
    config = load_config(GenerateConfig, tmp_path / "generate.toml")
    assert set(config.input_files()) >= {"teacher.include", "teacher.include/forcefield.table", "systems.mine.file"}
    for name in ("forcefield.in", "forcefield.table", "a.xyz", "extra.in"):
        folder = tmp_path / "out"
        with RunFolder(folder, "generate", config, ("frames.extxyz.xz",)) as run:
            (folder / "frames.extxyz.xz").write_text("labels")
            run.finish()
        with open(tmp_path / name, "a") as file:
            file.write("# another\n")
        with pytest.raises(InputError, match=rf"{name} with other content"):
            RunFolder(folder, "generate", config, ("frames.extxyz.xz",))
        shutil.rmtree(folder)
