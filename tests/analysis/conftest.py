"""The console script tl-analyze in one process; a run of liquid methanol."""

import warnings

import pytest

from tlmd import cli

from .methanol import DUMP, run


@pytest.fixture(scope="session")
def methanol(tmp_path_factory):
    """Folder of nvt.log, nvt.dump.gz (8 ps) and npt.log (4 ps) of 27 molecules by OPLS-AA: 15 s on a core."""
    folder = tmp_path_factory.mktemp("methanol")
    run(folder, "nvt", f"{DUMP}run 8000\n")
    run(folder, "npt", "unfix 1\nfix 1 all npt temp 298.15 298.15 100 iso 1 1 500\nrun 4000\n")
    return folder


@pytest.fixture
def tl_analyze(monkeypatch, capsys):
    """Run the console script; returns exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
        monkeypatch.setattr("sys.argv", ["tl-analyze", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.analyze()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run
