"""pair_style tpainn and mekrr (on PaiNN and on a module) equal the Python evaluation: forces, atom energies, six
pressures; 1, 2 and 4 ranks; both backends; both precisions."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from ase import Atoms

from tlmd.calculator import TLCalculator

from .conftest import water_box, write_data

TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
# LAMMPS' own constants: pressure unit (bar, atm) of one energy unit per A^3, and kcal/mol in eV as in tlmd.units
NKTV2P = {"metal": 1.6021765e6, "real": 68568.415}
ENERGY = {"metal": 1.0, "real": 1 / 0.0433641153087705}


def triclinic() -> Atoms:
    atoms = water_box(3)
    strain = np.array([[1.0, 0, 0], [0.25, 1.05, 0], [-0.2, 0.15, 0.95]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


def corner() -> Atoms:
    """All atoms in one corner of a long box: ranks that own nothing."""
    atoms = water_box(2)
    atoms.set_cell([40.0, 7.0, 7.0])
    return atoms


SYSTEMS = {
    "water": water_box(3),
    "triclinic": triclinic(),
    "empty_rank": corner(),
    "one_atom": Atoms("O", positions=[[1.0, 2.0, 3.0]], cell=np.eye(3) * 12.0, pbc=True),
    "small_box": water_box(1, 3.3),  # smaller than one cutoff: an atom sees several images of itself
    "id_gaps": water_box(3),
    "real": water_box(3),
}
CASES = [(system, dtype) for system in SYSTEMS for dtype in TOLERANCE]


def deck(system: str, dtype: str, style: str, model, ranks: int) -> str:
    """One system from `clear` to its results; all of them run in one LAMMPS process."""
    name = f"{system}.{dtype}"
    units = "real" if system == "real" else "metal"
    grid = f"processors {ranks} 1 1" if system == "empty_rank" else ""
    pressures = " ".join(f"$(c_p[{k}]:%.15g)" for k in range(1, 7))
    return f"""
clear
units {units}
atom_style atomic
{grid}
read_data {system}.data
pair_style {style} check yes
pair_coeff * * {model} O H
compute e all pe/atom
compute p all pressure NULL virial
compute v all stress/atom NULL virial
thermo_style custom step pe c_p[1]
dump d all custom 1 {name}.dump id fx fy fz c_e c_v[1] c_v[2] c_v[3] c_v[4] c_v[5] c_v[6]
dump_modify d sort id format float %.16g
run 0
print "RESULT {name} $(pe:%.15g) {pressures}"
"""


# model, ranks, backend, threads, whether ranks read each other's rows from shared memory
RUNS = [("tpainn", ranks, "native", threads, "yes") for ranks, threads in ((1, 1), (1, 2), (2, 1), (4, 1))]
RUNS += [("tpainn", 4, "native", 1, "no"), ("tpainn", 2, "torchscript", 1, "no")]
RUNS += [("tpainn", ranks, "torchscript", 1, "yes") for ranks in (1, 2, 4)]
RUNS += [("mekrr", ranks, "native", threads, "yes") for ranks, threads in ((1, 2), (2, 1), (4, 1))]
RUNS += [("mekrr", 1, "torchscript", 1, "yes"), ("mekrr", 4, "torchscript", 1, "yes")]
RUNS += [("wide", ranks, "native", threads, "yes") for ranks, threads in ((1, 2), (2, 1), (4, 1))]
RUNS += [("wide", ranks, "torchscript", 1, "yes") for ranks in (1, 2)]
RUNS += [("module", 1, None, 1, "yes"), ("module", 2, "torchscript", 1, "yes"), ("module", 4, None, 1, "yes")]


@pytest.fixture(scope="module")
def models_of(models, wide_models, kernel_models, module_models):
    return {"tpainn": models, "wide": wide_models, "mekrr": kernel_models, "module": module_models}


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: "{}-{}ranks-{}-{}threads-shared_{}".format(*run))
def lammps_results(request, models_of, tmp_path_factory):
    """Models, and {(system, dtype): (energy, pressures (6,), dump (N, 11))} of one LAMMPS process."""
    from .conftest import run_in

    name, ranks, backend, threads, shared = request.param
    models, style = models_of[name], "tpainn" if name in ("tpainn", "wide") else "mekrr"
    folder = tmp_path_factory.mktemp("parity")
    for system, atoms in SYSTEMS.items():
        write_data(folder / f"{system}.data", atoms, ids=7 + 3 * np.arange(len(atoms)) if system == "id_gaps" else None)
    decks = "".join(deck(*case, style, models[case[1]], ranks) for case in CASES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLMD_SHARED_MEMORY", shared)
        text = run_in(folder, decks, ranks, backend=backend, threads=threads).text
    found = [line.split()[1:] for line in text.splitlines() if line.startswith("RESULT")]
    assert len(found) == len(CASES)
    results = {}
    for name, energy, *pressures in found:
        dump = np.loadtxt(folder / f"{name}.dump", skiprows=9, ndmin=2)
        results[tuple(name.split("."))] = float(energy), np.array(pressures, float), dump
    return models, results


@functools.cache
def by_python(model, system: str) -> Atoms:
    """The system with its results, for several runs of LAMMPS."""
    atoms = SYSTEMS[system].copy()
    atoms.calc = TLCalculator(model, backend="torch")
    atoms.get_forces()
    return atoms


@pytest.mark.parametrize(("system", "dtype"), CASES)
def test_equals_python(lammps_results, system, dtype):
    models, results = lammps_results
    energy, pressures, dump = results[system, dtype]
    atoms = by_python(models["float64"], system)
    units = "real" if system == "real" else "metal"
    factor, tolerance = ENERGY[units], TOLERANCE[dtype]

    assert energy == pytest.approx(atoms.get_potential_energy() * factor, rel=tolerance)
    np.testing.assert_allclose(dump[:, 4], atoms.get_potential_energies() * factor, rtol=tolerance)
    forces = atoms.get_forces() * factor
    np.testing.assert_allclose(dump[:, 1:4], forces, rtol=0, atol=tolerance * max(np.abs(forces).max(), 1e-6))
    stress = -atoms.get_stress() * factor * NKTV2P[units]
    expected = stress[[0, 1, 2, 5, 4, 3]]  # ASE: xx yy zz yz xz xy; LAMMPS: xx yy zz xy xz yz
    scale = max(np.abs(expected).max(), 1e-6)
    np.testing.assert_allclose(pressures, expected, rtol=0, atol=tolerance * scale)
    # per-atom virials (pressure * volume) add up to the global one
    np.testing.assert_allclose(-dump[:, 5:].sum(0) / atoms.get_volume(), expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", ["tpainn", "wide", "mekrr", "module"])
def test_systems_have_forces(models_of, name):
    models = models_of[name]
    for system, atoms in SYSTEMS.items():
        atoms = atoms.copy()
        atoms.calc = TLCalculator(models["float64"])
        assert (np.abs(atoms.get_forces()).max() > 0.05) == (system != "one_atom")
