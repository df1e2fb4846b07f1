"""tl-mekrr: the normal equations against dense solutions, errors that the grid foretells, resume, update, MPI."""

import csv
import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from tlmd.calculator import TLCalculator
from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.file import evaluate_file
from tlmd.export import export_model, load_any
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.mekrr import accumulate
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.mekrr.ridge import Blocks, Choice, Solver, Sums
from tlmd.modelfile import Card, load_model, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.potential import evaluate
from tlmd.run.config import load_config
from tlmd.run.errors import InputError

SETTINGS = """
[data]
train = "train.extxyz"
valid = "valid.extxyz"
test = "test.extxyz"
[backbone]
model = "backbone.pt"
layers = [0, -1]
[kernel]
n_features = 40
lengths = [2.0]
[fit]
alpha = [0.0, 0.3]
force_weight = [0.5]
ridge = [1e-7, 1e-5]
[training]
threads = 1
plots = false
"""


@pytest.fixture
def folder(folder):
    """Also a random backbone and mekrr.toml."""
    torch.manual_seed(1)
    architecture = Architecture(width=8, n_layers=2, n_radial=6)
    backbone = new_potential(["H", "O"], 3.0, architecture).double()
    backbone.scale.fill_(0.7)
    save_model(folder / "backbone.pt", backbone, Card(elements=["H", "O"], cutoff=3.0, architecture=architecture))
    (folder / "mekrr.toml").write_text(SETTINGS)
    return folder


def fit(folder, name, *settings):
    return mekrr(load_config(MekrrConfig, folder / "mekrr.toml", settings), folder / name)


def solved(folder) -> torch.Tensor:
    head = load_model(folder / "model.pt")[0].net.head
    return torch.cat([head.common, head.own.flatten()])


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.parametrize("baseline", [False, True])
def test_grid_foretells_the_errors_of_the_model(folder, aggregation, baseline):
    result = fit(folder, "run", f'kernel.aggregation="{aggregation}"', f"backbone.baseline={str(baseline).lower()}")
    with open(folder / "run" / "grid.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    best = min(rows, key=lambda row: float(row["score"]))
    assert result.choice == Choice(float(best["alpha"]), 0.5, float(best["lambda"]))
    valid = result.errors["valid"]
    assert valid.rmse("energy") == pytest.approx(1e3 * float(best["energy_rmse"]), rel=1e-4)
    assert valid.rmse("forces") == pytest.approx(1e3 * float(best["forces_rmse"]), rel=1e-4)
    # six components in the grid, nine in the table
    assert valid.rmse("stress") == pytest.approx(1e3 * float(best["stress_rmse"]), rel=0.2)
    trained = result.errors["train"]
    assert trained.rmse("forces") < 0.5 * labels_rms(folder / "train.extxyz")


def labels_rms(path) -> float:
    return 1e3 * np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in read_frames(path)]) ** 2))


