"""The selection of trainers, and their common interface."""

import pytest

from cifar_jax.models import MODELS
from cifar_jax.training import jax_trainer, numpy_trainer
from cifar_jax.training.trainer import Trainer
from cifar_jax.training.trainers import trainer_of


@pytest.mark.parametrize('model', MODELS)
def test_jax_trains_every_model(model):
    assert trainer_of(model) is jax_trainer


def test_numpy_trains_a_list_of_layers():
    assert trainer_of('Network') is numpy_trainer


@pytest.mark.parametrize('trainer', [jax_trainer, numpy_trainer])
def test_both_have_all_functions_of_a_trainer(trainer):
    assert isinstance(trainer, Trainer)
