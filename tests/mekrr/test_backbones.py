"""Backbones of MEKRR that are no PaiNN: TorchScript modules, MACE; skipped where mace-torch is not installed."""

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor, nn

from tlmd.calculator import TLCalculator
from tlmd.evaluate.file import evaluate_file
from tlmd.export import export_model, load_exported
from tlmd.frames.read import read_frames
from tlmd.graph import batch_graphs, build_graph
from tlmd.mekrr.backbones import open_backbone
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.modelfile import load_model, load_sample, read_card
from tlmd.models.potential import evaluate
from tlmd.run.config import load_config
from tlmd.run.errors import InputError

from ..modules import scripted, small_mace, write_mace

CUTOFF = 3.0
SETTINGS = """
[data]
train = "train.extxyz"
valid = "valid.extxyz"
[backbone]
kind = "KIND
model = "backbone.model"
[kernel]
n_features = 60
lengths = [2.0]
[fit]
alpha = [0.0, 0.3]
force_weight = [0.5]
ridge = [1e-7, 1e-5]
[training]
threads = 1
plots = false
"""


class Densities(nn.Module):
    """Neighbour densities and their squared dipoles; C is an element that no frame has."""

    def __init__(self, cutoff: float = CUTOFF):
        super().__init__()
        self.elements = ["C", "O", "H"]
        self.cutoff = cutoff
        self.width = 12
        self.register_buffer("charges", torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64))
        self.register_buffer("exponents", torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64))

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        square = vectors.square().sum(-1, keepdim=True)
        near = (square < self.cutoff**2).to(vectors.dtype)
        shape = near * (1 - square / self.cutoff**2) ** 3 * torch.exp(-self.exponents * square)
        weighted = shape * self.charges[species][neighbours][:, :, None]
        own = self.charges[species][:, None]
        dipole = (weighted[:, :, :, None] * vectors[:, :, None, :]).sum(1).square().sum(-1)
        return torch.cat([shape.sum(1), weighted.sum(1), dipole, own * shape.sum(1)], dim=1)


def write_script(path, **attributes):
    module = Densities()
    for name, value in attributes.items():
        setattr(module, name, value)
    scripted(module).save(str(path))


def settings(kind: str) -> str:
    return SETTINGS.replace("KIND", kind + ('"\nlayers = [0, -1]' if kind == "mace" else '"'))


def write_backbone(kind, path):
    if kind == "torchscript":
        write_script(path)
    else:
        write_mace(path, small_mace(CUTOFF))


@pytest.fixture(params=["torchscript", "mace"])
def kind(request, folder):
    """The folder also has backbone.model and mekrr.toml."""
    write_backbone(request.param, folder / "backbone.model")
    (folder / "mekrr.toml").write_text(settings(request.param))
    return request.param


def graph_of(frame, rotation=None, dtype=torch.float64):
    turn = np.eye(3) if rotation is None else rotation
    return build_graph(frame.numbers, frame.positions @ turn, frame.cell @ turn, frame.pbc, ["H", "O"], CUTOFF, dtype)


def fit(folder, name, *settings):
    return mekrr(load_config(MekrrConfig, folder / "mekrr.toml", settings), folder / name)


def test_features_turn_with_the_frame_and_frames_do_not_mix(kind, folder, frames):
    backbone = open_backbone(kind, folder / "backbone.model", [-1, 0], ["H", "O"])
    assert backbone.dtype == torch.float64 and backbone.cutoff == CUTOFF
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    alone = [backbone.features(graph_of(frame)) for frame in frames[:3]]
    for h, frame in zip(alone, frames, strict=False):
        assert h.shape == (len(frame), backbone.width) and float(h.std(0).min()) > 0
        torch.testing.assert_close(backbone.features(graph_of(frame, rotation)), h, rtol=1e-9, atol=1e-9)
    batch = batch_graphs([graph_of(frame) for frame in frames[:3]])
    torch.testing.assert_close(backbone.features(batch), torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_tangents_are_differences(kind, folder, frames):
    backbone, frame, step = open_backbone(kind, folder / "backbone.model", [0, 1], ["H", "O"]), frames[1], 1e-5
    rng = np.random.default_rng(0)
    moves, strains = rng.normal(size=(3, len(frame), 3)), rng.normal(size=(3, 3, 3))
    moves[1], strains[0] = 0.0, 0.0
    graph = graph_of(frame)
    backbone.features(graph)
    found = backbone.tangents(graph, moves, strains)
    neighbours = graph.neighbours.numpy()
    for t in range(3):
        change = moves[t][neighbours] - moves[t][:, None] + graph.vectors.numpy() @ strains[t].T
        sides = [
            backbone.features(graph._replace(vectors=graph.vectors + sign * step * torch.from_numpy(change)))
            for sign in (1, -1)
        ]
        torch.testing.assert_close(found[t], (sides[0] - sides[1]) / (2 * step), rtol=1e-6, atol=1e-7)


def test_a_fit_learns_and_its_file_gives_the_same(kind, folder):
    result = fit(folder, "run")
    path = folder / "run" / "model.pt"
    rms = 1e3 * np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in read_frames(folder / "train.extxyz")]) ** 2))
    assert result.errors["train"].rmse("forces") < 0.7 * rms
    rows = (folder / "run" / "grid.csv").read_text().splitlines()
    best = min((dict(zip(rows[0].split(","), map(float, r.split(",")), strict=True)) for r in rows[1:]),
               key=lambda row: row["score"])  # fmt: skip
    assert result.errors["valid"].rmse("forces") == pytest.approx(1e3 * best["forces_rmse"], rel=1e-4)
    card = read_card(path)
    assert card.kernel.backbone == "module" and card.architecture is None and card.dtype == "float64"
    (folder / "backbone.model").unlink()  # the model file has all that it needs
    assert evaluate_file(path, folder / "valid.extxyz")[0].rmse("forces") == pytest.approx(
        result.errors["valid"].rmse("forces"), rel=1e-9
    )
    check_export(kind, path)
    with pytest.raises(InputError, match="backend torch"):
        TLCalculator(path, backend="native")
    check_slopes(path, folder)


