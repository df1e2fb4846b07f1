"""Python face of the native engine (lammps_plugin/engine)."""

from tlmd.engine.evaluate import Engine, choose_backend, predictor
from tlmd.engine.inputs import pairs_of, pairs_within, weights_of
from tlmd.engine.training import FeatureEngine, TrainingEngine, differentiable

__all__ = [
    "Engine",
    "FeatureEngine",
    "TrainingEngine",
    "choose_backend",
    "differentiable",
    "pairs_of",
    "pairs_within",
    "predictor",
    "weights_of",
]
