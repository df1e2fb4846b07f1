"""One line of another command is told once, not wrapped."""

import pytest

from tlmd.run.errors import InputError, told


def test_what_another_command_told_is_not_wrapped():
    error = InputError("a", "b; or c", "d; e")
    assert str(told(f"error: {error}\n")) == str(error)
    assert str(told("got a; wanted b; c")) == "got a; wanted b; c"


@pytest.mark.parametrize("line", ["", "no output", "ERROR: Unknown command", "error: out: a folder", "got it; done; x"])
def test_other_lines_are_not_taken_for_errors(line):
    assert told(line) is None
