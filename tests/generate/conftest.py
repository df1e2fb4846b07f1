"""Fixtures of the tests of tl-generate: a module's TOML as a file, and the set that it gives."""

import pytest

from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.config import GenerateConfig
from tlmd.run.config import load_config


@pytest.fixture(scope="module")
def toml(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("toml") / "generate.toml"
    path.write_text(request.module.TOML)
    return path


@pytest.fixture(scope="module")
def finished(toml):
    config = load_config(GenerateConfig, toml)
    return config, read_frames(driver.generate(config, toml.parent / "whole"))
