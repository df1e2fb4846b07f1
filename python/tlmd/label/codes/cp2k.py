"""CP2K (Kuehne et al., J. Chem. Phys. 152, 194103, 2020): GPW, a GGA, D3, GTH pseudopotentials, MOLOPT bases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.frames.imports.cp2k import labels_of_output
from tlmd.label.codes.cp2k_input import merged, section, written
from tlmd.label.interfaces import Code, CodeConfig, NoLabel, Result, code, found, more_input
from tlmd.run.config import Section
from tlmd.run.errors import InputError
from tlmd.run.files import write_text
from tlmd.run.quantities import Length, Positive, Precision, Steps, Temperature

INPUT, OUTPUT = "cp2k.inp", "cp2k.out"
GUESS, RESTARTED = "guess.inp", "restarted.inp"  # a coarse grid, and the input from its orbitals on
GUESS_GRID = {"CUTOFF": 300.0, "REL_CUTOFF": 25.0, "NGRIDS": 4}  # docs/labels.md has what it saves
GRID = Annotated[int, Field(gt=0, le=100)]
INNER_STEPS = 12  # of OT: a preconditioner from the atomic guess is poor, and a later one much better
# Exchange and correlation, the parameters of D3, and the pseudopotentials that go with them
FUNCTIONALS = {
    "PBE": ({"PBE": {}}, "PBE", "GTH-PBE"),
    "revPBE": ({"PBE": {"PARAMETRIZATION": "REVPBE"}}, "revPBE", "GTH-PBE"),
    "RPBE": ({"GGA_X_RPBE": {}, "GGA_C_PBE": {}}, "RPBE", "GTH-PBE"),
    "PBEsol": ({"PBE": {"PARAMETRIZATION": "PBESOL"}}, "PBEsol", "GTH-PBE"),
    "BLYP": ({"BLYP": {}}, "BLYP", "GTH-BLYP"),
}


class KindConfig(Section):
    """Basis and pseudopotential of one element, where they are not those of all."""

    basis: str | None = Field(None, description="name in the basis file")
    potential: str | None = Field(None, description="name in the potential file, e.g. GTH-PBE-q11")


class CP2KConfig(CodeConfig):
    """CP2K: liquids, molecules and surfaces with a GGA and D3, as set up here."""

    elsewhere: ClassVar[tuple[str, ...]] = ("command", "coarse_guess")

    name: Literal["cp2k"]
    command: str = Field(
        "cp2k.psmp", description='launch, e.g. "mpirun -np {cores} cp2k.popt"; {cores} is that of the executor'
    )
    functional: Literal[tuple(FUNCTIONALS)] = Field("revPBE", description="exchange and correlation")
    dispersion: Literal["none", "D3", "D3BJ"] = Field(
        "D3", description="D3 with zero damping, or with that of Becke and Johnson; without the three-body term"
    )
    dispersion_cutoff_A: Length = Field(16.0, description="range of the pairs of D3")
    basis: str = Field("DZVP-MOLOPT-SR-GTH", description="name in the basis file; TZV2P-MOLOPT-GTH is larger")
    basis_file: str = Field("BASIS_MOLOPT", description="in CP2K's data folder, or an absolute path")
    potential: str | None = Field(None, description="name in the potential file; absent: the one of `functional`")
    potential_file: str = Field("GTH_POTENTIALS", description="in CP2K's data folder, or an absolute path")
    kinds: dict[str, KindConfig] = Field({}, description="elements with a basis or potential of their own, by symbol")
    cutoff_Ry: Annotated[float, Field(ge=50, le=5000)] = Field(1200.0, description="Ry, of the finest grid")
    rel_cutoff_Ry: Annotated[float, Field(ge=10, le=500)] = Field(40.0, description="Ry, of a gaussian's grid")
    eps_scf: Precision = Field(1e-6, description="error of the SCF at convergence")
    coarse_guess: bool = Field(
        True,
        description="whether the SCF starts from the orbitals of a coarse grid of 300 Ry where cutoff_Ry is twice that "
        "or more: the same labels in half the time; false: from atoms",
    )
    max_scf: Steps | None = Field(
        None, description="SCF steps; solver ot: until its preconditioner is made anew; absent: 12 (ot), 200"
    )
    outer_scf: GRID = Field(10, description="times the inner SCF of ot is begun, at most")
    solver: Literal["ot", "diagonalization"] = Field(
        "ot", description="ot: orbital transformation, for liquids and molecules; diagonalization: metals and surfaces"
    )
    minimizer: Literal["DIIS", "CG"] = Field("DIIS", description="of ot: DIIS is faster, CG converges more surely")
    preconditioner: Literal["FULL_ALL", "FULL_SINGLE_INVERSE", "FULL_KINETIC"] = Field(
        "FULL_ALL", description="of ot; FULL_ALL takes the fewest steps, the others are cheaper in large systems"
    )
    smearing_K: Temperature = Field(300.0, description="electronic temperature of diagonalization (Fermi-Dirac)")
    added_orbitals: Steps = Field(50, description="empty orbitals of diagonalization")
    mixing: Annotated[float, Field(gt=0, le=1)] = Field(0.2, description="of diagonalization: part of the new density")
    k_points: tuple[GRID, GRID, GRID] = Field((1, 1, 1), description="Monkhorst-Pack grid, for diagonalization")
    surface_dipole: bool = Field(False, description="dipole correction of a slab, along the third cell vector")
    vacuum_A: Positive = Field(5.0, description="A, around a molecule that is not periodic")
    input: dict[str, Any] = Field(
        {}, description="further sections and keywords, e.g. {FORCE_EVAL = {DFT = {QS = {EPS_DEFAULT = 1e-14}}}}"
    )


@code
class CP2K(Code):
    """Periodic in one or two directions: as in all three, with the cell's vacuum. The SCF starts from atoms, or from a
    coarse grid that did so."""

    config: CP2KConfig
    output = OUTPUT

    def __init__(self, config: CP2KConfig):
        super().__init__(config)
        if config.k_points != (1, 1, 1) and config.solver == "ot":
            raise InputError("k_points with solver = ot", 'solver = "diagonalization"', "change one of them")
        if unknown := [name for name in config.kinds if name not in chemical_symbols]:
            raise InputError(f"calculator.kinds.{unknown[0]}", "a chemical symbol", "correct it")

    def level(self) -> dict[str, str | float]:
        config = self.config
        k_points = {} if config.k_points == (1, 1, 1) else {"k_points": "x".join(map(str, config.k_points))}
        return {
            "functional": config.functional,
            "basis": config.basis,
            "cutoff_Ry": config.cutoff_Ry,
            "dispersion": config.dispersion,
        } | (k_points | more_input(config.input))

    def check(self, frame: Frame) -> None:
        if self.config.solver == "ot":
            self.multiplicity(frame)
        if frame.pbc.any() and abs(np.linalg.det(frame.cell)) < 1e-3:
            raise InputError("a periodic frame without three cell vectors", "vacuum as a cell vector", "add it")

    def command(self, cores: int) -> str:
        launch = self.config.command.replace("{cores}", str(cores))
        if not self._coarse_guess():
            return f"{launch} -i {INPUT} > {OUTPUT}"
        coarse = f"{launch} -i {GUESS} > guess.out  # where it fails, the next starts from atoms"
        return f"{coarse}\n{launch} -i {RESTARTED} > {OUTPUT}"

    def write(self, folder: Path, frame: Frame, stress: bool) -> list[str]:
        tree = merged(self._tree(frame, stress), self.config.input)
        write_text(folder / INPUT, written(tree))
        if self._coarse_guess():
            for name, changed in ((GUESS, self._coarse(tree)), (RESTARTED, self._restarted(tree))):
                write_text(folder / name, written(changed))
        return [INPUT]  # which defines the label, however the SCF starts

    def _coarse(self, tree: dict) -> dict:
        """The input of an SCF on the coarse grid, which leaves its orbitals."""
        dft, ot = tree["FORCE_EVAL"]["DFT"], self.config.solver == "ot"
        eps = {"EPS_SCF": max(1e-5 if ot else 1e-4, self.config.eps_scf)}
        scf = merged(dft["SCF"], eps | ({"OUTER_SCF": eps} if ot else {})) | {
            "PRINT": {"RESTART": {"BACKUP_COPIES": 0}}
        }
        dft = merged(dft, {"MGRID": GUESS_GRID, "QS": {"EPS_DEFAULT": 1e-8}}) | {"SCF": scf}
        force_eval = {"METHOD": "QS", "DFT": dft, "SUBSYS": tree["FORCE_EVAL"]["SUBSYS"]}
        return {"GLOBAL": {"PROJECT": "guess", "RUN_TYPE": "ENERGY"}, "FORCE_EVAL": force_eval}

    def _restarted(self, tree: dict) -> dict:
        """The input whose SCF starts from the orbitals of the coarse grid."""
        orbitals = "guess-RESTART." + ("wfn" if self.config.k_points == (1, 1, 1) else "kp")
        return merged(
            tree, {"FORCE_EVAL": {"DFT": {"WFN_RESTART_FILE_NAME": orbitals, "SCF": {"SCF_GUESS": "RESTART"}}}}
        )

    def _coarse_guess(self) -> bool:
        return self.config.coarse_guess and self.config.cutoff_Ry >= 2 * GUESS_GRID["CUTOFF"]

    def _tree(self, frame: Frame, stress: bool) -> dict:
        """The whole input as nested dicts: a section is a dict, repeated lines are a list."""
        force_eval = {
            "METHOD": "QS",
            **({"STRESS_TENSOR": "ANALYTICAL"} if stress else {}),
            "DFT": self._dft(frame),
            "SUBSYS": self._subsystem(frame),
            "PRINT": {"FORCES ON": {}, **({"STRESS_TENSOR ON": {}} if stress else {})},
        }
        return {
            "GLOBAL": {"PROJECT": "label", "RUN_TYPE": "ENERGY_FORCE", "PRINT_LEVEL": "MEDIUM"},
            "FORCE_EVAL": force_eval,
        }

    def _dft(self, frame: Frame) -> dict:
        config = self.config
        dft = {
            "BASIS_SET_FILE_NAME": config.basis_file,
            "POTENTIAL_FILE_NAME": config.potential_file,
            "CHARGE": self.charge(frame),
        }
        if config.solver == "ot" or "multiplicity" in frame.info or config.multiplicity is not None:
            multiplicity = self.multiplicity(frame)
            dft["MULTIPLICITY"] = multiplicity
            if multiplicity > 1:
                dft["UKS"] = "TRUE"
        if config.surface_dipole:
            dft |= {"SURFACE_DIPOLE_CORRECTION": "TRUE", "SURF_DIP_DIR": "Z"}
        if config.k_points != (1, 1, 1):
            grid = "MONKHORST-PACK " + " ".join(map(str, config.k_points))
            dft["KPOINTS"] = {"SCHEME": grid, "FULL_GRID": "TRUE"}
        if not frame.pbc.any():
            dft["POISSON"] = {"PERIODIC": "NONE", "PSOLVER": "MT"}
        dft["MGRID"] = {"CUTOFF": config.cutoff_Ry, "REL_CUTOFF": config.rel_cutoff_Ry, "NGRIDS": 5}
        dft["QS"] = {"EPS_DEFAULT": 1e-10}
        dft["SCF"] = self._scf()
        dft["XC"] = self._xc()
        return dft

    def _scf(self) -> dict:
        config = self.config
        steps = config.max_scf or {"ot": INNER_STEPS, "diagonalization": 200}[config.solver]
        scf = {"SCF_GUESS": "ATOMIC", "EPS_SCF": config.eps_scf, "MAX_SCF": steps}
        if config.solver == "ot":
            scf["OT"] = {"MINIMIZER": config.minimizer, "PRECONDITIONER": config.preconditioner}
            scf["OUTER_SCF"] = {"EPS_SCF": config.eps_scf, "MAX_SCF": config.outer_scf - 1}
        else:
            scf["ADDED_MOS"] = config.added_orbitals
            scf["DIAGONALIZATION"] = {"ALGORITHM": "STANDARD"}
            scf["MIXING"] = {"METHOD": "BROYDEN_MIXING", "ALPHA": config.mixing, "NBROYDEN": 8}
            scf["SMEAR ON"] = {"METHOD": "FERMI_DIRAC", "ELECTRONIC_TEMPERATURE [K]": config.smearing_K}
        scf["PRINT"] = {"RESTART OFF": {}}
        return scf

    def _xc(self) -> dict:
        functional, reference, _ = FUNCTIONALS[self.config.functional]
        xc: dict = {"XC_FUNCTIONAL": functional}
        if self.config.dispersion != "none":
            pairs = {
                "TYPE": {"D3": "DFTD3", "D3BJ": "DFTD3(BJ)"}[self.config.dispersion],
                "PARAMETER_FILE_NAME": "dftd3.dat",
                "REFERENCE_FUNCTIONAL": reference,
                "R_CUTOFF [angstrom]": self.config.dispersion_cutoff_A,
                "CALCULATE_C9_TERM": "FALSE",
            }
            xc["VDW_POTENTIAL"] = {"POTENTIAL_TYPE": "PAIR_POTENTIAL", "PAIR_POTENTIAL": pairs}
        return xc

    def _subsystem(self, frame: Frame) -> dict:
        """Cell, coordinates and kinds; a molecule sits in a cube twice as long as itself with its vacuum."""
        config, positions = self.config, frame.positions
        if frame.pbc.any():
            vectors = {name: " ".join(f"{x:.10f}" for x in row) for name, row in zip("ABC", frame.cell, strict=True)}
            cell = vectors | {"PERIODIC": "XYZ"}
        else:
            low, high = positions.min(0), positions.max(0)
            edge = 2 * (float((high - low).max()) + config.vacuum_A)  # what the Poisson solver of a molecule asks for
            positions = positions - (low + high) / 2 + edge / 2
            cell = {"ABC": f"{edge:.6f} {edge:.6f} {edge:.6f}", "PERIODIC": "NONE"}
        symbols = [chemical_symbols[z] for z in frame.numbers]
        rows = [f"{name} " + " ".join(f"{x:.9f}" for x in r) for name, r in zip(symbols, positions, strict=True)]
        usual = config.potential or FUNCTIONALS[config.functional][2]
        kinds = {}
        for name in sorted(set(symbols)):
            own = config.kinds.get(name, KindConfig())
            kinds[f"KIND {name}"] = {"BASIS_SET": own.basis or config.basis, "POTENTIAL": own.potential or usual}
        return {"CELL": cell, "COORD": {"": rows}, **kinds}

    def read(self, folder: Path, frame: Frame, stress: bool) -> Result:
        return read_output((folder / OUTPUT).read_text(encoding="utf-8", errors="replace"), len(frame), stress)


def read_output(text: str, n_atoms: int, stress: bool) -> Result:
    """The labels in an output of CP2K; NoLabel if the run or its SCF did not end well."""
    aborted = section(text, r"^ \*.*\[ABORT\]", r"^ \*{20,}$")
    if aborted:
        words = " ".join(line.strip(" *\\/_|[]O") for line in aborted)
        raise NoLabel(f"CP2K aborted: {' '.join(words.split())[:200]}")
    if "SCF run NOT converged" in text or "outer SCF loop FAILED to converge" in text:
        steps = len(_steps(text))
        raise NoLabel(f"SCF not converged in {steps} steps" if steps else "SCF not converged")
    if "PROGRAM ENDED AT" not in text:
        raise NoLabel("CP2K did not end: killed, out of memory, or still running")
    energies, forces, tensor = labels_of_output(text)
    if not energies:
        raise NoLabel("no energy in the output")
    if forces is None or len(forces) != n_atoms:
        raise NoLabel(f"forces of {0 if forces is None else len(forces)} atoms in the output, {n_atoms} in the frame")
    if stress and tensor is None:
        raise NoLabel("no stress in the output")
    version = found(r"CP2K\| version string:\s+CP2K version (\S+)", text, "version of CP2K")[1]
    symmetric = (tensor + tensor.T) / 2 if stress else None
    return Result(energies[-1], forces, symmetric, "CP2K", version, len(_steps(text)) or None)


def _steps(text: str) -> list[str]:
    """The lines of the steps of the SCF."""
    return [
        line
        for line in text.splitlines()
        if len(line.split()) >= 6
        and line.split()[0].isdigit()
        and line.split()[1] in ("OT", "P_Mix/Diag.", "Broy./Diag.")
    ]
