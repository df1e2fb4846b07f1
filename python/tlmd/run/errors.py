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


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'cutoff'?)` for the known word nearest to `word`, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""
