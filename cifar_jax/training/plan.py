"""The plan of a run: what its config and its data come to, fixed before the first step."""

import logging
import pathlib
from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data import batches, normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.training import durations, optimizers, parallel, precision, weights
from cifar_jax.training import state as states
from cifar_jax.training.state import TrainState


class Plan(NamedTuple):
    """Names and durations of a config as functions and steps, and the data that they are for."""

    config: ConfigDict
    mesh: Mesh
    training: batches.TrainingSet
    validation: Arrays | None
    normalizer: normalize.Normalizer
    model: nn.Module
    dtype: DTypeLike
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int
    total_steps: int
    save_every: int  # steps


class Lengths(NamedTuple):
    """The lengths of a run in steps."""

    steps_per_epoch: int
    total_steps: int


def lengths(config: ConfigDict, size: int) -> Lengths:
    """Returns how many steps an epoch and the run have, for a number of training images.

    The last, incomplete batch of an epoch is left out; the next epoch draws another order.

    Raises:
      UserError: the batch is larger than the training part, or the length is no duration.
    """
    batch_size = config.train.batch_size
    steps_per_epoch = size // batch_size
    if not steps_per_epoch:
        raise UserError(
            f'config.train.batch_size={batch_size} is more than the {size} training images: use a '
            'smaller batch.'
        )
    total_steps = durations.steps(
        config.train.length, steps_per_epoch=steps_per_epoch, total_steps=None
    )
    return Lengths(steps_per_epoch, total_steps)


def make(config: ConfigDict, data: Prepared) -> Plan:
    """Returns the plan of a run; call it before anything else asks JAX for its devices.

    Raises:
      UserError: the batch does not fit the data or the devices, or a duration does not fit.
    """
    mesh = parallel.make_mesh(config.mesh.devices, config.train.batch_size)
    training = batches.Resident(
        data.train, len(data.classes), config.train.batch_size, parallel.replicated(mesh)
    )
    steps_per_epoch, total_steps = lengths(config, training.size)
    schedule = optimizers.make_schedule(
        config.schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    dtype, remark = precision.compute_dtype(config.precision)
    if remark:
        logging.getLogger('cifar_jax').info(remark)
    options = {key: value for key, value in config.model.items() if key != 'name'}
    return Plan(
        config=config,
        mesh=mesh,
        training=training,
        validation=data.validation,
        normalizer=data.normalizer,
        model=models.create(config.model.name, training.classes, dtype=dtype, **options),
        dtype=dtype,
        optimizer=optimizers.make_optimizer(config.optimizer, schedule),
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        save_every=durations.steps(
            config.checkpoint.every, steps_per_epoch=steps_per_epoch, total_steps=total_steps
        ),
    )


def initial_state(plan: Plan, variables: Any = None) -> TrainState:
    """Returns the state before the first step; None draws the variables from the seed."""
    return states.create(
        plan.model,
        plan.optimizer,
        seed=plan.config.seed,
        image_shape=plan.training.image_shape,
        ema=plan.config.ema > 0,
        variables=variables,
    )


def given_variables(plan: Plan) -> Any:
    """Returns the variables that `config.init_from` names, or None where it is empty.

    Raises:
      UserError: they are missing, damaged, or those of another network.
    """
    if not plan.config.init_from:
        return None
    shapes = jax.eval_shape(lambda: initial_state(plan)).variables
    return weights.load(pathlib.Path(plan.config.init_from), shapes)
