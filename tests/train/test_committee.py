"""`committee` of tl-finetune: members, their deviations and limits, killed and started again, export of all."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from tlmd.calculator import TLCalculator
from tlmd.cli import export as tl_export
from tlmd.committee import deviations
from tlmd.export import export_members, export_model, lammps_lines
from tlmd.frames.read import read_frames
from tlmd.modelfile import load_model, read_card
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.train.committee import DUMP, HALT, tell_apart
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

pytestmark = pytest.mark.filterwarnings("ignore:.*guesses")  # of contacts in random frames
THREE = ("committee=3", "committee_jobs=1", 'data.test="test.extxyz"', "training.plots=false")


@pytest.fixture
def start(folder):
    """The folder, with a model pretrained on the classical frames in old/model.pt."""
    settings = ['data.train="classical.extxyz"', "training.max_steps=30", "training.plots=false"]
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", settings), folder / "old")
    return folder


def tuned(folder, name, *settings):
    return finetune(load_config(FinetuneConfig, folder / "finetune.toml", settings), folder / name)


def files(out):
    return [out / "model.pt", out / "members" / "2" / "model.pt", out / "members" / "3" / "model.pt"]


def parameters(file):
    return torch.cat([p.flatten() for p in load_model(file)[0].parameters()])


def atoms_of(frame):
    return Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)


def test_the_first_member_is_the_run_without_a_committee(start):
    tuned(start, "three", *THREE)
    tuned(start, "one", *THREE[2:])
    one, two, three = map(parameters, files(start / "three"))
    assert torch.equal(one, parameters(start / "one" / "model.pt"))
    assert (one - two).abs().max() > 1e-4 and (two - three).abs().max() > 1e-4
    assert (start / "one" / "metrics.csv").read_text().split("\n")[1].split(",")[3:] == (
        start / "three" / "metrics.csv"
    ).read_text().split("\n")[1].split(",")[3:]
    card = (start / "one" / "model.pt").read_bytes()
    assert b'"deviation"' not in card and b'"deviation"' in (start / "three" / "model.pt").read_bytes()
    assert "member = " not in (start / "one" / "config.toml").read_text()
    assert "member = 3" in (start / "three" / "members" / "3" / "config.toml").read_text()


def test_limits_are_those_of_the_validation_frames(start, capsys):
    tuned(start, "new", *THREE)
    shown = " ".join(capsys.readouterr().out.split())
    calculator, limits = TLCalculator(files(start / "new")), read_card(start / "new" / "model.pt").deviation
    each = [TLCalculator(file) for file in files(start / "new")]
    found = {}
    for name in ("valid", "test"):
        by_hand = []
        for frame in map(atoms_of, read_frames(start / f"{name}.extxyz")):
            forces = np.stack([c.get_forces(frame) for c in each])
            by_hand.append(np.sqrt(np.sum((forces - forces.mean(0)) ** 2, axis=(0, 2)) / 2))
            whole, of_atoms = calculator.deviations(frame)
            np.testing.assert_allclose(of_atoms, by_hand[-1], rtol=1e-6, atol=1e-12)
            assert whole == of_atoms.max() and of_atoms.shape == (len(frame),)
        found[name] = np.concatenate(by_hand)
    limit = np.quantile(found["valid"], 0.999)
    assert limits == {
        "quantity": "forces", "members": 3, "frames": "valid", "p999_eV_A": pytest.approx(limit, rel=1e-3),
        "dump_eV_A": pytest.approx(DUMP * limit, rel=1e-3), "halt_eV_A": pytest.approx(HALT * limit, rel=1e-3),
    }  # fmt: skip
    assert f"dump auto from {DUMP * limit:.3g}" in shown
    assert f"test atoms above {limit:.3g} eV/A: {100 * np.mean(found['test'] > limit):.2g} %" in shown
    frame = atoms_of(read_frames(start / "test.extxyz")[0])
    frame.calc = calculator
    assert np.array_equal(frame.get_forces(), each[0].get_forces(frame))  # the first one runs


def test_a_member_has_a_new_readout_and_the_same_start(start):
    config = load_config(FinetuneConfig, start / "finetune.toml", [])
    old = load_model(start / "old" / "model.pt")[0].net
    readouts = []
    for k in (None, 2, 3, 2):
        net = load_model(start / "old" / "model.pt")[0].net
        tell_apart(net, config.model_copy(update={"member": k}))
        same = {name: torch.equal(p, q) for (name, p), q in zip(net.named_parameters(), old.parameters(), strict=True)}
        assert all(equal == (k is None or not name.startswith("energy.")) for name, equal in same.items())
        readouts.append(net.energy[0].weight)
    assert torch.equal(readouts[1], readouts[3]) and not torch.equal(readouts[1], readouts[2])


def test_a_frozen_readout_is_refused_before_any_training(start):
    with pytest.raises(InputError, match="readout is frozen"):
        tuned(start, "new", "committee=2", 'transfer.freeze=["energy.0"]')
    assert not (start / "new").exists()


def test_without_validation_frames_the_training_frames_are_taken(start, capsys):
    toml = start / "finetune.toml"
    toml.write_text(toml.read_text().replace('valid = "valid.extxyz"', "valid_fraction = 0"))
    tuned(start, "new", "committee=2", "committee_jobs=1", "training.plots=false")
    assert "no validation frames" in capsys.readouterr().out
    assert read_card(start / "new" / "model.pt").deviation["frames"] == "train"


def test_killed_and_started_again(start):
    """After SIGKILL members end as well, in the middle of a run; started again all is as if nothing had been."""
    settings = [
        "committee=3",
        *THREE[2:],
        "training.max_steps=200",
        "training.valid_every=100",
        "training.checkpoint_every=20",
    ]
    settings.append("committee_jobs=2")
    tuned(start, "whole", *settings)
    words = [f"--set={setting}" for setting in settings]
    command = [Path(sysconfig.get_path("scripts")) / "tl-finetune", start / "finetune.toml", "--out", start / "new"]
    process = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    member = start / "new" / "members" / "2"
    while not (member / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (start / "new" / "errors.json").exists()
    for _ in range(100):  # the member's process notices
        time.sleep(0.1)
        try:
            result = tuned(start, "new", *settings)
            break
        except InputError as error:
            assert "in use" in str(error)
    assert "resumed at step" in (member / "log.txt").read_text()
    for there, whole in zip(files(start / "new"), files(start / "whole"), strict=True):
        assert torch.equal(parameters(there), parameters(whole))
    assert result.card.deviation == read_card(start / "whole" / "model.pt").deviation
    times = [os.stat(file).st_mtime_ns for file in files(start / "new")]
    assert tuned(start, "new", *settings).card.deviation == result.card.deviation
    assert times == [os.stat(file).st_mtime_ns for file in files(start / "new")]  # complete; nothing to do


def test_all_members_are_exported(start, monkeypatch, capsys):
    tuned(start, "new", *THREE)
    capsys.readouterr()
    out = start / "new"
    monkeypatch.setattr("sys.argv", ["tl-export", str(out / "model.pt"), "--dtype", "float64"])
    with pytest.raises(SystemExit) as ended:
        tl_export()
    *names, line = capsys.readouterr().out.split("\n")[:-1]
    assert ended.value.code in (None, 0)
    assert names == [str(out / name) for name in ("model-lammps.pt", "model-2-lammps.pt", "model-3-lammps.pt")]
    assert line == f"pair_coeff * * {' '.join(names)} H O"
    assert read_card(names[0]).deviation == read_card(out / "model.pt").deviation
    frame = atoms_of(read_frames(start / "test.extxyz")[0])
    there, here = (TLCalculator(members).deviations(frame)[1] for members in (names, files(out)))
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-6)
    (out / "members" / "3" / "model.pt").rename(out / "lost.pt")
    alone = export_members(out / "model.pt", export_model(out / "model.pt", out / "other.pt"))
    assert alone == [out / "other.pt"] and not (out / "other-2.pt").exists()
    assert lammps_lines(alone) == ["# the first of 3 members alone: the others are not in members/ beside it"]


def test_deviations_of_forces():
    forces = torch.tensor([[[1.0, 0, 0], [0, 0, 0]], [[-1.0, 0, 0], [0, 0, 0]], [[0, 0, 3.0], [0, 0, 0]]])
    np.testing.assert_allclose(deviations(forces), [2.0, 0.0], rtol=1e-6)
    with pytest.raises(InputError, match="two or more"):
        deviations(forces[:1])


def test_models_of_other_elements_are_refused(start):
    tuned(start, "new", "training.plots=false")
    settings = ['model.elements=["O", "H"]', "training.max_steps=1", "training.plots=false"]
    pretrain(load_config(PretrainConfig, start / "pretrain.toml", settings), start / "turned")
    with pytest.raises(InputError, match="the same elements"):
        TLCalculator([start / "new" / "model.pt", start / "turned" / "model.pt"])
    single = TLCalculator(start / "new" / "model.pt")
    with pytest.raises(InputError, match="a model without deviations"):
        single.deviations(atoms_of(read_frames(start / "test.extxyz")[0]))
