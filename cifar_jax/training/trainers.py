"""Selects the trainer of a model."""

from cifar_jax.training import jax_trainer, numpy_network, numpy_trainer
from cifar_jax.training.trainer import Trainer


def trainer_of(model: str) -> Trainer:
    """Returns the trainer of the model with this name (`config.model.name`)."""
    return numpy_trainer if model == numpy_network.MODEL else jax_trainer