def test_forces_are_slopes_of_the_energy(folder):
    fit(folder, "run")
    card = load_any(folder / "run" / "model.pt")[1]
    assert card.kind == "mekrr" and card.dtype == "float64"
    frame = read_frames(folder / "valid.extxyz")[1]
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.calc = TLCalculator(folder / "run" / "model.pt", backend="torch")
    forces, step = atoms.get_forces(), 1e-4
    for i, k in ((0, 0), (2, 1), (4, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, k] += sign * step
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        assert forces[i, k] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("baseline", ["false", "true"])
def test_exported_model_agrees(folder, baseline):
    fit(folder, "run", f"backbone.baseline={baseline}")
    exported = export_model(folder / "run" / "model.pt")
    for path in (folder / "run" / "model.pt", exported):
        for backend in ("native", "torch"):
            errors = evaluate_file(path, folder / "valid.extxyz", backend=backend)[0]
            assert errors.rmse("forces") == pytest.approx(
                evaluate_file(path, folder / "valid.extxyz", backend="torch")[0].rmse("forces"), rel=1e-6
            )


def test_a_backbone_whose_first_layer_reaches_further(folder):
    torch.manual_seed(1)
    architecture = Architecture(width=8, n_layers=2, n_radial=6, first_cutoff=4.5)
    backbone = new_potential(["H", "O"], 3.0, architecture).double()
    save_model(folder / "backbone.pt", backbone, Card(elements=["H", "O"], cutoff=3.0, architecture=architecture))
    result = fit(folder, "run")
    card = load_any(folder / "run" / "model.pt")[1]
    assert (card.cutoff, card.reach) == (3.0, 4.5)
    exported = export_model(folder / "run" / "model.pt")
    for file in (folder / "run" / "model.pt", exported):
        errors = evaluate_file(file, folder / "valid.extxyz")[0]
        assert errors.rmse("forces") == pytest.approx(result.errors["valid"].rmse("forces"), rel=1e-6)


def test_a_killed_run_goes_on_and_an_update_equals_a_fit_of_all(folder, monkeypatch):
    whole = fit(folder, "whole", "training.n_frames=8", 'training.select="first"')
    original, seen = accumulate.Rows.of_frame, []

    def killed(self, frames, index, *labels):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(index)
        return original(self, frames, index, *labels)

    settings = ("training.n_frames=8", 'training.select="first"', "training.checkpoint_minutes=1e-9")
    with monkeypatch.context() as patch:
        patch.setattr(accumulate.Rows, "of_frame", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(folder, "resumed", *settings)
        seen.clear()
        patch.setattr(accumulate.Rows, "of_frame", lambda *a, **k: (seen.append(a[2]), original(*a, **k))[1])
        fit(folder, "resumed", *settings)
        assert len(seen) == 3 + 6  # the rest of 8 training frames, 6 validation frames
    torch.testing.assert_close(solved(folder / "resumed"), solved(folder / "whole"), rtol=1e-6, atol=1e-8)

    write_frames(folder / "all.extxyz", read_frames(folder / "train.extxyz"))
    updated = fit(folder, "updated", 'update="whole"', 'data.train="all.extxyz"')
    assert "10 frames" in updated.card.training_data
    assert updated.errors["train"].n_frames == 10
    assert whole.errors["valid"].rmse("forces") != updated.errors["valid"].rmse("forces")
    with pytest.raises(InputError, match="n_features"):
        fit(folder, "refused", 'update="whole"', "kernel.n_features=42")


def test_ranks_share_the_frames(folder):
    fit(folder, "one")
    mpirun = Path(sysconfig.get_path("scripts")) / "mpirun"
    code = "from tlmd.cli import mekrr; mekrr()"
    command = [mpirun, "-n", "2", "python", "-c", code, "mekrr.toml", "--out", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    torch.testing.assert_close(solved(folder / "two"), solved(folder / "one"), rtol=1e-6, atol=1e-8)


def test_nystroem_polynomial_and_linear_kernels(folder):
    for name, settings in {
        "nystroem": ['kernel.solver="nystroem"', "kernel.n_features=30"],
        "polynomial": ['kernel.solver="nystroem"', 'kernel.kind="polynomial"', "kernel.n_features=30"],
        "linear": ['kernel.kind="linear"'],
    }.items():
        result = fit(folder, name, *settings)
        assert result.errors["train"].rmse("forces") < 0.8 * labels_rms(folder / "train.extxyz")


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_exact_solver(folder, aggregation):
    """Energies by the exact kernel: the grid foretells the model's errors, and random features come near to them."""
    common = [f'kernel.aggregation="{aggregation}"', "fit.alpha=[0.3]", "fit.ridge=[1e-4]"]
    exact = fit(folder, "exact", 'kernel.solver="exact"', *common)
    with open(folder / "exact" / "grid.csv") as file:
        foretold = float(next(csv.DictReader(file))["energy_rmse"])
    assert exact.errors["valid"].rmse("energy") == pytest.approx(1e3 * foretold, rel=1e-4)
    many = ["kernel.n_features=1000", 'data.labels="energies"', "fit.deviation=false"]
    features = fit(folder, "features", *many, *common[:2], "fit.ridge=[1e-4]")
    assert features.errors["valid"].rmse("energy") == pytest.approx(exact.errors["valid"].rmse("energy"), rel=0.3)
    export_model(folder / "exact" / "model.pt")


def test_random_directions_fit_a_part_of_the_forces(folder):
    result = fit(folder, "run", "fit.directions=10")
    assert result.errors["train"].rmse("forces") < labels_rms(folder / "train.extxyz")


def test_few_directions_of_the_validation_frames_judge_the_grid(folder):
    """They estimate the force errors without bias, and change nothing of the solution."""
    grids, solutions = [], []
    for directions in (1000, 12):
        fit(folder, f"by{directions}", f"fit.valid_directions={directions}", "fit.ridge=[1e-5]", "fit.alpha=[0.3]")
        with open(folder / f"by{directions}" / "grid.csv") as file:
            grids.append(next(csv.DictReader(file)))
        solutions.append(solved(folder / f"by{directions}"))
    assert torch.equal(*solutions)
    assert grids[0]["energy_rmse"] == grids[1]["energy_rmse"]
    assert float(grids[1]["forces_rmse"]) == pytest.approx(float(grids[0]["forces_rmse"]), rel=0.3)
    assert grids[1]["forces_rmse"] != grids[0]["forces_rmse"]


def test_one_frame_teaches_forces(folder):
    """Its energy is that of the reference energies, so that only forces are left to learn."""
    result = fit(folder, "run", "training.n_frames=1", "fit.force_weight=[0.9]")
    assert result.errors["train"].rmse("forces") < 0.9 * labels_rms(folder / "train.extxyz")


def test_a_bad_configuration_is_refused(folder):
    with pytest.raises(InputError, match="layers"):
        fit(folder, "run", "backbone.layers=[2]")
    with pytest.raises(InputError, match="an even number"):
        fit(folder, "odd", "kernel.n_features=41")
    with pytest.raises(InputError, match="nystroem or exact"):
        fit(folder, "run", 'kernel.kind="polynomial"')
    with pytest.raises(InputError, match="no validation frames"):
        load = load_config(MekrrConfig, folder / "mekrr.toml", ["data.valid_fraction=0"])
        mekrr(load.model_copy(update={"data": load.data.model_copy(update={"valid": None})}), folder / "other")


def random_sums(rng, n_columns: int, kinds=("energy", "forces")) -> tuple[dict[str, Sums], dict]:
    sums, data = {}, {}
    for kind in kinds:
        rows, labels = torch.from_numpy(rng.normal(size=(9, n_columns))), torch.from_numpy(rng.normal(size=9))
        sums[kind] = Sums.empty(n_columns)
        sums[kind].add(rows[:4], labels[:4])
        sums[kind].add(rows[4:], labels[4:])
        data[kind] = rows, labels
    return sums, data


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_primal_solution_is_kernel_ridge_regression(alpha):
    """The weights in feature space predict what (K + lambda)^-1 y does, K the kernel with the prior of alpha."""
    rng = np.random.default_rng(1)
    blocks = Blocks(2, torch.tensor([3.0, 1.5], dtype=torch.float64))
    sums, data = random_sums(rng, 2 * 5, ("energy",))
    rows, labels = data["energy"]
    choice = Choice(alpha, 1.0, 0.1)
    gram, _, prior = Solver(sums, blocks).normal(alpha, 1.0)
    ridge = 0.1 * float(gram.diagonal().mean()) * sums["energy"].number * sums["energy"].mean_square()
    phi = (rows.view(9, 2, 5).transpose(1, 2) @ prior).transpose(1, 2).flatten(1)
    kernel = phi @ phi.T
    expected = kernel @ torch.linalg.solve(kernel + ridge * torch.eye(9, dtype=torch.float64), labels)
    solver = Solver(sums, blocks)
    u = solver.solve(choice)
    torch.testing.assert_close(rows @ u, expected)
    assert sums["energy"].mse(u) == pytest.approx(float(((rows @ u - labels) ** 2).mean()))
    # the same variance as that of the Gaussian process of this kernel
    spread, k = rows[0] @ solver.covariance_root(choice), kernel[0]
    process = k[0] - k @ torch.linalg.solve(kernel + ridge * torch.eye(9, dtype=torch.float64), k)
    assert 0.1 * float(gram.diagonal().mean()) * float(spread @ spread) == pytest.approx(float(process), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_blocks_of_species_and_of_weights_agree(alpha):
    """One composition: columns by species with a prior, and columns for w_0 and each w_z, give the same energies."""
    rng = np.random.default_rng(2)
    psi, labels = torch.from_numpy(rng.normal(size=(12, 3, 4))), torch.from_numpy(rng.normal(size=12))
    ratio = torch.tensor([2.0, 4.0, 4.0], dtype=torch.float64)
    found = []
    for blocks in (Blocks(3, ratio), Blocks(3, None)):
        rows = blocks.rows(psi, ratio)
        sums = Sums.empty(rows.shape[1])
        sums.add(rows, labels)
        solver = Solver({"energy": sums}, blocks)
        gram, _, _ = solver.normal(alpha, 1.0)
        u = solver.solve(Choice(alpha, 1.0, 1e-2 / float(gram.diagonal().mean())))
        common, own = blocks.weights(u.view(blocks.number, 4), alpha)
        energies = torch.einsum("tsd,sd->t", psi, common + ratio[:, None] * own)
        torch.testing.assert_close(energies, rows @ u)
        found.append(energies)
    torch.testing.assert_close(found[0], found[1])


def test_evaluation_of_frames_of_several_compositions(folder):
    """In one batch as alone: N / n_z is that of each frame."""
    fit(folder, "run")
    model, card = load_any(folder / "run" / "model.pt")
    frames = FrameSet(read_frames(folder / "valid.extxyz"), card.elements, card.cutoff, torch.float64)
    batch = evaluate(model, frames.batch(range(len(frames))).graph)
    for i in range(len(frames)):
        assert float(batch.energy[i]) == pytest.approx(float(evaluate(model, frames.graph(i)).energy), rel=1e-10)


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_deviations(folder, aggregation):
    """In the size of the validation errors; of a frame and of its atoms; larger for a strange frame; exported alike."""
    fit(folder, "run", f'kernel.aggregation="{aggregation}"')
    exported = export_model(folder / "run" / "model.pt")
    frames = read_frames(folder / "valid.extxyz")
    ratios = []
    for frame in frames:
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.calc = TLCalculator(folder / "run" / "model.pt")
        of_frame, of_atoms = atoms.calc.deviations(atoms)
        assert len(of_atoms) == len(atoms) and np.all(of_atoms > 0)
        again = TLCalculator(exported).deviations(atoms)
        assert again[0] == pytest.approx(of_frame, rel=1e-6)
        np.testing.assert_allclose(again[1], of_atoms, rtol=1e-6)
        ratios.append((atoms.get_potential_energy() - frame.energy) / of_frame)
        atoms.positions *= 0.75
        assert atoms.calc.deviations(atoms)[0] > 1.5 * of_frame
    assert np.sqrt(np.mean(np.square(ratios))) == pytest.approx(1, rel=1e-6)
    with pytest.raises(InputError, match="without deviations"):
        fit(folder, "other", "fit.deviation=false")
        TLCalculator(folder / "other" / "model.pt").deviations(atoms)


def test_settings_that_do_not_fit_are_refused_before_anything_is_computed(folder, monkeypatch):
    """Also a kernel model as the backbone of another."""
    fit(folder, "run")

    def computed(*_):
        raise AssertionError("features were computed")

    monkeypatch.setattr("tlmd.mekrr.untrained.sample_features", computed)
    cases = {
        "backbone.baseline; wanted the last layer": ["backbone.baseline=true", "backbone.layers=[0]"],
        "and a solver that is not exact": ["backbone.baseline=true", 'kernel.solver="exact"'],
        "model.pt of kind mekrr; wanted kind tpainn; give the model that it is on": ['backbone.model="run/model.pt"'],
    }
    for number, (words, settings) in enumerate(cases.items()):
        with pytest.raises(InputError, match=words):
            fit(folder, f"refused{number}", *settings)


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_damaged_sums_are_one_line(folder, content):
    fit(folder, "whole")
    sums = folder / "whole" / "sums-train.pt"
    sums.write_bytes(sums.read_bytes()[:3000] if content is None else content)
    with pytest.raises(InputError, match="sums-train.pt, which is damaged.*delete it and start again"):
        fit(folder, "updated", 'update="whole"')
    (folder / "again").mkdir()
    (folder / "again" / "sums-train.pt").write_bytes(sums.read_bytes())
    with pytest.raises(InputError, match="sums-train.pt, which is damaged"):
        fit(folder, "again")


def test_wrong_signs_are_doubted(folder):
    """Labels are the backbone's own forces and stresses; then those of the other sign."""
    calculator = TLCalculator(folder / "backbone.pt")

    def relabelled(frame, sign):
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.calc = calculator
        stress = sign * atoms.get_stress(voigt=False) if frame.pbc.all() else None
        return frame.replace(energy=atoms.get_potential_energy(), forces=sign * atoms.get_forces(), stress=stress)

    for sign in (1, -1):
        for name in ("train", "valid", "test"):
            frames = read_frames(folder / f"{name}.extxyz")
            write_frames(folder / f"{name}.extxyz", [relabelled(frame, sign) for frame in frames])
        fit(folder, f"run{sign}", "fit.alpha=[0.0]", "fit.ridge=[1e-5]")
        log = (folder / f"run{sign}" / "log.txt").read_text()
        assert ("doubtful labels: forces against" in log) == ("doubtful labels: stresses against" in log) == (sign < 0)
