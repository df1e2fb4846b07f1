"""The one error that a user's input can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, in one line: what was got, what was wanted, what to do."""

    def __init__(self, got: str, wanted: str, do: str):
        super().__init__(f"got {got}; wanted {wanted}; {do}")
        self._parts = (got, wanted, do)

    def at(self, where: str) -> InputError:
        """The same error, said of a place: a file, a frame."""
        got, wanted, do = self._parts
        return InputError(f"{where}: {got}", wanted, do)

    def __reduce__(self):  # so that it travels between MPI ranks
        return InputError, self._parts


def told(line: str) -> InputError | None:
    """The InputError that another command told in this line, None if it is none."""
    text = line.strip().removeprefix("error: ")
    parts = text.removeprefix("got ").split("; ", 2)
    if not text.startswith("got ") or len(parts) < 3 or not parts[1].startswith("wanted "):
        return None
    return InputError(parts[0], parts[1].removeprefix("wanted "), parts[2])


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'cutoff'?)` for the known word nearest to `word`, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""
