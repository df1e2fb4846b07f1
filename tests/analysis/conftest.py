"""The console script tl-analyze in one process."""

import warnings

import pytest

from tlmd import cli


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
