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

    frames: int = Field(gt=0, description="number of frames in all")
    frames_per_item: int = Field(
        10, gt=0, description="frames of one work item (one trajectory, for kinds with dynamics)"
    )


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
    molecules: int = Field(64, gt=0, description="molecules in a box")
    temperature_K: Ordered = Field((250.0, 700.0), description="K, lowest and highest; drawn for each trajectory")
    density_g_cm3: Ordered = Field((0.7, 1.3), description="g/cm3, lowest and highest; drawn for each trajectory")
    equilibrate_ps: Positive = Field(3.0, description="ps before the first frame")
    spacing_ps: Positive = Field(0.5, description="ps between frames")
    aspect: float = Field(0.0, ge=0, lt=0.5, description="the edges of the box differ by up to this fraction")


class RattledConfig(BulkConfig):
    """Bulk frames with each atom displaced and the box strained; the amplitude is drawn anew for each frame."""

    kind: Literal["rattled"]
    displacement_A: tuple[float, float] = Field(
        (0.02, 0.12), description="A, lowest and highest standard deviation of the displacements"
    )
    strain: float = Field(0.03, ge=0, lt=0.2, description="standard deviation of each component of the strain")


class StretchedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules gets new bond lengths and a new angle."""

    kind: Literal["stretched"]
    fraction: float = Field(0.25, gt=0, le=1, description="part of the molecules that is changed")
    bond_A: Ordered = Field((0.80, 1.35), description="A, shortest and longest bond")
    angle_deg: Ordered = Field((80.0, 150.0), description="degrees, smallest and largest angle")


class ClusterConfig(SystemConfig):
    """Trajectories of a free cluster, `molecules` from low to high, held together while it is sampled."""

    kind: Literal["cluster"]
    molecules: tuple[int, int] = Field((2, 12), description="molecules of a cluster, fewest and most")
    temperature_K: Ordered = Field((150.0, 500.0), description="K, lowest and highest; drawn for each trajectory")
    equilibrate_ps: Positive = Field(3.0, description="ps before the first frame")
    spacing_ps: Positive = Field(0.5, description="ps between frames")


class MonomerConfig(SystemConfig):
    """Single molecules, bond lengths and angle drawn uniformly."""

    kind: Literal["monomer"]
    frames_per_item: int = Field(100, gt=0, description="frames of one work item")
    bond_A: Ordered = Field((0.75, 1.5), description="A, shortest and longest bond")
    angle_deg: Ordered = Field((70.0, 175.0), description="degrees, smallest and largest angle")


class DimerConfig(SystemConfig):
    """Two molecules in random orientations, O-O distance scanned evenly; intramolecular geometry thermal."""

    kind: Literal["dimer"]
    frames_per_item: int = Field(100, gt=0, description="frames of one work item")
    distance_A: Ordered = Field((2.2, 6.0), description="A, shortest and longest O-O distance")
    displacement_A: float = Field(0.04, ge=0, description="A, standard deviation of each coordinate")


class ContactConfig(SystemConfig):
    """Two molecules of which one pair of atoms is brought near: O-O, O-H and H-H in turn, distances scanned evenly.

    Dynamics of the liquid never comes here, so that nothing else teaches a network to keep atoms apart.
    """

    kind: Literal["contact"]
    frames_per_item: int = Field(100, gt=0, description="frames of one work item")
    oo_A: Ordered = Field((1.9, 3.0), description="A, shortest and longest O-O distance")
    oh_A: Ordered = Field((1.25, 2.2), description="A, shortest and longest O-H distance")
    hh_A: Ordered = Field((0.6, 2.2), description="A, shortest and longest H-H distance")
    displacement_A: float = Field(0.04, ge=0, description="A, standard deviation of each coordinate")


class TurnedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules is turned at random about O, down to the distances given."""

    kind: Literal["turned"]
    fraction: float = Field(0.25, gt=0, le=1, description="part of the molecules that is turned")
    oh_A: Positive = Field(1.3, description="A, shortest O-H distance of two molecules")
    hh_A: Positive = Field(0.7, description="A, shortest H-H distance of two molecules")


class FileConfig(SystemConfig):
    """Frames of a file, evenly spread, to be labelled anew: another teacher on the same configurations."""

    matter: ClassVar[str] = "any"
    kind: Literal["file"]
    file: ConfigPath = Field(description="frames to be labelled (extxyz, .gz, .xz, or an ASE database)")
    frames_per_item: int = Field(100, gt=0, description="frames of one work item")


