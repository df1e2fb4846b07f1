"""compute centroid/stress/atom of tpainn and mekrr, and the heat flux by it: against autograd on a free cluster of the
images, and against the change of the energy's first moment in time; any ranks and threads."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from ase import Atoms

from tlmd.graph import build_graph
from tlmd.modelfile import Card, load_model
from tlmd.models.architecture import Architecture, KernelArchitecture, kernel_potential, new_potential
from tlmd.models.potential import slopes

from .conftest import ELEMENTS, exported, run_in, water_box, with_head, write_data
from .test_parity import NKTV2P

CUTOFF, LAYERS = 2.9, 3
TOLERANCE = {"float64": 1e-7, "float32": 1e-4}
COLUMNS = [0, 4, 8, 1, 2, 5, 3, 6, 7]  # of LAMMPS' array: xx yy zz xy xz yz yx zx zy, in a matrix by rows
KERNEL = KernelArchitecture(
    kind="gaussian", map="fourier", layers=[0, 2], aggregation="mean", alpha=0.3, length=2.0, n_features=20,
    spread=(4, 20),
)  # fmt: skip
SYSTEMS = {"small": water_box(1, 3.3), "water": water_box(2, 3.0)}


def make(folder, name: str):
    """A random model of short reach: layer 1 by moments or (many) not, of a longer reach (wide), or with a kernel."""
    torch.manual_seed(6)
    wide = {"first_cutoff": 3.6} if name == "wide" else {}
    elements = ["H", "C", "N", "O", "F"] if name == "many" else ELEMENTS
    architecture = Architecture(width=16, n_layers=LAYERS, n_radial=8, **wide)
    card = {"elements": elements, "cutoff": CUTOFF, "architecture": architecture}
    if name == "mekrr":
        potential = with_head(kernel_potential(elements, CUTOFF, architecture, KERNEL))
        return exported(folder, potential, Card(kind="mekrr", kernel=KERNEL, **card))
    potential = new_potential(elements, CUTOFF, architecture)
    potential.scale[:] = torch.arange(5.0, 5.0 + len(elements))
    potential.repulsion.radius[:], potential.repulsion.strength[...] = 1.3, 0.1
    return exported(folder, potential, Card(**card))


@pytest.fixture(scope="module", params=["short", "wide", "many", "mekrr"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flux")
    return "mekrr" if request.param == "mekrr" else "tpainn", make(folder, request.param)


@functools.cache
def by_autograd(model, system: str) -> np.ndarray:
    """W_j = sum_k (r_k - r_j) dE_k/dr_j (N, 3, 3) eV of a periodic box, from all images that can have a part in it."""
    atoms = SYSTEMS[system]
    potential, card = load_model(model)
    reach = CUTOFF * (LAYERS - 1) + potential.cutoff
    shells = int(np.ceil(2 * reach / atoms.cell[0, 0]))
    shifts = np.array([s for s in np.ndindex(*[2 * shells + 1] * 3)]) - shells
    shifts = shifts[np.argsort(np.abs(shifts).sum(1), kind="stable")]  # the box itself first
    positions = (atoms.positions[None] + (shifts @ atoms.cell.array)[:, None]).reshape(-1, 3)
    numbers = np.tile(atoms.numbers, len(shifts))
    places = torch.tensor(positions, requires_grad=True)
    with torch.enable_grad():
        graph = build_graph(
            numbers, places, np.zeros((3, 3)), [False] * 3, card.elements, potential.cutoff, torch.float64
        )
        energies = potential.cast(torch.float64)(graph.species, graph.vectors, graph.neighbours)
        total = slopes(energies, places, retain_graph=True)[: len(atoms)]
        moment = torch.stack(
            [
                slopes(energies, places, torch.tensor(positions[:, a]), retain_graph=True)[: len(atoms)]
                for a in range(3)
            ],
            dim=1,
        )
    own = torch.tensor(positions[: len(atoms)])
    return (moment - own[:, :, None] * total[:, None, :]).numpy()


@pytest.mark.parametrize(("ranks", "threads"), [(1, 2), (2, 1), (4, 1)])
def test_centroid_virials_equal_autograd(tmp_path, made, ranks, threads):
    (style, models), decks = made, ""
    cases = [(system, dtype) for system in SYSTEMS for dtype in TOLERANCE]
    for system, dtype in cases:
        write_data(tmp_path / f"{system}.data", SYSTEMS[system])
        decks += f"""
clear
units metal
read_data {system}.data
pair_style {style}
pair_coeff * * {models[dtype]} O H
compute w all centroid/stress/atom NULL pair
dump d all custom 1 {system}.{dtype} id c_w[*]
dump_modify d sort id format float %.16g
run 0
"""
    run_in(tmp_path, decks, ranks, threads=threads)
    for system, dtype in cases:
        found = -np.loadtxt(tmp_path / f"{system}.{dtype}", skiprows=9)[:, 1:] / NKTV2P["metal"]
        expected = by_autograd(models["trained"], system).reshape(-1, 9)[:, COLUMNS]
        scale = np.abs(expected).max()
        assert np.abs(expected - expected[:, [0, 1, 2, 6, 7, 8, 3, 4, 5]]).max() > 1e-3 * scale  # not symmetric
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def test_heat_flux_moves_the_energy(tmp_path, made):
    """In a free cluster, sum_i r_i E_i changes by the heat flux."""
    style, models = made
    atoms = Atoms(SYSTEMS["water"].symbols, SYSTEMS["water"].positions + 20.0, cell=np.eye(3) * 50.0, pbc=False)
    write_data(tmp_path / "cluster.data", atoms)
    run_in(tmp_path, f"""
units metal
boundary f f f
atom_modify map yes
read_data cluster.data
pair_style {style}
pair_coeff * * {models["float64"]} O H
velocity all create 600 5 mom no rot no
fix nve all nve
timestep 2e-6
compute ke all ke/atom
compute pe all pe/atom
compute w all centroid/stress/atom NULL virial
compute j all heat/flux ke pe w
variable x atom (x-22)*(c_ke+c_pe)
variable y atom (y-22)*(c_ke+c_pe)
variable z atom (z-22)*(c_ke+c_pe)
compute m all reduce sum v_x v_y v_z
thermo 1
thermo_style custom step c_j[1] c_j[2] c_j[3] c_m[1] c_m[2] c_m[3]
thermo_modify norm no format float %.16g
run 2
""", ranks=2)  # fmt: skip
    rows = [line.split() for line in (tmp_path / "log.lammps").read_text().splitlines()]
    rows = np.array([row for row in rows if len(row) == 7 and row[0] in "012"], float)
    change = (rows[2, 4:] - rows[0, 4:]) / 4e-6
    np.testing.assert_allclose(rows[1, 1:4], change, rtol=0, atol=1e-5 * np.abs(change).max())


def test_libtorch_has_no_heat_flux(tmp_path, models, water):
    done = run_in(tmp_path, f"""
units metal
read_data water.data
pair_style tpainn
pair_coeff * * {models["float64"]} O H
compute w all centroid/stress/atom NULL pair
compute s all reduce sum c_w[1]
thermo_style custom step c_s
run 0
""", ok=False, backend="torchscript")  # fmt: skip
    assert "wanted the native engine" in done.text
