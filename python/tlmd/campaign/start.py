"""The boxes in which the runs start."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tlmd.campaign.config import StartConfig
from tlmd.frames.extxyz import read_extxyz, write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.lammps_data import SUFFIXES, read_data
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError
from tlmd.run.files import sha256


def start_frames(config: StartConfig, seed: int, folder: Path) -> dict[int, Frame]:
    """The frame of each size; packed boxes are kept in `folder`. InputError for what cannot be read or packed."""
    if config.file is None:
        return {size: packed(config, size, seed, folder) for size in config.sizes}
    frame = given(config.file, config.frame)
    if max(config.sizes) > 1 and not frame.pbc.all():
        raise InputError(
            f"start.sizes {max(config.sizes)} of a frame that is not periodic", "sizes = [1]", "correct it"
        )
    return {size: repeated(frame, size) for size in config.sizes}


def given(path: Path, index: int) -> Frame:
    """The frame of a file."""
    if path.suffix in SUFFIXES and path.is_file():
        return read_data(path)
    frames = read_frames(path, check=False)
    if index >= len(frames):
        raise InputError(f"start.frame {index}", f"below {len(frames)}, the frames of {path}", "correct it")
    return frames[index].replace(energy=None, forces=None, stress=None, unused=())


def repeated(frame: Frame, times: int) -> Frame:
    """A periodic frame so often along each of its axes."""
    atoms = frame.atoms().repeat(times)
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, frame.pbc)


def packed(config: StartConfig, molecules: int, seed: int, folder: Path) -> Frame:
    """A box of so many molecules by packmol, relaxed with MMFF94."""
    from tlmd.start.boxes import pack, relax
    from tlmd.start.density import guessed_density
    from tlmd.start.forcefield import from_smiles

    key = hashlib.sha256(f"{config.model_dump_json(exclude={'sizes'})} {molecules} {seed}".encode()).hexdigest()[:8]
    path = folder / f"{molecules}-{key}.extxyz"
    if not path.exists():
        counts = shared(molecules, config.parts or [1] * len(config.smiles))
        density = config.density_g_cm3 or guessed_density(list(zip(config.smiles, counts, strict=True)))
        folder.mkdir(parents=True, exist_ok=True)
        write_frames(path, [relax(pack(from_smiles(config.smiles), counts, density, seed)).frame()])
    return read_extxyz(path)[0]


def shared(molecules: int, parts: Sequence[int]) -> list[int]:
    """So many molecules in these proportions. InputError unless they are whole numbers."""
    counts = [molecules * part / sum(parts) for part in parts]
    if any(count % 1 for count in counts):
        got = f"start.sizes {molecules} of parts {', '.join(map(str, parts))}"
        raise InputError(got, f"a multiple of {sum(parts)}", "correct it")
    return [int(count) for count in counts]


def fingerprint(path: Path) -> str:
    """What tells a file apart, for comments in an input."""
    return sha256(path)[:16]