class DisplacedConfig(SystemConfig):
    """Frames of a file, evenly spread, with every atom displaced and the molecule on the surface (normal: z) moved.

    A moved adsorbate is turned by up to `turn_deg` about its centre, scaled, lifted and shifted; a transferred hydrogen
    is bound to an atom of the surface near it. Amplitudes are drawn anew for each frame.
    """

    matter: ClassVar[str] = "material"
    kind: Literal["displaced"]
    file: ConfigPath = Field(description="frames to start from; their labels are not read")
    frames_per_item: int = Field(50, gt=0, description="frames of one work item")
    displacement_A: tuple[float, float] = Field(
        (0.02, 0.15), description="A, lowest and highest standard deviation of the displacements"
    )
    adsorbate: list[str] = Field([], description="elements of the molecule on the surface")
    moved: float = Field(0.5, ge=0, le=1, description="part of the frames in which the adsorbate is moved")
    turn_deg: float = Field(90.0, ge=0, le=180, description="degrees, largest turn of the adsorbate about its centre")
    stretch: Ordered = Field(
        (0.9, 1.2), description="smallest and largest factor on distances to the centre of the adsorbate"
    )
    lift_A: tuple[float, float] = Field((-0.3, 3.0), description="A, lowest and highest shift of the adsorbate along z")
    shift_A: float = Field(1.0, ge=0, description="A, standard deviation of the shift along x and y")
    transferred: float = Field(
        0.2, ge=0, le=1, description="part of the frames in which a hydrogen is bound to an atom of the surface"
    )


class TrajectoryConfig(DisplacedConfig):
    """Trajectories of the teacher, each from one such frame at its own temperature."""

    kind: Literal["trajectory"]
    frames_per_item: int = Field(20, gt=0, description="frames of one work item")
    temperature_K: Ordered = Field((200.0, 1000.0), description="K, lowest and highest; drawn for each trajectory")
    equilibrate_ps: Positive = Field(0.1, description="ps before the first frame")
    spacing_ps: Positive = Field(0.03, description="ps between frames")


class EnumerateConfig(Section):
    """Molecules grown by valence rules."""

    count: int = Field(gt=0, description="number of molecules")
    elements: list[Literal["C", "N", "O", "S", "F"]] = Field(
        ["C", "N", "O", "S"], min_length=1, description="elements of the heavy atoms"
    )
    heavy_atoms: tuple[int, int] = Field((1, 7), description="fewest and most heavy atoms")
    seed: int = Field(1, ge=0, description="of the choice of molecules")

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
    frames_per_item: int = Field(200, gt=0, description="frames of one work item")
    smiles: list[str] = Field([], description="SMILES, each of one molecule")
    file: ConfigPath | None = Field(None, description="frames of single molecules; bonds are found from the geometry")
    enumerate: EnumerateConfig | None = Field(None, description="molecules grown by valence rules")
    per_molecule: int = Field(
        1, gt=0, description="fewest frames of a molecule; with more molecules than that allows, some are left out"
    )

    @model_validator(mode="after")
    def _has_molecules(self) -> MoleculesConfig:
        if not self.smiles and self.file is None and self.enumerate is None:
            raise ValueError("molecules by smiles, file or enumerate")
        return self


class ConformersConfig(MoleculesConfig):
    """Conformers by distance geometry, relaxed or not, each atom displaced by an amplitude drawn for each frame."""

    kind: Literal["conformers"]
    relaxed: float = Field(0.5, ge=0, le=1, description="part of the frames that is relaxed before the displacement")
    displacement_A: tuple[float, float] = Field(
        (0.0, 0.05), description="A, lowest and highest standard deviation of the displacements"
    )


class NormalModesConfig(MoleculesConfig):
    """Relaxed conformers displaced along their normal modes by the harmonic distribution of a temperature."""

    kind: Literal["normal_modes"]
    temperature_K: Ordered = Field((200.0, 1500.0), description="K, lowest and highest; drawn for each frame")
    largest_A: Positive = Field(0.4, description="A, largest displacement of an atom by one mode")


