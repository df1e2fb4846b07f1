"""From which deviation on tl-learn takes a frame: by errors on labelled frames of MD, at most the card's limit."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule

from tlmd.analysis.statistics import Estimate
from tlmd.calculator import TLCalculator
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.learn.config import LearnConfig, StateConfig, WatchConfig
from tlmd.learn.dynamics import Run
from tlmd.learn.learn import ended
from tlmd.learn.limits import Known, compare, factor, limits
from tlmd.learn.properties import Value
from tlmd.modelfile import load_model, load_sample, save_model
from tlmd.run.executor import LocalConfig
from tlmd.run.installed import SHIPPED

TWO = [SHIPPED["water-spcfw-f64"], SHIPPED["water-gfn1-f64"]]


@pytest.fixture
def carded(tmp_path):
    """A model whose card has limits, 0.2 and 0.4 eV/A."""
    model, card = load_model(TWO[0])
    card = card.model_copy(update={"deviation": {"dump_eV_A": 0.2, "halt_eV_A": 0.4}})
    save_model(tmp_path / "model.pt", model, card, load_sample(TWO[0]))
    return tmp_path / "model.pt"


def water(shift=0.0, forces=True) -> Frame:
    """A molecule of water with a bent bond, and forces that are all `shift` (eV/A) off the first model's along x."""
    atoms = molecule("H2O")
    atoms.positions[1] += 0.05
    atoms.calc = TLCalculator(TWO[0])
    labels = {"energy": 0.0, "forces": atoms.get_forces() + np.array([shift, 0, 0])} if forces else {}
    return Frame(atoms.numbers, atoms.positions, np.zeros((3, 3)), np.zeros(3, bool), **labels)


def test_labels_are_compared_with_a_committee():
    found = compare(TWO, [water(0.3), water(forces=False), water(0.0)])
    assert len(found) == 2  # one has no forces
    assert found[0].error == pytest.approx(0.3, abs=1e-6) and found[1].error == pytest.approx(0.0, abs=1e-6)
    atoms = water().atoms()
    forces = np.array([TLCalculator(file).get_forces(atoms) for file in TWO])
    by_hand = np.linalg.norm(forces[0] - forces[1], axis=1).max() / np.sqrt(2)
    assert found[0].deviation == pytest.approx(by_hand, rel=1e-4) and by_hand > 0.1


def test_the_factor_is_of_root_mean_squares():
    known = [Known(0.1, 0.2), Known(0.2, 0.4), Known(0.3, 0.6), Known(0.4, 0.8)]
    assert factor(known) == pytest.approx(2.0)
    assert factor(known[:3]) is None  # too few
    assert factor([Known(0.0, 0.2)] * 4) is None and factor([Known(np.inf, 0.2)] * 4) is None


def test_limits(carded):
    watch = WatchConfig(error=0.3)
    assert limits(watch, carded, None).dump == 0.2  # of the card
    assert limits(watch, carded, 1.0).dump == 0.2  # never above it
    tight = limits(watch, carded, 3.0)
    assert tight.dump == pytest.approx(0.1) and tight.halt == "auto"
    assert limits(watch, TWO[0], None).dump == "auto"  # a card without
    assert limits(watch, TWO[0], 2.0).dump == pytest.approx(0.15)
    assert limits(WatchConfig(dump=0.7), carded, 3.0).dump == 0.7  # the user's


def test_the_limit_reaches_lammps(carded, tmp_path):
    write_frames(tmp_path / "one.extxyz", [water()])
    state = StateConfig(frames=tmp_path / "one.extxyz", temperature_K=300)
    run = Run(tmp_path / "md", "a", 1, 1, state)
    run.job([carded, carded], limits(WatchConfig(), carded, 3.0), LocalConfig())
    deck = (tmp_path / "md" / "in.lmp").read_text()
    assert "every 10 dump 0.1" in deck and "halt auto" in deck


def test_a_property_that_moves_goes_on_without_unsure_frames(tmp_path):
    def rounds(*densities):
        record = {"tried": 2, "labelled": 2, "unsure": 0, "runs": [{"why": ""}]}
        values = [Value(Estimate(density, 0.01, "g/cm3", 10)) for density in densities]
        return [SimpleNamespace(record=record, value=value) for value in values]

    table = {"frames": tmp_path / "x", "temperature_K": 300, "ensemble": "npt"}
    config = {"label": "l", "finetune": "f", "start": {"pool": ["p"]}, "states": {"a": table}}
    plain = LearnConfig.model_validate(config)
    density = LearnConfig.model_validate(config | {"stop": {"property": "density"}})
    assert ended(plain, rounds(0.9, 0.95)) == "0 unsure frames in the last round"
    assert ended(density, rounds(0.9, 0.95)) == ended(density, rounds(0.9, 0.95, 0.951)) == ""
    assert ended(density, rounds(0.9, 0.95, 0.951, 0.949)) == "density has not moved for 2 rounds"
    budget = density.model_copy(update={"stop": density.stop.model_copy(update={"labels": 4})})
    assert ended(budget, rounds(0.9, 0.95)) == "the budget of 4 labels is spent"
