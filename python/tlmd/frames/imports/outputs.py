"""Outputs of programs and ASE trajectories that ase.io reads: VASP, Quantum ESPRESSO, ORCA, FHI-aims, GPAW.

ase.io converts units and signs. The energy is the free energy where the file has it, since forces and stress are its
derivatives (VASP's F, not its energy(sigma -> 0)).
"""

from __future__ import annotations

import io
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import ase.io
from ase import Atoms
from ase.io.formats import ioformats

from tlmd.frames.frame import Frame
from tlmd.frames.imports.files import content, conversion, words
from tlmd.run.errors import InputError

APART_EV = 1e-6  # eV/atom, energies that differ by less are one


class Output(NamedTuple):
    """A format: what it is called, that of ase.io, how a whole file ends, how it says that a step did not converge."""

    what: str
    format: str
    end: str | None = None
    unconverged: Callable[[str], int | None] = lambda text: None  # number of the first such step, from 0
    binary: bool = False


def said(pattern: str, step: str) -> Callable[[str], int | None]:
    """The first step of which the text says `pattern`; `step` is what it says at the start of each."""

    def first(text: str) -> int | None:
        found = re.search(pattern, text)
        return found and max(0, len(re.findall(step, text[: found.start()])) - 1)

    return first


def vasp_outcar(text: str) -> int | None:
    """VASP 6 says that a loop was not converged, older ones do not say that it was."""
    for step, part in enumerate(text.split("FREE ENERGIE OF THE ION-ELECTRON SYSTEM")[:-1]):
        if "EDIFF was not reached" in part or ("Iteration" in part and "aborting loop" not in part):
            return step
    return None


def vasp_xml(text: str) -> int | None:
    """A step took as many electronic iterations as were allowed."""
    allowed = re.search(r'name="NELM">\s*(\d+)\s*</i>', text)
    for step, part in enumerate(text.split("<calculation")[1:]):
        if allowed and part.partition("</calculation>")[0].count("<scstep>") >= max(2, int(allowed[1])):
            return step
    return None


TRAJECTORY = Output("an ASE trajectory", "traj", binary=True)
OUTCAR = Output("an OUTCAR of VASP", "vasp-out", "General timing and accounting", vasp_outcar)
VASPRUN = Output("a vasprun.xml of VASP", "vasp-xml", "</modeling>", vasp_xml)
XDATCAR = Output("an XDATCAR of VASP", "vasp-xdatcar")
ESPRESSO = Output(
    "an output of Quantum ESPRESSO",
    "espresso-out",
    "JOB DONE",
    said("convergence NOT achieved", "Self-consistent Calculation"),
)
ORCA = Output(
    "an output of ORCA",
    "orca-output",
    "ORCA TERMINATED NORMALLY",
    said(r"SCF NOT CONVERGED|not fully converged|IS NOT (FULLY )?CONVERGED", r"CARTESIAN COORDINATES \(ANGSTROEM\)"),
)
AIMS = Output(
    "an output of FHI-aims",
    "aims-output",
    "Have a nice day.",
    said(
        r"SELF-CONSISTENCY CYCLE DID NOT CONVERGE|Self-consistency cycle not converged", "Begin self-consistency loop"
    ),
)
GPAW = Output("an output of GPAW", "gpaw-out", "Timing:", said(r"(?i)did not converge", "(?i)\npositions:"))


def read_output(path: Path, output: Output) -> tuple[list[Frame], list[str]]:
    """Frames of a file, and what a user should know of them. InputError for one that is cut short or unconverged."""
    data = content(path)
    if not output.binary:
        check_output(path, output, data.decode("utf-8", errors="replace"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            images = images_of(path, output, data)
        except Exception as error:  # readers of ase.io fail in any way
            raise InputError(
                f"{path}, {output.what}: {words(error)}", "a whole file", "copy or write it again"
            ) from None
    notes = [f"ase.io: {words(each.message)}" for each in warned if not issubclass(each.category, DeprecationWarning)]
    refuse_missing(path, output, images)
    frames, apart = zip(*map(frame_of, images), strict=True) if images else ((), ())
    if max(apart, default=0.0) > APART_EV:
        notes.append(
            f"energy: the free energy, whose derivatives the forces are; the file's other energy is up to "
            f"{1000 * max(apart):.3g} meV/atom away"
        )
    return list(frames), list(dict.fromkeys(notes))


def images_of(path: Path, output: Output, data: bytes) -> list[Atoms]:
    """What ase.io reads of the content `data` of a file that may be packed."""
    if not ioformats[output.format].acceptsfd:
        with tempfile.NamedTemporaryFile(suffix=".out") as file:
            file.write(data)
            file.flush()
            return ase.io.read(file.name, index=":", format=output.format)
    binary = output.binary or output.format == "vasp-xml"
    file = io.BytesIO(data) if binary else io.StringIO(data.decode("utf-8", errors="replace"))
    file.name = str(path)  # which the reader of OUTCAR asks for
    return ase.io.read(file, index=":", format=output.format)


def check_output(path: Path, output: Output, text: str) -> None:
    """InputError for a text that is cut short, or that says that a step is not converged."""
    if output.end is not None and output.end not in text:
        do = f"let it end, or convert its whole steps: {conversion(path, ':-1', output.format)}"
        raise InputError(f"{path}, {output.what} that is cut short", f"one with '{output.end}' at its end", do)
    if (step := output.unconverged(text)) is not None:
        got = f"{path}, {output.what} with an electronic loop that did not converge, step {step}"
        do = f"converge it, or convert the file and take step {step} out: {conversion(path, ':', output.format)}"
        raise InputError(got, "converged electronic steps", do)


def frame_of(atoms: Atoms) -> tuple[Frame, float]:
    """A frame with the free energy where there is one, and by how much (eV/atom) the other energy differs."""
    results = atoms.calc.results if atoms.calc is not None else {}
    free = getattr(atoms.calc, "energy_contributions", {}).get("free energy")  # GPAW's text
    if free is not None:
        correction = results["energy"] - atoms.calc.parameters.get("uncorrected_energy", results["energy"])
        results["free_energy"] = free + correction
    free, energy = results.get("free_energy"), results.get("energy")
    if free is None or energy is None:
        return Frame.from_atoms(atoms), 0.0
    results["energy"] = free
    return Frame.from_atoms(atoms), abs(free - energy) / max(1, len(atoms))


def refuse_missing(path: Path, output: Output, images: Sequence[Atoms]) -> None:
    """InputError if the last step lacks a label that those before have: it was cut short."""
    if output.binary or len(images) < 2:
        return
    names = ("energy", "forces", "stress")
    last, before = (
        {n for n in names if a.calc is not None and a.calc.results.get(n) is not None} for a in images[:-3:-1]
    )
    lost = sorted(before - last)
    if lost:
        do = f"convert the other steps: {conversion(path, ':-1', output.format)}"
        raise InputError(f"{path}, {output.what} without {lost[0]} in its last step", "whole steps", do)