class BondsConfig(MoleculesConfig):
    """Relaxed conformers with one or more bonds (not in rings) and angles at new values; the parts stay rigid."""

    kind: Literal["bonds"]
    stretch: Ordered = Field((0.85, 1.3), description="smallest and largest factor on a bond length")
    bend_deg: Ordered = Field(
        (1.0, 25.0), description="degrees, smallest and largest change of an angle, of either sign"
    )
    changes: int = Field(3, gt=0, description="largest number of bonds, and of angles, that are changed in a frame")


class LangevinConfig(MoleculesConfig):
    """Trajectories of the teacher at temperatures drawn for each molecule."""

    kind: Literal["langevin"]
    temperature_K: Ordered = Field((200.0, 1000.0), description="K, lowest and highest; drawn for each molecule")
    equilibrate_ps: Positive = Field(1.0, description="ps before the first frame")
    spacing_ps: Positive = Field(0.1, description="ps between frames")
    timestep_fs: Positive = Field(0.5, description="fs, time step")


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
    cutoff_A: Positive = Field(9.0, description="A, cutoff for the labels of periodic frames; free clusters have none")
    accuracy: Positive = Field(1e-6, description="relative accuracy of pppm in labels")
    sampling_cutoff_A: Positive = Field(
        6.0, description="A, cutoff of the trajectories, which only propose configurations"
    )
    sampling_accuracy: Positive = Field(1e-3, description="relative accuracy of pppm in the trajectories")
    timestep_fs: Positive = Field(1.0, description="fs, time step of the trajectories")
    min_contact_A: Positive = Field(
        1.25, description="A: frames with a shorter O-H distance of two molecules are dropped"
    )


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
    variant: Literal["MMFF94", "MMFF94s"] = Field("MMFF94", description="MMFF94s favours planar nitrogen")
    energies: Literal["bonds", "mmff94"] = Field(
        "bonds", description="zero of energy: free atoms by tabulated bond energies (bonds), or MMFF94's own"
    )


class AnyAtomsConfig(Section):
    """What every teacher of any atoms has."""

    matter: ClassVar[tuple[str, ...]] = ("molecules", "material")
    timestep_fs: Positive = Field(0.5, description="fs, time step of trajectories; molecules have their own")
    min_contact_A: Positive = Field(0.5, description="A: frames with nearer atoms are dropped")


class XTBConfig(AnyAtomsConfig):
    """The teacher xTB: extended tight binding, evaluated by tblite."""

    name: Literal["xtb"]
    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN1-xTB", description="parametrisation of tblite")
    charge: float = Field(0.0, description="e, charge of every frame")
    unpaired_electrons: int = Field(0, ge=0, description="number of unpaired electrons of every frame")


class ASEConfig(AnyAtomsConfig):
    """A teacher by any ASE calculator: a foundation model, a method of another package."""

    name: Literal["ase"]
    calculator: Annotated[str, AfterValidator(_python)] = Field(
        description="what makes it: package.module:function, or file.py:function"
    )
    arguments: dict[str, Any] = Field({}, description="arguments of that function")


class COMB3Config(Section):
    """The teacher COMB3: charge-optimised many-body potential, evaluated by LAMMPS."""

    matter: ClassVar[tuple[str, ...]] = ("material",)
    name: Literal["comb3"]
    charge_precision: Positive = Field(1e-4, description="V, precision of the electronegativities in labels")
    timestep_fs: Positive = Field(1.0, description="fs, time step of trajectories")
    min_contact_A: Positive = Field(0.7, description="A: frames with nearer atoms are dropped")


class GenerateConfig(StageConfig):
    """tl-generate: which systems, labelled by which teacher."""

    teacher: Annotated[
        SPCFwConfig | CalibratedConfig | MMFF94Config | XTBConfig | ASEConfig | COMB3Config, Field(discriminator="name")
    ] = Field(SPCFwConfig(), description="what labels the frames; its `name` chooses the further keys")
    scale: float = Field(1.0, gt=0, description="factor on the number of frames of every system")
    max_force: Positive = Field(30.0, description="eV/A: frames with a larger force component are dropped")
    energy_tolerance: Positive = Field(
        1e-6, description="eV/atom, largest difference of a label and its evaluation from the written file"
    )
    force_tolerance: Positive = Field(
        5e-5, description="eV/A, the same for forces; the mesh of pppm may change by the rounding of the box"
    )
    recheck: float = Field(1.0, gt=0, le=1, description="part of the labels that is evaluated again from the file")
    systems: dict[str, AnySystem] = Field(
        description="the systems, each under a name of your choice; their `kind` chooses the further keys"
    )

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
