"""What every command does alike: outputs that would destroy something, errors in one line, `tl`."""

import errno
import os
import subprocess
import sys

import pytest

from tlmd.run.command import in_words
from tlmd.run.errors import InputError
from tlmd.run.files import refuse_input, write_text


def command(name, *arguments, cwd=None):
    words = [sys.executable, "-c", f"from tlmd.cli import {name}; {name}()", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_files_are_replaced(tmp_path, kind):
    path = {"pipe": tmp_path / "pipe", "device": "/dev/null", "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    before = os.stat(path).st_mode
    with pytest.raises(InputError, match=r"wanted a file, or a name that is free"):
        write_text(path, "text")
    assert os.stat(path).st_mode == before


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_an_error_of_the_disk_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "absent" / "file", "text")
    assert in_words(caught.value) == f"{tmp_path}/absent/file: no such file or directory"
    full = OSError(errno.ENOSPC, "No space left on device", "model.pt")
    assert in_words(full) == "model.pt: no space left on device; make room, then the same command goes on"


def test_inputs_are_not_outputs(tmp_path):
    (tmp_path / "data").write_text("frames")
    (tmp_path / "link").symlink_to("data")
    refuse_input(tmp_path / "free", [tmp_path / "data"])
    with pytest.raises(InputError, match=r"link as output; wanted another file than the inputs"):
        refuse_input(tmp_path / "link", [None, tmp_path / "data"])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("export", ("m.pt", "-o", "m.pt")),
        ("export", ("m.pt", "--data", "data.xyz", "-o", "data.xyz")),
        ("evaluate", ("m.pt", "data.xyz", "--json", "m.pt")),
        ("evaluate", ("m.pt", "data.xyz", "--json", "link.xyz")),
        ("evaluate", ("m.pt", "data.xyz", "--plot", "data.xyz")),
        ("analyze", ("density", "data.xyz", "--json", "data.xyz")),
        ("tl", ("analyze", "density", "data.xyz", "--json", "data.xyz")),
    ],
)
def test_commands_do_not_write_over_what_they_read(tmp_path, name, arguments):
    for file in ("m.pt", "data.xyz"):
        (tmp_path / file).write_text(file)
    (tmp_path / "link.xyz").symlink_to("data.xyz")
    done = command(name, *arguments, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "as output; wanted another file than the inputs" in done.stderr
    assert all((tmp_path / file).read_text() == file for file in ("m.pt", "data.xyz"))


def test_a_device_is_refused_before_the_work(tmp_path):
    done = command("evaluate", "absent.pt", "absent.xyz", "--json", "/dev/null", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "got /dev/null, a device or a pipe; wanted a file" in done.stderr


def test_tl_has_every_command_and_a_version():
    done = command("tl", "--help")
    assert done.returncode == 0
    stages = (
        "generate",
        "calibrate",
        "pretrain",
        "finetune",
        "mekrr",
        "curve",
        "evaluate",
        "export",
        "analyze",
        "demo",
    )
    assert all(f" {stage} " in done.stdout for stage in (*stages, "plugin"))
    assert command("tl", "--version").stdout.startswith("tlmd ")
    done = command("tl", "finetune", "absent.toml")
    line = "error: got no file absent.toml; wanted the TOML file of this stage; check the path\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_interrupted_without_traceback(tmp_path):
    program = (
        "import os, signal\nfrom tlmd.run.command import entry\n"
        "@entry\ndef main() -> None:\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored by what a shell starts with &
        "    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted; the same command goes on\n")
