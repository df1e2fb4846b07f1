"""The teacher LAMMPS: the user's force field, a data file with an include that LAMMPS runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from pydantic import Field

from tlmd.frames.frame import Frame, shortest
from tlmd.generate.composition import Composition, composed, nearest_contact
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.lammps_data import SAME_CHARGE, Pattern, read
from tlmd.generate.lammps_include import Include
from tlmd.generate.registry import teacher
from tlmd.generate.teachers.lammps_base import LammpsConfig, LammpsTeacher, unsuited
from tlmd.lammps_serial import FREE_A, Stopped, lower_triangular
from tlmd.run.config import ConfigPath, Section
from tlmd.run.errors import InputError
from tlmd.run.quantities import Length, Timestep
from tlmd.units import COULOMB_EV_A

DATA, INPUT = ".tlmd.data", ".tlmd.in"  # in the folder where LAMMPS runs
LOG, COEFFICIENTS = ".tlmd.log", ".tlmd.coeff"
MASS_G_MOL = 0.1  # how near a mass is to that of its element
CONTACT_A = {True: 1.25, False: 0.5}  # min_contact_A of molecules, of atoms without bonds
VACUUM_A = 40.0  # shortest edge of the periodic box of free atoms
EXTENTS = 3.0  # times the extent of the atoms: another bound on it
MADELUNG = 2.837297479  # of a simple cubic lattice of charges in a background
MOVED_A = 1e-6

Variables = dict[str, int | float | Annotated[str, Field(pattern=r"^\S+$")]]


class LammpsFilesConfig(LammpsConfig):
    """Your own force field: a LAMMPS data file and an include, of any styles. LAMMPS input can run other programs: such
    a file is code.
    """

    matter: ClassVar[tuple[str, ...]] = ("liquid", "material")
    name: Literal["lammps"]
    data: ConfigPath = Field(description="LAMMPS data file; its molecules are those of the frames")
    include: ConfigPath = Field(
        description="commands: units (real or metal), atom_style, `read_data ${data}`, coefficients, kspace_style"
    )
    variables: Variables = Field({}, description="variables of the include for labels: {accuracy = 1e-6}")
    sampling: Variables = Field({}, description="the same for trajectories, which only propose configurations")
    elements: list[str] = Field([], description="of the atom types 1, 2, ...; absent: by their masses")
    timestep_fs: Timestep = Field(0.5, description="fs, time step of the trajectories")
    min_contact_A: Length | None = Field(
        None,
        description="A: frames with nearer atoms of two molecules, not both hydrogen, are dropped (absent: 1.25); "
        "where nothing is bonded, with nearer atoms (0.5)",
    )

    def files(self) -> dict[str, Path]:
        """The data file, the include, and the files that it names in its folder."""
        return files_of(self.data, self.include)


class ForceFieldConfig(Section):
    """Base of a table that names a force field of other stages, as the teacher `lammps` has it."""

    data: ConfigPath = Field(description="LAMMPS data file; its molecules are those of the frames")
    include: ConfigPath = Field(
        description="commands: units (real or metal), atom_style, `read_data ${data}`, coefficients, kspace_style"
    )
    variables: Variables = Field({}, description="variables of the include: {accuracy = 1e-6}")
    elements: list[str] = Field([], description="of the atom types 1, 2, ...; absent: by their masses")

    def files(self) -> dict[str, Path]:
        """The data file, the include, and the files that it names in its folder."""
        return files_of(self.data, self.include)

    def teacher(self, include: Path | None = None) -> Lammps:
        """The teacher `lammps` of the force field; include: another one than its own."""
        keys = {"data": self.data, "variables": self.variables, "elements": self.elements}
        return Lammps(LammpsFilesConfig(name="lammps", include=include or self.include, **keys))


def files_of(data: Path, include: Path) -> dict[str, Path]:
    """The files of a force field by key: data file, include, and the files that it names in its folder."""
    named = Include(include).named if include.is_file() else {}
    return {"data": data, "include": include} | {f"include/{name}": path for name, path in named.items()}


@teacher
class Lammps(LammpsTeacher):
    """Labels of any number of the molecules of the data file, one after another with the atoms of each in its order; of
    any atoms of its elements where nothing is bonded.

    Free atoms with a kspace style are put into a large periodic box; energy and forces are then corrected for charge
    and dipole of the images (Makov and Payne, Phys. Rev. B 51, 4014, 1995).
    """

    config: LammpsFilesConfig

    def __init__(self, config: LammpsFilesConfig):
        self.include = Include(config.include)
        self.include.require(config.variables, "teacher.variables")
        self.include.require(config.sampling, "teacher.sampling")
        self._data = read(config.data, self.include.atom_style)
        super().__init__(config, self.include.units)
        self._folder = tempfile.TemporaryDirectory()
        try:
            for path in config.include.absolute().parent.iterdir():  # LAMMPS may look for files by itself: lib.comb3
                (Path(self._folder.name) / path.name).symlink_to(path)
            elements = self._elements()
            self._type_of = {} if self._data.patterns else self._types(elements)
            self.species = self._data.species(elements)
        except InputError:
            self.close()
            raise
        self.patterns = self._data.patterns
        self.molecules = tuple(zip(self.species, self._data.amounts, strict=True))

    def close(self) -> None:
        super().close()
        self._folder.cleanup()

    def unfit(self, frame: Frame) -> str | None:
        """The word contact if atoms come nearer than `min_contact_A`."""
        nearest = nearest_contact(frame, composed(frame, self.species)) if self.species else shortest(frame)
        limit = self.config.min_contact_A or CONTACT_A[bool(self.species)]
        return "contact" if nearest < limit else None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and, where periodic, stress (eV/A^3, virial part, tension positive).

        Raises Unsuited for atoms that are no molecules of the data file, InputError where some directions are periodic
        or the include moves atoms.
        """
        return self.label_after(frame, [""])[0]

    def label_after(self, frame: Frame, commands: Iterable[str]) -> list[Frame]:
        """The labels after each of these LAMMPS commands in turn (`set type 1 charge 0.2`); raises as `label`."""
        turn = self._setup(frame, self.config.variables)
        found = []
        for command in commands:
            with unsuited():
                self._serial.commands(command, Path(self._folder.name))
                energy, forces, stress = self._serial.labels(bool(frame.pbc.all()), self.include.evaluations)
            if not frame.pbc.any() and self.include.kspace:
                shift, push = self._images(frame)
                energy, forces = energy + shift, forces + push
            stress = None if stress is None else turn @ stress @ turn.T
            found.append(frame.replace(energy=energy, forces=forces @ turn.T, stress=stress))
        return found

    def echo(self) -> tuple[str, str, dict[int, float]]:
        """The commands of the include as LAMMPS runs them on the data file, variables in place; what `write_coeff`
        writes then; the charges (e) by type, NaN where atoms of a type differ, none where atoms have no charges."""
        folder, data = Path(self._folder.name), self.config.data
        self._serial.commands(f"log {LOG}\necho log", folder)
        self._read(data.read_text(encoding="utf-8", errors="replace"), "p p p", self.config.variables, False)
        self._serial.commands(f"log none\nrun 0 post no\nwrite_coeff {COEFFICIENTS}", folder)
        charges: dict[int, float] = {}
        if self.setting("q_flag"):
            kinds, found = (np.array(self._serial.lammps.gather_atoms(*key)) for key in (("type", 0, 1), ("q", 1, 1)))
            for kind in np.unique(kinds):
                mine = found[kinds == kind]
                charges[int(kind)] = float(mine[0]) if np.ptp(mine) < 10.0**-SAME_CHARGE else np.nan
        echoed, written = ((folder / name).read_text(encoding="utf-8") for name in (LOG, COEFFICIENTS))
        return echoed, written, charges

    def setting(self, name: str) -> int:
        """A number of what is set up, such as ntypes, by LAMMPS' name."""
        return int(self._serial.lammps.extract_setting(name))

    def weights(self, name: str) -> list[float]:
        """special_bonds of what is set up for atoms one, two and three bonds apart; name: lj or coul."""
        return list(self._serial.lammps.extract_global(f"special_{name}"))[1:4]

    def number(self, kind: str) -> int:
        """The number of an atom type that the data file may name by a label."""
        return self._data.labels.get(kind) or int(kind)

    def parts(self, frame: Frame) -> tuple[Composition, list[Pattern]]:
        """The molecules of a frame: as graphs, and as the data file has them. Raises Unsuited if it has no such."""
        return composed(frame, self.species), self._patterns(frame)

    def trajectory(
        self, frame: Frame, temperature_K: float, equilibrate_ps: float, spacing_ps: float, count: int, seed: int
    ) -> Iterator[Frame]:
        """Yield `count` frames without labels from Langevin dynamics, `spacing_ps` apart."""
        turn = self._setup(frame, self.config.sampling)
        if self.species:
            frames = self._liquid(frame, temperature_K, equilibrate_ps, spacing_ps, count, seed)
        else:
            self._commands(f"minimize 0.0 {1.0 / self.units['energy_eV']} 20 40")
            frames = self._langevin(frame, ((temperature_K, equilibrate_ps),), spacing_ps, count, seed)
        for each in frames:
            yield each.replace(positions=each.positions @ turn.T)

    def _setup(self, frame: Frame, variables: Variables) -> np.ndarray:
        """Put the frame, free atoms about the origin, into an empty LAMMPS. Returns the turn (3, 3) by which LAMMPS'
        vectors are to be turned back, see `lower_triangular`."""
        if frame.pbc.any() and not frame.pbc.all():
            raise InputError(f"pbc {frame.pbc}", "all directions periodic or none", "put vacuum into the cell")
        periodic, positions = bool(frame.pbc.all()), frame.positions
        if periodic:
            cell, turn = lower_triangular(frame.cell)
            positions, low = positions @ turn, np.zeros(3)
        else:
            positions, turn = positions - frame.positions.mean(0), np.eye(3)
            low, cell = self._room(positions)
        if not np.isfinite(positions).all():
            raise Unsuited("a frame without finite positions", "positions", "leave it out")
        text = self._data.written(self._patterns(frame), positions, low, cell)
        boundary = "p p p" if periodic or self.include.kspace else "s s s"
        with unsuited():
            self._read(text, boundary, variables, free=not periodic)
        found = self._serial.gather("x")
        moved = found - positions if found.shape == positions.shape else np.array([np.inf])
        if periodic:
            moved = moved - np.round(moved @ np.linalg.inv(cell)) @ cell if np.isfinite(moved).all() else moved
        if not np.abs(moved).max() < MOVED_A:
            raise InputError(
                f"{self.config.include}, which moves atoms", "a force field", "leave out run, minimize, ..."
            )
        return turn

    def _read(self, text: str, boundary: str, variables: Variables, free: bool) -> None:
        """Run the include on a data file."""
        folder = Path(self._folder.name)
        (folder / DATA).write_text(text, encoding="utf-8")
        (folder / INPUT).write_text(self.include.commands(free), encoding="utf-8")
        every = {**self.config.variables, **self.config.sampling}
        commands = ["clear", *(f"variable {name} delete" for name in (*every, "data"))]
        commands += [f"variable {name} index {value}" for name, value in (*variables.items(), ("data", DATA))]
        commands += ["atom_modify map array", f"boundary {boundary}", f"include {INPUT}", "thermo_modify norm no"]
        self._serial.commands("\n".join(commands), folder)

    def _room(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Low corner (3,) and cell (3, 3) A of the box of free atoms."""
        extent = positions.max(0) - positions.min(0)
        if self.include.kspace:
            edge = max(VACUUM_A, EXTENTS * extent.max())
            return np.full(3, -edge / 2), np.eye(3) * edge
        return positions.min(0) - FREE_A, np.diag(extent + 2 * FREE_A)

    def _images(self, frame: Frame) -> tuple[float, np.ndarray]:
        """What charge and dipole of the images of free atoms add to the energy (eV) and forces (N, 3), with its sign
        changed. Zero where charges do not sit on atoms."""
        if "tip4p" in self.include.kspace:
            return 0.0, np.zeros((len(frame), 3))
        positions = frame.positions - frame.positions.mean(0)
        edge = self._room(positions)[1][0, 0]
        q = np.array(self._serial.lammps.gather_atoms("q", 1, 1))
        dipole, spread = q @ positions, q @ (positions**2).sum(-1)
        factor = 2 * np.pi * COULOMB_EV_A / (3 * edge**3)
        energy = COULOMB_EV_A * MADELUNG * q.sum() ** 2 / (2 * edge) - factor * (q.sum() * spread - dipole @ dipole)
        return energy, 2 * factor * q[:, None] * (q.sum() * positions - dipole)

    def _patterns(self, frame: Frame) -> list[Pattern]:
        """The molecules of a frame as the data file has them. Raises Unsuited if it has no such."""
        if self.species:
            return [self._data.patterns[kind] for kind in composed(frame, self.species).kinds]
        strange = sorted({chemical_symbols[z] for z in frame.numbers if z not in self._type_of})
        if strange:
            known = ", ".join(chemical_symbols[z] for z in self._type_of)
            raise Unsuited(f"atoms of {', '.join(strange)}", f"those of the data file, {known}", "leave it out")
        types = tuple(self._type_of[z] for z in frame.numbers)
        return [Pattern(types, tuple(self._charge_of[kind] for kind in types), {})]

    def _types(self, elements: dict[str, int]) -> dict[int, str]:
        """The type of each element, and `_charge_of` types, where nothing is bonded."""
        if len(set(elements.values())) < len(elements):
            got = f"several types of one element in {self._data.name}, and no bonds"
            raise InputError(got, "one type for each element", "merge them")
        self._charge_of = {}
        for kind in elements:
            charge = self._data.charge_of(kind)
            if charge is None and not self.include.charges:
                got = f"different charges of type {kind} in {self._data.name}, and no bonds"
                raise InputError(got, "one charge for each type, or a fix that equilibrates them", "correct it")
            self._charge_of[kind] = "0" if self.include.charges or charge is None else charge
        return {number: kind for kind, number in elements.items()}

    def _elements(self) -> dict[str, int]:
        """The atomic number of each type in the data file, by `elements` or by its mass in LAMMPS."""
        config = self.config
        try:
            self._read(config.data.read_text(encoding="utf-8", errors="replace"), "p p p", config.variables, False)
            self._serial.commands("run 0 post no")
        except Stopped as error:
            got = f"{config.include} with {config.data.name}: {error.parts[0]}"
            raise InputError(got, "a data file and commands that LAMMPS runs", "correct them") from None
        lammps, labels = self._serial.lammps, self._data.labels
        masses = [lammps.extract_atom("mass")[k + 1] for k in range(lammps.extract_setting("ntypes"))]
        if config.elements and len(config.elements) != len(masses):
            got = f"{len(config.elements)} elements for {len(masses)} atom types"
            raise InputError(got, "one for each type", "correct teacher.elements")
        if strange := [symbol for symbol in config.elements if not atomic_numbers.get(symbol, 0)]:
            raise InputError(f"teacher.elements with {strange[0]}", "symbols of elements", "correct it")
        found = {}
        for kind in dict.fromkeys(self._data.types):
            k = labels.get(kind) or int(kind)
            found[kind] = atomic_numbers[config.elements[k - 1]] if config.elements else element(masses[k - 1], kind)
        return found


def element(mass: float, kind: str) -> int:
    """The atomic number of the one element of a mass (g/mol). InputError if there is none."""
    near = np.flatnonzero(np.abs(atomic_masses[1:] - mass) < MASS_G_MOL) + 1
    if len(near) != 1:
        got = f"a mass of {mass:g} g/mol of atom type {kind}"
        raise InputError(got, "that of one element", "give teacher.elements, one for each type")
    return int(near[0])
