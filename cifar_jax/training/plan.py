"""The plan of a run: its config and data as objects, fixed before the first step."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import PyTree
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data import batches, normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.data.records import Records
from cifar_jax.errors import UserError
from cifar_jax.models import image_size
from cifar_jax.models.image_model import head_names
from cifar_jax.training import durations, groups, limits, optimizers, parallel, precision, weights
from cifar_jax.training import state as states
from cifar_jax.training.state import TrainState


class Plan(NamedTuple):
    """A config resolved to functions, numbers of steps, and data."""

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
    read: Callable[[str], weights.Source]  # of what `config.init_from` names


class Lengths(NamedTuple):
    """The lengths of a run in steps."""

    steps_per_epoch: int
    total_steps: int


def lengths(config: ConfigDict, size: int) -> Lengths:
    """Returns the numbers of steps in an epoch and in the run, for `size` training images.

    The last batch of an epoch is dropped if it is incomplete; each epoch has another order.

    Raises:
      UserError: the batch is larger than the training part, or the length is not a duration.
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


def make(
    config: ConfigDict, data: Prepared, read: Callable[[str], weights.Source] = weights.read
) -> Plan:
    """Returns the plan of a run; call it before anything else uses JAX's devices.

    Args:
      read: returns the weights that `config.init_from` names.

    Raises:
      UserError: the batch does not fit the data or the devices, a duration does not fit, or a
        group of parameters has no effect.
    """
    config = limits.with_evaluation_batch(config, data.train.images.shape[1:])
    mesh = parallel.mesh_of(config)
    training = _training_set(data, config.train.batch_size, mesh)
    steps_per_epoch, total_steps = lengths(config, training.size)
    schedule = optimizers.make_schedule(
        config.schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    steps = functools.partial(
        durations.steps, steps_per_epoch=steps_per_epoch, total_steps=total_steps
    )
    dtype, remark = precision.compute_dtype(config.precision)
    if remark:
        logging.getLogger('cifar_jax').info(remark)
    options = {key: value for key, value in config.model.items() if key != 'name'}
    plan = Plan(
        config=config,
        mesh=mesh,
        training=training,
        validation=data.validation,
        normalizer=data.normalizer,
        model=models.create(config.model.name, training.classes, dtype=dtype, **options),
        dtype=dtype,
        optimizer=optimizers.make_optimizer(config.optimizer, schedule, steps),
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        save_every=steps(config.checkpoint.every),
        read=read,
    )
    if config.optimizer.groups:
        groups.require_matches(config.optimizer.groups, shapes(plan))
        groups.require_starts(config.optimizer.groups, steps, total_steps)
    return plan


def _training_set(data: Prepared, batch_size: int, mesh: Mesh) -> batches.TrainingSet:
    classes = len(data.classes)
    if isinstance(data.train.images, Records):
        return batches.Streamed(data.train, classes, batch_size, parallel.over_batch(mesh))
    return batches.Resident(data.train, classes, batch_size, parallel.replicated(mesh))


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


def state_shardings(plan: Plan) -> Any:
    """Returns the sharding of the state: of each array, or one for all of them."""
    if not plan.config.mesh.shard_parameters:
        return parallel.replicated(plan.mesh)
    return parallel.sharded(jax.eval_shape(lambda: initial_state(plan)), plan.mesh)


def shapes(plan: Plan) -> Mapping[str, PyTree]:
    """Returns the shapes and dtypes of the model's variables.

    Raises:
      UserError: the images are too small for the model.
    """
    with image_size.explained(plan.model, plan.training.image_shape):
        return jax.eval_shape(lambda: initial_state(plan)).variables


def match(plan: Plan) -> weights.Match | None:
    """Returns the match of the model with the weights of `config.init_from`; None without any.

    Raises:
      UserError: the weights are missing, damaged, or belong to another network.
    """
    config = plan.config
    if not config.init_from:
        return None
    return weights.match(
        plan.read(config.init_from),
        shapes(plan),
        heads=head_names(plan.model),
        rename=config.init_rename,
        skip=config.init_skip,
    )


def loaded_variables(plan: Plan) -> Mapping[str, PyTree] | None:
    """Returns the initial variables of `config.init_from`, or None if all are drawn from the seed.

    Variables that the source lacks are drawn from the seed.

    Raises:
      UserError: as for `match`.
    """
    matched = match(plan)
    if matched is None:
        return None
    for line in matched.account:
        logging.getLogger('cifar_jax').info('config.init_from: %s', line)

    def missing() -> dict[str, Any]:
        # Drawing all would take a minute to compile for a deep network that lacks only its head.
        drawn = weights.named(initial_state(plan).variables)
        return {name: leaf for name, leaf in drawn.items() if name not in matched.arrays}

    return weights.fill({**matched.arrays, **jax.jit(missing)()}, shapes(plan))
