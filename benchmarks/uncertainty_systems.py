"""What benchmarks/uncertainty.py judges committees on: starts, and frames with labels of GFN1-xTB in place of DFT.

water: 32 molecules, start water-spcfw-f64, or `liquid`, a start that knows SPC/Fw's liquid at 300 K alone.
malonaldehyde: the enol, start pretrained on MMFF94 of its relaxed conformers and trajectories, which break no bond.
methanol: 8 molecules, start pretrained on MMFF94 of its liquid. surface: formate on Cu(110), start pretrained on COMB3.
"""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.config import to_toml

BIN = Path(sysconfig.get_path("scripts"))
INPUTS = Path(__file__).resolve().parents[1] / "inputs"
Sets = dict[str, tuple[int, dict[str, tuple[int, int, dict[str, Any]]]]]


class System(NamedTuple):
    """sets: seed, and frames, frames of one item and keys of each system of tl-generate; teacher: proposes them.

    start: frames and keys of each system, and steps of tl-pretrain; or a shipped model. made: further sets, from the
    test frames. hot: of the model's own MD, K, beside 300.
    """

    teacher: dict[str, Any]
    sets: Sets
    start: str | tuple[dict[str, Any], dict[str, tuple[int, int, dict[str, Any]]], int]
    hot: int = 600
    made: tuple[tuple[str, Callable[[list[Frame]], list[Frame]]], ...] = ()


def liquid(kind: str, density: float, kelvin: float, width: float = 0.02, **keys: Any) -> dict[str, Any]:
    """Keys of a system of a liquid within `width` of a density (g/cm3) and 5 K of a temperature."""
    dense = [round(density - width, 3), round(density + width, 3)]
    return {"kind": kind, "temperature_K": [kelvin - 5, kelvin + 5], "density_g_cm3": dense} | keys


def sets_of_a_liquid(one: float, thin: float, dense: float, hot: float, **keys: Any) -> Sets:
    """The sets of a liquid of density `one`."""
    known = liquid("bulk", one, 300, equilibrate_ps=2.0, spacing_ps=0.3, **keys)
    keys |= {"equilibrate_ps": 1.0, "spacing_ps": 0.2}
    return {
        "train": (1, {"ambient": (20, 5, known)}),
        "valid": (2, {"ambient": (10, 5, known)}),
        "test": (3, {"ambient": (30, 5, known)}),
        "hot": (4, {"hot": (16, 4, liquid("bulk", one, hot, **keys) | {"temperature_K": [hot - 10, hot + 10]})}),
        "wide": (
            5,
            {
                "dense": (8, 2, liquid("bulk", dense, 300, 0.025, **keys)),
                "thin": (8, 2, liquid("bulk", thin, 300, 0.025, **keys)),
            },
        ),
        "stretched": (6, {"stretched": (16, 4, liquid("stretched", one, 300, **keys))}),
        "turned": (7, {"turned": (16, 4, liquid("turned", one, 300, **keys))}),
    }


def handed_over(frames: list[Frame]) -> list[Frame]:
    """The proton of malonaldehyde between its two oxygens, at 0.35 to 0.65 of the way; 16 frames."""
    found = []
    for frame, part in zip(frames, np.linspace(0.35, 0.65, 16), strict=False):
        first, second = np.flatnonzero(frame.numbers == 8)
        hydrogens = np.flatnonzero(frame.numbers == 1)
        near = [np.linalg.norm(frame.positions[hydrogens] - frame.positions[o], axis=1) for o in (first, second)]
        proton = hydrogens[np.argmin(near[0] + near[1])]
        positions = frame.positions.copy()
        positions[proton] = positions[first] + part * (positions[second] - positions[first])
        found.append(Frame(frame.numbers, positions, frame.cell, frame.pbc))
    return found


def molecule(kelvin: float, smiles: str = "O/C=C\\C=O", width: float = 5, **keys: Any) -> dict[str, Any]:
    """Keys of trajectories of a molecule within 5 K of a temperature."""
    return {"kind": "langevin", "smiles": [smiles], "temperature_K": [kelvin - width, kelvin + width]} | keys


def surface(file: str, kelvin: float, **keys: Any) -> dict[str, Any]:
    """Keys of COMB3's trajectories from images of formate on copper."""
    found = {"kind": "trajectory", "file": str(INPUTS / "surface" / file), "temperature_K": [kelvin - 5, kelvin + 5]}
    return found | {"displacement_A": [0.0, 0.02], "transferred": 0.0, "spacing_ps": 0.1} | keys


def moved(file: str, **keys: Any) -> dict[str, Any]:
    """Keys of such images without dynamics."""
    return {"kind": "displaced", "file": str(INPUTS / "surface" / file), "transferred": 0.0} | keys


