"""Model files, export and the ASE calculator."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces

from tlmd import export as export_module
from tlmd.calculator import TLCalculator
from tlmd.cli import export as tl_export
from tlmd.export import export_model, load_any, load_exported
from tlmd.modelfile import FORMAT_VERSION, Card, Sample, load_model, read_card, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED


def written(path, first_cutoff: float | None = None):
    torch.manual_seed(2)
    architecture = Architecture(width=16, n_layers=2, n_radial=8, first_cutoff=first_cutoff)
    potential = new_potential(["H", "C", "O"], 4.0, architecture)
    potential.reference[:] = torch.tensor([-13.5, -1020.0, -430.0])
    card = Card(elements=["H", "C", "O"], cutoff=4.0, architecture=architecture, level_of_theory="random numbers")
    save_model(path, potential, card, box())
    return path


@pytest.fixture
def model(tmp_path):
    return written(tmp_path / "model.pt")


@pytest.fixture
def wide_model(tmp_path):
    """Whose first layer reaches further than the others."""
    return written(tmp_path / "wide.pt", 5.5)


def box():
    atoms = molecule("CH3CH2OH", vacuum=2.0)
    return Sample(atoms.numbers, atoms.positions, atoms.cell.array, np.ones(3, bool))


def atoms():
    atoms = molecule("CH3CH2OH", vacuum=2.0, pbc=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_card_travels(model):
    potential, card = load_model(model)
    assert card.reference_energies == {"H": -13.5, "C": -1020.0, "O": -430.0}
    assert card.dtype == "float32" and card.level_of_theory == "random numbers" and card.format_version == 3
    exported = export_model(model, dtype="float64")
    assert exported.name == "model-lammps.pt"
    assert read_card(exported) == card.model_copy(update={"dtype": "float64", "checksum": read_card(exported).checksum})
    assert read_card(exported).checksum != card.checksum != ""
    with zipfile.ZipFile(exported) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("extra/card.json")]
        assert json.loads(archive.read(name))["elements"] == ["H", "C", "O"]
    assert potential.dtype == torch.float32


def test_the_card_states_both_radii(wide_model):
    """A format of their own, which an older tlmd refuses; graphs reach as far as the larger one."""
    for file in (wide_model, export_model(wide_model)):
        potential, card = load_any(file)
        assert (card.cutoff, card.architecture.first_cutoff, card.reach, potential.cutoff) == (4.0, 5.5, 5.5, 5.5)
        assert card.format_version == FORMAT_VERSION == 3
        a = atoms()
        a.calc = TLCalculator(file)
        lengths = a.calc.graph(a).vectors.norm(dim=-1)
        assert ((lengths > 4.0) & (lengths < 5.5)).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["model", "wide_model"])
def test_calculator_trained_equals_exported(request, name, dtype):
    model, results = request.getfixturevalue(name), []
    for file in (model, export_model(model, dtype=dtype)):
        a = atoms()
        a.calc = TLCalculator(file)
        results.append((a.get_potential_energy(), a.get_forces(), a.get_stress(), a.get_potential_energies()))
    (e1, f1, s1, i1), (e2, f2, s2, i2) = results
    assert e1 == pytest.approx(e2, rel=1e-7)
    np.testing.assert_allclose(f1, f2, atol=1e-5 * np.abs(f2).max())
    np.testing.assert_allclose(s1, s2, atol=1e-5 * np.abs(s2).max())
    np.testing.assert_allclose(i1, i2, rtol=1e-7)
    assert i1.sum() == pytest.approx(e1)


@pytest.mark.parametrize("name", ["model", "wide_model"])
def test_calculator_forces_by_finite_differences(request, name):
    a = atoms()
    a.calc = TLCalculator(export_model(request.getfixturevalue(name), dtype="float64"))
    forces = a.get_forces()
    numeric = calculate_numerical_forces(a, eps=1e-4, iatoms=[1, 5])
    np.testing.assert_allclose(forces[[1, 5]], numeric, rtol=1e-5, atol=1e-7)
    assert "stress" not in _results_without_cell(a)


def _results_without_cell(a):
    a.pbc = False
    a.get_potential_energy()
    return a.calc.results


def test_export_refuses_a_mismatch_and_leaves_the_old_file(model, monkeypatch):
    exported = export_model(model)
    before = exported.read_bytes()
    real = load_exported

    def changed(path, device="cpu"):
        module, card = real(path, device)
        with torch.no_grad():
            next(module.parameters()).mul_(1.1)
        return module, card

    monkeypatch.setattr(export_module, "load_exported", changed)
    with pytest.raises(InputError, match="of frame 0 off by .* after export; wanted at most"):
        export_model(model)
    assert exported.read_bytes() == before
    assert sorted(p.name for p in exported.parent.iterdir()) == ["model-lammps.pt", "model.pt"]


def test_bad_files(model, tmp_path):
    exported = export_model(model)
    content = model.read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.pt").write_text("hello")
    for name in ("cut.pt", "text.pt"):
        with pytest.raises(InputError, match=f"{name}, not a model file, cut short or damaged"):
            load_model(tmp_path / name)
    with pytest.raises(InputError, match="an exported TorchScript file; wanted a trained model.pt"):
        load_model(exported)
    with pytest.raises(InputError, match="model.pt, not an exported model or damaged"):
        load_exported(model)
    with pytest.raises(InputError, match="no file .*absent.pt; wanted a model file, or one of .*water-gfn1-f64"):
        load_model(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="got dtype float16; wanted float32 or float64"):
        export_model(model, dtype="float16")


def test_shipped_models_go_by_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported = export_model("water-gfn1-f64")
    assert exported.resolve() == tmp_path / "water-gfn1-f64-lammps.pt"
    water = molecule("H2O")
    energies = []
    for model in ("water-gfn1-f64", SHIPPED["water-gfn1-f64"], exported):
        water.calc = TLCalculator(model)
        energies.append(water.get_potential_energy())
    assert energies[0] == energies[1] == pytest.approx(energies[2], abs=1e-5)


def test_newer_format_is_refused(model, tmp_path):
    newer = tmp_path / "newer.pt"
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(newer, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("card.json"):
                content = json.dumps({**json.loads(content), "format_version": FORMAT_VERSION + 1}).encode()
            new.writestr(item, content)
    with pytest.raises(InputError, match="newer.pt of format 4; wanted format 3 or older; install a newer tlmd"):
        load_model(newer)


def test_command_prints_the_path_or_one_line(model, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tl-export", str(model)])
    with pytest.raises(SystemExit) as done:
        tl_export()
    assert done.value.code == 0
    assert capsys.readouterr().out.strip().endswith("model-lammps.pt")
    monkeypatch.setattr("sys.argv", ["tl-export", str(model.with_name("model-lammps.pt"))])
    with pytest.raises(SystemExit) as done:
        tl_export()
    assert done.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: got ") and error.count("\n") == 1