def check_export(kind, path):
    """A module that does not say how far its features reach is refused."""
    if kind == "torchscript":
        with pytest.raises(InputError, match="without n_layers"):
            export_model(path)
    else:
        model, frame = load_exported(export_model(path))[0], load_sample(path)
        assert evaluate(model, graph_of(frame)).energy.item() == pytest.approx(
            evaluate(load_model(path)[0], graph_of(frame)).energy.item(), rel=1e-10
        )


def check_slopes(path, folder):
    """Forces and stress are slopes of the energy."""
    frame = read_frames(folder / "valid.extxyz")[1]
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.calc = TLCalculator(path)
    forces, stress, step = atoms.get_forces(), atoms.get_stress(voigt=False), 1e-4

    def slope(move):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            move(moved, sign * step)
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        return (energies[0] - energies[1]) / (2 * step)

    def shift(moved, by):
        moved.positions[2, 1] += by

    def stretch(moved, by):
        moved.set_cell(moved.cell.array @ np.diag([1.0, 1.0 + by, 1.0]), scale_atoms=True)

    assert forces[2, 1] == pytest.approx(-slope(shift), rel=1e-4, abs=1e-5)
    assert stress[1, 1] == pytest.approx(slope(stretch) / atoms.get_volume(), rel=1e-4, abs=1e-6)


def test_a_fit_goes_on_with_more_frames(folder):
    write_backbone("torchscript", folder / "backbone.model")
    (folder / "mekrr.toml").write_text(settings("torchscript"))
    fit(folder, "first", "training.n_frames=6", 'training.select="first"')
    updated = fit(folder, "updated", 'update="first"')
    assert "10 frames" in updated.card.training_data


def test_mace_features_are_those_of_mace(folder, frames):
    """All of node_feats but the vectors, by mace-torch's own forward pass; also in float32."""
    model = small_mace(CUTOFF).eval()
    write_mace(folder / "double.model", model)
    frame = frames[1]
    graph = graph_of(frame)
    centre, column = torch.where(graph.vectors.norm(dim=-1) < CUTOFF)
    sender = graph.neighbours[centre, column].long()
    positions = torch.from_numpy(frame.positions)
    data = {
        "positions": positions.clone(),
        "edge_index": torch.stack([sender, centre]),
        "shifts": positions[sender] - positions[centre] - graph.vectors[centre, column],  # receiver is the centre
        "node_attrs": nn.functional.one_hot(graph.species * 2, 3).double(),  # H, C, O
        "batch": torch.zeros(len(frame), dtype=torch.long),
        "ptr": torch.tensor([0, len(frame)]),
        "cell": torch.from_numpy(frame.cell),
    }
    theirs = model(data, compute_force=False)["node_feats"].detach()  # 8x0e + 8x1o, 8x0e
    assert theirs.shape[1] == 40
    scalars = torch.cat([theirs[:, :8], theirs[:, 32:]], dim=1)
    for layers, wanted in (([0, 1], scalars), ([0], scalars[:, :8]), ([-1], scalars[:, 8:])):
        found = open_backbone("mace", folder / "double.model", layers, ["H", "O"]).features(graph)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    write_mace(folder / "single.model", model.float())
    single = open_backbone("mace", folder / "single.model", [0, 1], ["H", "O"])
    found = single.features(graph_of(frame, dtype=torch.float32))
    assert found.dtype == single.dtype == torch.float32
    torch.testing.assert_close(found.double(), scalars, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_refused(folder, frames):
    write_script(folder / "good.model")
    with pytest.raises(InputError, match="element Si"):
        open_backbone("torchscript", folder / "good.model", [-1], ["O", "Si"])
    with pytest.raises(InputError, match="not a TorchScript file"):
        open_backbone("torchscript", folder / "train.extxyz", [-1], ["O"])
    for name, value in {"elements": ["O", "Xx"], "cutoff": -1.0, "width": 0, "n_layers": 0}.items():
        write_script(folder / "bad.model", **{name: value})
        with pytest.raises(InputError, match=f"with {name}"):
            open_backbone("torchscript", folder / "bad.model", [-1], ["O"])
    write_script(folder / "bad.model", width=13)
    with pytest.raises(InputError, match="13"):
        open_backbone("torchscript", folder / "bad.model", [-1], ["H", "O"]).features(graph_of(frames[0]))
    (folder / "mekrr.toml").write_text(settings("torchscript"))
    with pytest.raises(InputError, match="no layers for kind torchscript"):
        load_config(MekrrConfig, folder / "mekrr.toml", ["backbone.layers=[0]"])


def test_mace_models_that_do_not_fit_are_refused(folder):
    write_backbone("mace", folder / "good.model")
    with pytest.raises(InputError, match="layers"):
        open_backbone("mace", folder / "good.model", [2], ["O"])
    with pytest.raises(InputError, match="not a model file"):
        open_backbone("mace", folder / "train.extxyz", [0], ["O"])
    torch.save(nn.Linear(2, 2), folder / "linear.model")
    with pytest.raises(InputError, match="with Linear"):
        open_backbone("mace", folder / "linear.model", [0], ["O"])
    (folder / "mekrr.toml").write_text(settings("mace"))
    named = load_config(MekrrConfig, folder / "mekrr.toml", ['backbone.model="mace-mp tiny"'])
    with pytest.raises(InputError, match="medium-mpa-0"):
        named.input_files()
