"""The configurations of tl-generate and the terms of tl-calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from tlmd.run.config import ConfigPath, Section, StageConfig, absolute

Range = tuple[float, float]  # low, high


class SystemConfig(Section):
    """What every kind of classical system has: `frames` in all, made in work items of `frames_per_item`."""

    matter: ClassVar[str] = "water"  # what it is made of, and what its teacher must know; any: the file decides

    frames: int = Field(gt=0)
    frames_per_item: int = Field(10, gt=0)


def _ordered(value: Range) -> Range:
    if value[0] > value[1]:
        raise ValueError("the low end first, then the high end")
    return value


def _python(value: str, info: ValidationInfo) -> str:
    """package.module:function, or file.py:function with the file relative to the folder of the TOML."""
    module, _, name = value.partition(":")
    if not (module and name.isidentifier()):
        raise ValueError("package.module:function or file.py:function")
    return f"{absolute(Path(module), info)}:{name}" if module.endswith(".py") else value


Positive = Annotated[float, Field(gt=0)]
Ordered = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]


class BulkConfig(SystemConfig):
    """Trajectories of a periodic liquid, each at its own temperature, density and shape of box."""

    kind: Literal["bulk"]
    molecules: int = Field(64, gt=0)
    temperature_K: Ordered = (250.0, 700.0)
    density_g_cm3: Ordered = (0.7, 1.3)
    equilibrate_ps: Positive = 3.0
    spacing_ps: Positive = 0.5
    aspect: float = Field(0.0, ge=0, lt=0.5)  # edges differ by up to this fraction


class RattledConfig(BulkConfig):
    """Bulk frames with each atom displaced and the box strained; the amplitude is drawn anew for each frame."""

    kind: Literal["rattled"]
    displacement_A: tuple[float, float] = (0.02, 0.12)  # standard deviation
    strain: float = Field(0.03, ge=0, lt=0.2)  # standard deviation of each component


class StretchedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules gets new bond lengths and a new angle."""

    kind: Literal["stretched"]
    fraction: float = Field(0.25, gt=0, le=1)
    bond_A: Ordered = (0.80, 1.35)
    angle_deg: Ordered = (80.0, 150.0)


class ClusterConfig(SystemConfig):
    """Trajectories of a free cluster, `molecules` from low to high, held together while it is sampled."""

    kind: Literal["cluster"]
    molecules: tuple[int, int] = (2, 12)
    temperature_K: Ordered = (150.0, 500.0)
    equilibrate_ps: Positive = 3.0
    spacing_ps: Positive = 0.5


class MonomerConfig(SystemConfig):
    """Single molecules, bond lengths and angle drawn uniformly."""

    kind: Literal["monomer"]
    frames_per_item: int = Field(100, gt=0)
    bond_A: Ordered = (0.75, 1.5)
    angle_deg: Ordered = (70.0, 175.0)


class DimerConfig(SystemConfig):
    """Two molecules in random orientations, O-O distance scanned evenly; intramolecular geometry thermal."""

    kind: Literal["dimer"]
    frames_per_item: int = Field(100, gt=0)
    distance_A: Ordered = (2.2, 6.0)
    displacement_A: float = Field(0.04, ge=0)  # standard deviation of each coordinate


class ContactConfig(SystemConfig):
    """Two molecules of which one pair of atoms is brought near: O-O, O-H and H-H in turn, distances scanned evenly.

    Dynamics of the liquid never comes here, so that nothing else teaches a network to keep atoms apart.
    """

    kind: Literal["contact"]
    frames_per_item: int = Field(100, gt=0)
    oo_A: Ordered = (1.9, 3.0)
    oh_A: Ordered = (1.25, 2.2)
    hh_A: Ordered = (0.6, 2.2)
    displacement_A: float = Field(0.04, ge=0)  # standard deviation of each coordinate


class TurnedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules is turned at random about O, down to the distances given."""

    kind: Literal["turned"]
    fraction: float = Field(0.25, gt=0, le=1)
    oh_A: Positive = 1.3
    hh_A: Positive = 0.7


class FileConfig(SystemConfig):
    """Frames of a file, evenly spread, to be labelled anew: another teacher on the same configurations."""

    matter: ClassVar[str] = "any"
    kind: Literal["file"]
    file: ConfigPath
    frames_per_item: int = Field(100, gt=0)


class DisplacedConfig(SystemConfig):
    """Frames of a file, evenly spread, with every atom displaced and the molecule on the surface (normal: z) moved.

    A moved adsorbate is turned by up to `turn_deg` about its centre, scaled, lifted and shifted; a transferred hydrogen
    is bound to an atom of the surface near it. Amplitudes are drawn anew for each frame.
    """

    matter: ClassVar[str] = "material"
    kind: Literal["displaced"]
    file: ConfigPath
    frames_per_item: int = Field(50, gt=0)
    displacement_A: tuple[float, float] = (0.02, 0.15)  # standard deviation
    adsorbate: list[str] = Field([], description="its elements")
    moved: float = Field(0.5, ge=0, le=1)  # part of the frames
    turn_deg: float = Field(90.0, ge=0, le=180)
    stretch: Ordered = (0.9, 1.2)  # factor on distances to the centre
    lift_A: tuple[float, float] = (-0.3, 3.0)
    shift_A: float = Field(1.0, ge=0)  # standard deviation along x and y
    transferred: float = Field(0.2, ge=0, le=1)  # part of the frames


class TrajectoryConfig(DisplacedConfig):
    """Trajectories of the teacher, each from one such frame at its own temperature."""

    kind: Literal["trajectory"]
    frames_per_item: int = Field(20, gt=0)
    temperature_K: Ordered = (200.0, 1000.0)
    equilibrate_ps: Positive = 0.1
    spacing_ps: Positive = 0.03


class EnumerateConfig(Section):
    """Molecules grown by valence rules."""

    count: int = Field(gt=0)
    elements: list[Literal["C", "N", "O", "S", "F"]] = Field(["C", "N", "O", "S"], min_length=1)
    heavy_atoms: tuple[int, int] = (1, 7)
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _sizes(self) -> EnumerateConfig:
        if not 1 <= self.heavy_atoms[0] <= self.heavy_atoms[1]:
            raise ValueError("heavy_atoms of at least 1, the low end first")
        return self


class MoleculesConfig(SystemConfig):
    """Single molecules: those of `smiles`, those in the frames of `file`, and enumerated ones.

    The frames are shared out evenly over them, or over evenly chosen ones where each would get fewer than per_molecule.
    """

    matter: ClassVar[str] = "molecules"
    frames_per_item: int = Field(200, gt=0)
    smiles: list[str] = Field([])
    file: ConfigPath | None = Field(None, description="frames of single molecules; bonds are found from the geometry")
    enumerate: EnumerateConfig | None = None
    per_molecule: int = Field(1, gt=0)

    @model_validator(mode="after")
    def _has_molecules(self) -> MoleculesConfig:
        if not self.smiles and self.file is None and self.enumerate is None:
            raise ValueError("molecules by smiles, file or enumerate")
        return self


class ConformersConfig(MoleculesConfig):
    """Conformers by distance geometry, relaxed or not, each atom displaced by an amplitude drawn for each frame."""

    kind: Literal["conformers"]
    relaxed: float = Field(0.5, ge=0, le=1)  # part of the frames that is relaxed before the displacement
    displacement_A: tuple[float, float] = (0.0, 0.05)  # standard deviation


class NormalModesConfig(MoleculesConfig):
    """Relaxed conformers displaced along their normal modes by the harmonic distribution of a temperature."""

    kind: Literal["normal_modes"]
    temperature_K: Ordered = (200.0, 1500.0)
    largest_A: Positive = 0.4  # displacement of an atom by one mode, at most


class BondsConfig(MoleculesConfig):
    """Relaxed conformers with one or more bonds (not in rings) and angles at new values; the parts stay rigid."""

    kind: Literal["bonds"]
    stretch: Ordered = (0.85, 1.3)  # factor on the length
    bend_deg: Ordered = (1.0, 25.0)  # change of the angle, of either sign
    changes: int = Field(3, gt=0)  # bonds, and angles, of a frame, at most


class LangevinConfig(MoleculesConfig):
    """Trajectories of the teacher at temperatures drawn for each molecule."""

    kind: Literal["langevin"]
    temperature_K: Ordered = (200.0, 1000.0)
    equilibrate_ps: Positive = 1.0
    spacing_ps: Positive = 0.1
    timestep_fs: Positive = 0.5


AnySystem = Annotated[
    BulkConfig
    | RattledConfig
    | StretchedConfig
    | TurnedConfig
    | ClusterConfig
    | MonomerConfig
    | DimerConfig
    | ContactConfig
    | FileConfig
    | DisplacedConfig
    | TrajectoryConfig
    | ConformersConfig
    | NormalModesConfig
    | BondsConfig
    | LangevinConfig,
    Field(discriminator="kind"),
]


class WaterTeacherConfig(Section):
    """What every teacher of water has; LAMMPS evaluates it."""

    matter: ClassVar[tuple[str, ...]] = ("water",)
    cutoff_A: Positive = 9.0  # of labels of periodic frames; free clusters have none
    accuracy: Positive = 1e-6  # of pppm, relative
    sampling_cutoff_A: Positive = 6.0  # of the trajectories, that only propose configurations
    sampling_accuracy: Positive = 1e-3
    timestep_fs: Positive = 1.0
    min_contact_A: Positive = 1.25  # O-H of different molecules: nearer frames are dropped (H has no core)


class SPCFwConfig(WaterTeacherConfig):
    """The teacher SPC/Fw: flexible water (Wu, Tepper, Voth 2006)."""

    name: Literal["spcfw"] = "spcfw"


class CalibratedConfig(WaterTeacherConfig):
    """A force field that tl-calibrate matched to a few DFT frames."""

    name: Literal["calibrated"]
    include: ConfigPath = Field(description="forcefield.in of the run folder of tl-calibrate")


class MMFF94Config(Section):
    """The teacher MMFF94: single organic molecules, evaluated by RDKit."""

    matter: ClassVar[tuple[str, ...]] = ("molecules",)
    name: Literal["mmff94"]
    variant: Literal["MMFF94", "MMFF94s"] = "MMFF94"
    energies: Literal["bonds", "mmff94"] = "bonds"  # zero of energy: free atoms by bond energies, or MMFF94's own


class AnyAtomsConfig(Section):
    """What every teacher of any atoms has."""

    matter: ClassVar[tuple[str, ...]] = ("molecules", "material")
    timestep_fs: Positive = 0.5  # of trajectories; molecules have their own
    min_contact_A: Positive = 0.5  # frames with nearer atoms are dropped


class XTBConfig(AnyAtomsConfig):
    """The teacher xTB: extended tight binding, evaluated by tblite."""

    name: Literal["xtb"]
    method: Literal["GFN1-xTB", "GFN2-xTB"] = "GFN1-xTB"
    charge: float = Field(0.0, description="of every frame, e")
    unpaired_electrons: int = Field(0, ge=0)


class ASEConfig(AnyAtomsConfig):
    """A teacher by any ASE calculator: a foundation model, a method of another package."""

    name: Literal["ase"]
    calculator: Annotated[str, AfterValidator(_python)] = Field(
        description="what makes it: package.module:function, or file.py:function"
    )
    arguments: dict[str, Any] = Field({}, description="of that function")


class COMB3Config(Section):
    """The teacher COMB3: charge-optimised many-body potential, evaluated by LAMMPS."""

    matter: ClassVar[tuple[str, ...]] = ("material",)
    name: Literal["comb3"]
    charge_precision: Positive = 1e-4  # V, of the electronegativities in labels
    timestep_fs: Positive = 1.0  # of trajectories
    min_contact_A: Positive = 0.7  # frames with nearer atoms are dropped


class GenerateConfig(StageConfig):
    """tl-generate: which systems, labelled by which teacher."""

    teacher: Annotated[
        SPCFwConfig | CalibratedConfig | MMFF94Config | XTBConfig | ASEConfig | COMB3Config, Field(discriminator="name")
    ] = SPCFwConfig()
    scale: float = Field(1.0, gt=0)  # multiplies the number of frames of every system
    max_force: Positive = 30.0  # eV/A: frames with a larger component are dropped
    energy_tolerance: Positive = 1e-6  # eV per atom, between a label and its re-evaluation from the written file
    force_tolerance: Positive = 5e-5  # eV/A; the mesh of pppm may change by the rounding of the box
    recheck: float = Field(1.0, gt=0, le=1, description="part of the labels that is evaluated again from the file")
    systems: dict[str, AnySystem]

    @model_validator(mode="after")
    def _has_systems(self) -> GenerateConfig:
        if not self.systems:
            raise ValueError("at least one table [systems.NAME]")
        for name, system in self.systems.items():
            if system.matter not in ("any", *self.teacher.matter):
                matter = " or ".join(self.teacher.matter)
                raise ValueError(f"systems of {matter} for {self.teacher.name}; {name} is {system.matter}")
        return self


class CalibrateTermsConfig(Section):
    """The terms of tl-calibrate and how firmly they keep to their priors: units of regularisation are eV/A."""

    cutoff_A: Positive = Field(6.0, description="end of the pair splines")
    low_A: tuple[Positive, Positive, Positive] = Field(
        (2.2, 1.2, 1.2), description="start of the O-O, O-H, H-H splines"
    )
    spacing_A: Positive = Field(0.24, description="distance of their knots")
    smoothness: Positive = Field(10.0, description="on second differences of spline coefficients")
    ridge: Positive = Field(0.03, description="on spline coefficients")
    molecule: Positive = Field(3.0, description="on the polynomials of a molecule, at 0.2 A and 0.5 rad")
    charge: Positive = Field(0.3, description="on the factor of the product of charges")
