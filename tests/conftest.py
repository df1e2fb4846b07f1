"""Fixtures of the tests of tl-generate: a module's TOML as a file, and the set that it gives."""

import pytest

from tlmd.config import load_config
from tlmd.data import classical
from tlmd.data.config import GenerateConfig
from tlmd.data.frames import read_frames


@pytest.fixture(scope="module")
def toml(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("toml") / "generate.toml"
    path.write_text(request.module.TOML)
    return path


@pytest.fixture(scope="module")
def finished(toml):
    config = load_config(GenerateConfig, toml)
    return config, read_frames(classical.generate(config, toml.parent / "whole"))
