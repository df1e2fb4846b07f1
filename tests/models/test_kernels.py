"""Kernels, their feature maps and slopes, K_alpha against its definition, and its random features."""

import numpy as np
import pytest
import torch

from tlmd.engine import Engine
from tlmd.graph import build_graph
from tlmd.mekrr.ridge import Blocks
from tlmd.modelfile import Card, load_model, save_model
from tlmd.models.architecture import Architecture, KernelArchitecture, kernel_potential
from tlmd.models.kernels import Atoms, FourierMap, Kernel, LandmarkMap, LinearMap, alpha_kernel, nystroem
from tlmd.models.potential import evaluate
from tlmd.run.errors import InputError

KERNELS = [Kernel("linear"), Kernel("gaussian", 1.3), Kernel("polynomial", degree=3)]


def random_atoms(seed: int, sizes=((2, 1), (1, 3), (4, 2)), width=4) -> Atoms:
    """Frames with (n_0, n_1) atoms of two species in random order."""
    rng = np.random.default_rng(seed)
    species = [rng.permutation(np.repeat([0, 1], size)) for size in sizes]
    frame = np.repeat(np.arange(len(sizes)), [sum(size) for size in sizes])
    h = torch.from_numpy(rng.normal(size=(len(frame), width)))
    return Atoms(h, torch.from_numpy(np.concatenate(species)), torch.from_numpy(frame), 2)


def maps() -> dict[str, torch.nn.Module]:
    generator = torch.Generator().manual_seed(2)
    marks = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    found = {f"nystroem-{kernel.kind}": nystroem(kernel, marks) for kernel in KERNELS}
    found["fourier"] = FourierMap(4, 12).double().draw([1.3, 3.0], generator)
    return found | {"linear": LinearMap(4)}


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.kind)
def test_alpha_kernel_is_its_definition(kernel, aggregation):
    a, b, alpha = random_atoms(1), random_atoms(2), 0.3
    found = alpha_kernel(kernel, a, b, alpha, aggregation)
    for t in range(3):
        for u in range(3):
            x, y = a.frame == t, b.frame == u
            values = kernel(a.h[x], b.h[y])
            mean = aggregation == "mean"
            expected = (1 - alpha) * (values.mean() if mean else values.sum())
            for s in range(2):
                part = values[a.species[x] == s][:, b.species[y] == s]
                expected += alpha * (part.mean() if mean else part.sum())
            assert float(found[t, u]) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("name", maps())
def test_slopes(name):
    made, h = maps()[name], random_atoms(3).h
    found = made.slopes(h)
    for i in range(len(h)):
        exact = torch.autograd.functional.jacobian(lambda x: made(x[None])[0], h[i])
        torch.testing.assert_close(found[i], exact.T, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.kind)
def test_nystroem_is_exact_on_its_landmarks(kernel):
    h = random_atoms(4).h
    phi = nystroem(kernel, h)(h)
    torch.testing.assert_close(phi @ phi.T, kernel(h, h), rtol=1e-6, atol=1e-6)


def test_random_features_converge_to_the_exact_alpha_kernel():
    """The rms error falls with the square root of the number of features."""
    a, b, kernel, alpha = random_atoms(5), random_atoms(6), Kernel("gaussian", 1.5), 0.4
    exact = alpha_kernel(kernel, a, b, alpha)

    def mean_features(atoms: Atoms, made: FourierMap) -> torch.Tensor:
        counts = atoms.counts()
        psi = torch.zeros(len(counts), 2, 2 * len(made.frequencies), dtype=torch.float64)
        psi.view(-1, psi.shape[2]).index_add_(0, atoms.frame * 2 + atoms.species, made(atoms.h))
        blocks = Blocks(2, None)
        rows = torch.stack([blocks.rows(p, c.sum() / c) / c.sum() for p, c in zip(psi, counts, strict=True)])
        return rows @ torch.kron(blocks.prior(alpha), torch.eye(psi.shape[2], dtype=torch.float64))

    errors = []
    for n in (64, 256, 1024, 4096):
        squares = []
        for seed in range(12):
            made = FourierMap(4, n).double().draw([1.5], torch.Generator().manual_seed(seed))
            squares.append(float(((mean_features(a, made) @ mean_features(b, made).T - exact) ** 2).mean()))
        errors.append(np.sqrt(np.mean(squares)))
    rate = np.polyfit(np.log([64, 256, 1024, 4096]), np.log(errors), 1)[0]
    assert -0.65 < rate < -0.35
    assert errors[-1] < 0.02


def head(kind: str, map_: str, layers: list[int], aggregation: str, n_features: int, n_landmarks: int = 0):
    return KernelArchitecture(
        kind=kind, map=map_, layers=layers, aggregation=aggregation, alpha=1, length=2.0, degree=3,
        n_features=n_features, n_landmarks=n_landmarks,
    )  # fmt: skip


HEADS = {
    "fourier": head("gaussian", "fourier", [1], "sum", 74),
    "linear": head("linear", "linear", [0, 2], "sum", 40),
    "gaussian": head("gaussian", "landmarks", [0, 1], "mean", 5, 9),
    "polynomial": head("polynomial", "landmarks", [2], "mean", 7, 7),
    "linear_landmarks": head("linear", "landmarks", [2], "sum", 7, 7),
}


def random_kernel_potential(kernel: KernelArchitecture, first_cutoff: float | None = None):
    """Sizeable random buffers; float64."""
    torch.manual_seed(5)
    architecture = Architecture(width=20, n_layers=max(kernel.layers) + 1, n_radial=6, first_cutoff=first_cutoff)
    potential = kernel_potential(["H", "O"], 4.0, architecture, kernel).double().eval().requires_grad_(False)
    for buffer in potential.net.head.buffers():
        buffer.copy_(torch.randn_like(buffer))
    return potential


@pytest.mark.parametrize(("isa", "first_cutoff"), [("auto", None), ("portable", None), ("auto", 5.5)])
@pytest.mark.parametrize("name", HEADS)
def test_engine_equals_torch(name, isa, first_cutoff):
    potential = random_kernel_potential(HEADS[name], first_cutoff)
    rng = np.random.default_rng(1)
    numbers, positions = rng.choice([1, 8], 60), rng.uniform(0, 8.0, (60, 3))
    graph = build_graph(numbers, positions, np.eye(3) * 8.0, [True] * 3, ["H", "O"], potential.cutoff, torch.float64)
    exact, found = evaluate(potential, graph), Engine(potential, n_bins=0, isa=isa).evaluate(graph)
    for a, b in zip(exact, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9 * float(a.abs().max()))


def test_kernels_of_an_older_tlmd_are_refused(tmp_path):
    """Cosines with phases."""
    potential = random_kernel_potential(HEADS["fourier"])
    architecture = Architecture(width=20, n_layers=2, n_radial=6)
    card = Card(kind="mekrr", elements=["H", "O"], cutoff=4.0, architecture=architecture, kernel=HEADS["fourier"])
    save_model(tmp_path / "new.pt", potential, card)
    load_model(tmp_path / "new.pt")
    potential.net.head.map.register_buffer("phases", torch.zeros(37))
    save_model(tmp_path / "old.pt", potential, card)
    with pytest.raises(InputError, match="a kernel of an older tlmd"):
        load_model(tmp_path / "old.pt")


def test_landmarks_may_be_fewer_than_their_features():
    assert LandmarkMap(4, 9, 5, KERNELS[1])(torch.zeros(3, 4)).shape == (3, 5)
