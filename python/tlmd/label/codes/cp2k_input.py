"""CP2K's input and output as text."""

from __future__ import annotations

import re
from typing import Any


def written(tree: dict[str, Any], depth: int = 0) -> str:
    """The text of nested dicts: {"DFT": {"CHARGE": 0}} is a section with a keyword, a list one line for each item.

    Units of a keyword are a part of its name: "R_CUTOFF [angstrom]".
    """
    lines, indent = [], "  " * depth
    for name, value in tree.items():
        if isinstance(value, dict):
            end = name.split()[0]
            lines += [f"{indent}&{name}", written(value, depth + 1).rstrip("\n"), f"{indent}&END {end}"]
        elif isinstance(value, list):
            lines += [f"{indent}{name} {item}".rstrip() if name else f"{indent}{item}" for item in value]
        else:
            word, _, unit = name.partition(" ")
            lines.append(f"{indent}{word} {unit} {value}".replace("  ", " ") if unit else f"{indent}{name} {value}")
    return "\n".join(line for line in lines if line) + "\n"


def merged(tree: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The tree with the sections and keywords of another, which win; names without regard to capitals."""
    result = dict(tree)
    for name, value in more.items():
        known = next((key for key in result if key.casefold() == name.casefold()), name)
        both = isinstance(value, dict) and isinstance(result.get(known), dict)
        result[known] = merged(result[known], value) if both else value
    return result


def section(text: str, begin: str, end: str) -> list[str]:
    """The lines from the last one that matches `begin` to the next that matches `end`; empty if there is none."""
    lines = text.splitlines()
    starts = [index for index, line in enumerate(lines) if re.search(begin, line)]
    if not starts:
        return []
    rest = lines[starts[-1] :]
    stop = next((index for index, line in enumerate(rest[1:], 1) if re.search(end, line)), len(rest))
    return rest[:stop]