METHANOL = {
    "name": "lammps",
    "data": str(INPUTS / "methanol" / "system.data"),
    "include": str(INPUTS / "methanol" / "forcefield.in"),
    "timestep_fs": 1.0,
    "variables": {"accuracy": 1e-6},
    "sampling": {"accuracy": 1e-3},
}
MMFF94_LIQUID = {"molecules": 8, "equilibrate_ps": 1.0, "spacing_ps": 0.1}
RELAXED = {"kind": "conformers", "smiles": ["O/C=C\\C=O"]}
SYSTEMS = {
    "water": System({"name": "spcfw"}, sets_of_a_liquid(1.0, 0.675, 1.275, 600, molecules=32), "water-spcfw-f64"),
    "liquid": System(
        {"name": "spcfw"},
        sets_of_a_liquid(1.0, 0.675, 1.275, 600, molecules=32),
        (
            {"name": "spcfw"},
            {"a": (160, 20, liquid("bulk", 1.0, 300, 0.04, molecules=32, spacing_ps=0.1, equilibrate_ps=1.0))},
            3000,
        ),
    ),
    "methanol": System(
        METHANOL,
        sets_of_a_liquid(0.79, 0.55, 1.0, 500, molecules=8),
        (
            METHANOL,
            {
                "ambient": (120, 20, liquid("bulk", 0.79, 330, 0.06, **MMFF94_LIQUID)),
                "stretched": (60, 20, liquid("stretched", 0.79, 330, 0.06, **MMFF94_LIQUID)),
                "turned": (60, 20, liquid("turned", 0.79, 330, 0.06, **MMFF94_LIQUID)),
            },
            3000,
        ),
        hot=500,
    ),
    "malonaldehyde": System(
        {"name": "xtb"},
        {
            "train": (1, {"enol": (20, 5, molecule(300))}),
            "valid": (2, {"enol": (10, 5, molecule(300))}),
            "test": (3, {"enol": (30, 5, molecule(300))}),
            "hot": (4, {"hot": (16, 8, molecule(700, equilibrate_ps=0.5))}),
            "isomer": (5, {"trans": (16, 8, molecule(300, "O/C=C/C=O", equilibrate_ps=0.5))}),
            "bonds": (6, {"bonds": (16, 16, {"kind": "bonds", "smiles": ["O/C=C\\C=O"]})}),
        },
        (
            {"name": "mmff94"},
            {
                "hot": (400, 20, molecule(600, width=400, spacing_ps=0.05)),
                "relaxed": (100, 100, RELAXED),
                "bonds": (100, 100, {"kind": "bonds", "smiles": ["O/C=C\\C=O"]}),
            },
            4000,
        ),
        hot=700,
        made=(("transfer", handed_over),),
    ),
    "surface": System(
        {"name": "comb3"},
        {
            "train": (1, {"formate": (20, 5, surface("slab.extxyz", 300))}),
            "valid": (2, {"formate": (10, 5, surface("slab.extxyz", 300))}),
            "test": (3, {"formate": (30, 5, surface("slab.extxyz", 300))}),
            "hot": (4, {"hot": (16, 4, surface("slab.extxyz", 700))}),
            "path": (5, {"path": (24, 24, moved("path.extxyz", displacement_A=[0.02, 0.05], moved=0.0))}),
            "moved": (6, {"moved": (16, 16, moved("slab.extxyz", adsorbate=["C", "O", "H"], moved=1.0))}),
        },
        (
            {"name": "comb3"},
            {
                "thermal": (80, 10, surface("path.extxyz", 600, temperature_K=[200, 1000])),
                "displaced": (80, 80, moved("path.extxyz", adsorbate=["C", "O", "H"])),
            },
            1500,
        ),
        hot=700,
    ),
}


def run(*words: object) -> None:
    """A command of tlmd; its output if it fails."""
    done = subprocess.run([BIN / str(words[0]), *map(str, words[1:])], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


def generate(
    folder: Path, name: str, teacher: dict[str, Any], seed: int, systems: dict, max_force: float = 100.0
) -> Path:
    """Frames of tl-generate in folder/name."""
    tables = {key: {"frames": n, "frames_per_item": each} | keys for key, (n, each, keys) in systems.items()}
    config = {"seed": seed, "max_force": max_force, "recheck": 0.05, "teacher": teacher, "systems": tables}
    if not (folder / name / "frames.extxyz.xz").exists():
        (folder / f"{name}.toml").write_text(to_toml(config))
        run("tl-generate", folder / f"{name}.toml", "--out", folder / name)
    return folder / name / "frames.extxyz.xz"


def xtb(folder: Path, name: str, file: Path, seed: int) -> Path:
    """Frames of a file with labels of GFN1-xTB."""
    table = {"kind": "file", "file": str(file)}
    return generate(folder, name, {"name": "xtb"}, seed, {"a": (len(read_frames(file)), 2, table)}, 200.0)


def start_of(folder: Path, system: System) -> str:
    """The model that is fine-tuned."""
    if isinstance(system.start, str):
        return system.start
    teacher, systems, steps = system.start
    out = folder / "start" / "model.pt"
    if not out.exists():
        frames = generate(folder, "s-proposed", teacher, 21, systems)
        training = {"max_steps": steps, "batch_frames": 4, "batch_atoms": 200, "valid_every": 500, "threads": 1}
        data = {"train": str(frames), "valid_fraction": 0.125}
        settings = {"data": data, "optimizer": {"lr": 2e-3}, "training": training | {"plots": False}}
        (folder / "p.toml").write_text(to_toml(settings))
        run("tl-pretrain", folder / "p.toml", "--out", folder / "start")
    return str(out)


def frames_of(folder: Path, system: System) -> dict[str, Path]:
    """The labelled frames of every set."""
    files = {}
    for name, (seed, systems) in system.sets.items():
        files[name] = xtb(folder, name, generate(folder, f"{name}-proposed", system.teacher, seed, systems), seed)
    for name, make in system.made:
        write_frames(folder / f"{name}-proposed.extxyz", make(read_frames(files["test"])))
        files[name] = xtb(folder, name, folder / f"{name}-proposed.extxyz", 1)
    return files
