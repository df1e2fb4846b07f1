"""The TOMLs of tl-curve for water."""

from pathlib import Path

import pytest

from tlmd.curves.config import CurveConfig
from tlmd.curves.curve import STAGES
from tlmd.modelfile import load_model
from tlmd.run.config import load_config
from tlmd.run.installed import SHIPPED, water_inputs
from tlmd.train.finetune import parameter_groups

PUBLIC = Path(__file__).parents[2] / "inputs/benchmarks/water_revpbe0d3"  # not part of an installation
WATER = [water_inputs() / name for name in ("curve.toml", "search.toml", "which.toml")]


@pytest.mark.parametrize("path", [*WATER, PUBLIC / "curve.toml", PUBLIC / "which.toml"], ids=str)
def test_the_settings_of_inputs_are_known_keys_and_parts(path):
    config = load_config(CurveConfig, path)
    network = load_model(SHIPPED["water-spcfw-f64"])[0]
    for method in config.methods.values():
        stage = load_config(STAGES[method.stage][0], method.config, method.set + method.set_energies)
        if method.stage == "finetune":
            parameter_groups(network, stage.transfer.freeze, stage.transfer.rates)
