"""Tables of learning curves, from rows made up here."""

import math

import pytest

from tlmd.curves.config import CurveConfig
from tlmd.curves.report import converged, error_table, forgetting_table, mean_gain, saving, score


def test_label_saving():
    baseline = [(1, 8.0), (4, 4.0), (16, 1.0)]
    assert saving(1, 4.0, baseline) == "4.00"
    assert saving(2, 2.0, baseline) == "4.00"  # half way from 4 to 16 in the logarithm: 8 frames
    assert saving(1, math.sqrt(32.0), baseline) == "2.00"
    assert saving(2, 0.5, baseline) == "> 8.00" and saving(2, 9.0, baseline) == "< 0.500"
    assert saving(2, 8.0, baseline) == "0.500" and saving(2, 8.0, [(1, 8.0), (4, 9.0)]) == "0.500"
    assert saving(1, 1.0, []) == "-" and saving(1, None, baseline) == "-"


def synthetic(method, frames, seed, force, budget=100, loss=1.0, **more):
    row = {"method": method, "labels": "all", "frames": frames, "seed": seed, "budget": budget, "steps": budget}
    row |= {"minutes": 0.5, "valid_loss": loss, "valid_force_mae_mev_per_A": 2.0 * force}
    return row | {"test_force_mae_mev_per_A": force, **more}


def config_of(*methods, **more):
    stage = {"stage": "pretrain", "config": "x.toml"}
    return CurveConfig(methods={name: stage for name in methods}, sizes=[2], steps=100, **more)


def test_ratios_are_taken_seed_by_seed():
    rows = [synthetic("a", 2, 1, 30.0), synthetic("a", 2, 2, 50.0), synthetic("a", 8, 1, 10.0)]
    rows += [synthetic("b", 2, 1, 10.0), synthetic("b", 2, 2, 25.0), synthetic("b", 2, 3, 25.0)]
    header, a2, b2, a8 = error_table([*rows[:2], *rows[3:], rows[2]], config_of("a", "b"), "test")
    assert header == ["frames", "method", "test force, meV/Å", "x", "saving", "valid force", "steps", "min"]
    assert a2 == ["2", "a", "40.0 ± 14.1", "1", "1", "80.0 ± 28.3", "100", "0.50"]
    assert b2[:4] == ["2", "b", "20.0 ± 8.7", "2.50 ± 0.71"]  # 30/10 and 50/25; seed 3 has no partner
    assert float(b2[4]) == pytest.approx(2.0, abs=0.01)  # the baseline falls from 40 to 10 between 2 and 8 frames
    assert a8 == ["8", "a", "10.0", "1", "1", "20.0", "100", "0.50"]
    assert score(rows[3:], rows[:2], "mae") == pytest.approx(0.5)


def test_the_converged_budget_has_the_lowest_validation_loss():
    config = config_of("a", converge={"max_steps": 400, "gain": 0.1})
    rows = [
        synthetic("a", 2, s, 1.0, budget, loss) for budget, loss in ((100, 4.0), (200, 2.0), (400, 2.1)) for s in (1, 2)
    ]
    chosen, unfinished = converged(rows, config)
    assert {row["budget"] for row in chosen} == {200} and len(chosen) == 2 and not unfinished
    chosen, unfinished = converged(rows[:4], config)
    assert {row["budget"] for row in chosen} == {200} and unfinished == {(2, "a")}
    assert mean_gain(rows[:2], rows[2:4]) == pytest.approx(0.5)
    uneven = [synthetic("a", 2, 1, 1.0, loss=2.0), synthetic("a", 2, 2, 1.0, loss=8.0)]
    assert mean_gain(rows[:2], uneven) == pytest.approx(0.0)  # geometric mean


def test_forgetting():
    names = ("classical_before_force_mae_mev_per_A", "classical_force_mae_mev_per_A")
    rows = [synthetic("a", 2, 1, 1.0), synthetic("b", 2, 1, 1.0, **dict(zip(names, (3.0, 40.0), strict=True)))]
    assert forgetting_table(rows, config_of("a", "b"))[1:] == [["2", "b", "-", "-", "3.00", "40.0"]]
    assert forgetting_table(rows[:1], config_of("a", "b")) == []
