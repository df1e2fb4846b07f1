"""Real LAMMPS runs of the plugin: small random-weight models, systems, and a runner for decks."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from tlmd.export import export_model
from tlmd.modelfile import Card, Sample, save_model
from tlmd.models.architecture import Architecture, KernelArchitecture, kernel_potential, module_potential, new_potential
from tlmd.run.installed import plugin_folder

from ..modules import Messages, scripted

ELEMENTS = ["H", "C", "O"]  # not the order of the atom types, and one more than they need
CUTOFF = 5.0


class Lammps(NamedTuple):
    """What a finished run left."""

    returncode: int
    text: str


def scripts_folder() -> Path:
    return Path(sysconfig.get_path("scripts"))


def run_in(
    folder: Path,
    deck: str,
    ranks: int = 1,
    ok: bool = True,
    plugin_path: Path | None = None,
    backend: str | None = None,
    threads: int = 1,
) -> Lammps:
    """Write the deck, its pair_style with `backend`, into `folder`, run it there under mpirun, and check that it
    ended well (or, not ok, that it failed).
    """
    if backend is not None:
        deck = re.sub(r"(pair_style +(?:hybrid\S* +)?(?:tpainn|mekrr))", rf"\1 backend {backend}", deck)
    (folder / "in.deck").write_text(deck)
    environment = {
        **os.environ,
        "LAMMPS_PLUGIN_PATH": str(plugin_path or plugin_folder()),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [scripts_folder() / "mpirun", "-n", str(ranks), scripts_folder() / "lmp", "-in", "in.deck"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    text = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, text[-3000:]
    return Lammps(done.returncode, text)


@pytest.fixture(params=["native", "torchscript"])
def backend(request) -> str:
    return request.param


@pytest.fixture
def run_lammps(tmp_path, backend):
    """run(deck, ranks=1, ok=True, plugin_path=None) -> Lammps in tmp_path, once for each backend."""
    return functools.partial(run_in, tmp_path, backend=backend)


@pytest.fixture
def run_as_written(tmp_path):
    """The same with the deck as it is."""
    return functools.partial(run_in, tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    """Exported random PaiNN potentials with sizeable forces, by dtype: float32 and float64; "trained" is model.pt."""
    return random_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def wide_models(tmp_path_factory) -> dict[str, Path]:
    """The same with a first layer that reaches further than the others."""
    return random_models(tmp_path_factory.mktemp("wide_models"), first_cutoff=6.5)


def random_models(folder: Path, first_cutoff: float | None = None) -> dict[str, Path]:
    torch.manual_seed(3)
    architecture = Architecture(width=16, n_layers=3, n_radial=8, first_cutoff=first_cutoff)
    potential = new_potential(ELEMENTS, CUTOFF, architecture)
    potential.scale[:] = torch.tensor([5.0, 7.0, 9.0])
    potential.reference[:] = torch.tensor([-13.0, -1000.0, -430.0])
    return exported(folder, potential, Card(elements=ELEMENTS, cutoff=CUTOFF, architecture=architecture))


@pytest.fixture(scope="session")
def kernel_models(tmp_path_factory) -> dict[str, Path]:
    """The same of kernel models: random Fourier features of the first and the last layer, K_alpha of means."""
    torch.manual_seed(4)
    architecture = Architecture(width=16, n_layers=3, n_radial=8)
    kernel = KernelArchitecture(
        kind="gaussian",
        map="fourier",
        layers=[0, 2],
        aggregation="mean",
        alpha=0.3,
        length=2.0,
        n_features=100,
        spread=(4, 20),
    )
    potential = kernel_potential(ELEMENTS, CUTOFF, architecture, kernel)
    card = Card(kind="mekrr", elements=ELEMENTS, cutoff=CUTOFF, architecture=architecture, kernel=kernel)
    return exported(tmp_path_factory.mktemp("kernel_models"), with_head(potential), card)


@pytest.fixture(scope="session")
def module_models(tmp_path_factory) -> dict[str, Path]:
    """The same of kernel models on a scripted module of two message layers."""
    return on_module(tmp_path_factory.mktemp("module_models"), scripted(Messages(CUTOFF)))


def on_module(folder: Path, module) -> dict[str, Path]:
    kernel = KernelArchitecture(
        kind="gaussian", map="fourier", backbone="module", layers=[], aggregation="mean", alpha=0.3, length=2.0,
        n_features=100, spread=(4, 20),
    )  # fmt: skip
    potential = with_head(module_potential(ELEMENTS, module, kernel))
    return exported(folder, potential, Card(kind="mekrr", elements=ELEMENTS, cutoff=module.cutoff, kernel=kernel))


def with_head(potential):
    """The kernel model with a random head."""
    torch.manual_seed(5)
    head = potential.net.head
    head.map.draw([2.0], torch.Generator().manual_seed(1))
    for buffer, spread in (
        (head.shift, 0.1),
        (head.factor, 1.0),
        (head.common, 3.0),
        (head.own, 1.0),
        (head.spread, 0.1),
    ):
        buffer.copy_(torch.randn_like(buffer) * spread)
    potential.reference[:] = torch.tensor([-13.0, -1000.0, -430.0])
    return potential


def exported(folder: Path, potential, card: Card) -> dict[str, Path]:
    """model.pt as "trained", and its exports by dtype."""
    water = water_box(2)
    trained = folder / "model.pt"
    save_model(trained, potential, card, Sample(water.numbers, water.positions, water.cell.array, water.pbc))
    return {"trained": trained, **{d: export_model(trained, folder / f"{d}.pt", d) for d in ("float32", "float64")}}


def water_box(n: int, spacing: float = 3.1) -> Atoms:
    """n^3 randomly turned, rattled water molecules in a periodic cube of n * spacing A."""
    rng = np.random.default_rng(5)
    atoms = Atoms(cell=np.eye(3) * n * spacing, pbc=True)
    for site in np.ndindex(n, n, n):
        water = molecule("H2O")
        water.rotate(rng.uniform(0, 360), rng.normal(size=3))
        water.positions += np.array(site) * spacing + rng.normal(scale=0.1, size=(3, 3)) - water.positions[0]
        atoms += water
    return atoms


def write_data(path: Path, atoms: Atoms, ids=None, types=("O", "H")) -> None:
    """A LAMMPS data file, atom_style atomic; the cell must be lower triangular (a along x, b in the xy plane)."""
    cell = atoms.cell.array
    assert np.allclose(np.triu(cell, 1), 0)
    ids = range(1, len(atoms) + 1) if ids is None else ids
    lines = ["written by the tests", "", f"{len(atoms)} atoms", f"{len(types)} atom types"]
    lines += [f"0 {cell[k, k]:.15g} {a}lo {a}hi" for k, a in enumerate("xyz")]
    lines += [f"{cell[1, 0]:.15g} {cell[2, 0]:.15g} {cell[2, 1]:.15g} xy xz yz"] if np.any(np.tril(cell, -1)) else []
    masses = {"O": 15.999, "H": 1.008, "C": 12.011}
    lines += ["", "Masses", ""] + [f"{k + 1} {masses[t]}" for k, t in enumerate(types)] + ["", "Atoms # atomic", ""]
    for i, symbol, r in zip(ids, atoms.get_chemical_symbols(), atoms.get_positions(), strict=True):
        lines.append(f"{i} {types.index(symbol) + 1} {r[0]:.15g} {r[1]:.15g} {r[2]:.15g}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def water(tmp_path) -> Atoms:
    """27 water molecules, also as water.data in the folder where decks run."""
    atoms = water_box(3)
    write_data(tmp_path / "water.data", atoms)
    return atoms


@pytest.fixture(autouse=True, scope="session")
def lammps_is_there():
    assert shutil.which("lmp", path=scripts_folder()) and (plugin_folder() / "tlmdplugin.so").exists()
