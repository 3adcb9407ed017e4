"""The trainer of all models in `cifar_jax.models`; see `Trainer` for what its functions do."""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.machine import use_compilation_cache
from cifar_jax.models.summary import Row
from cifar_jax.ops import backend
from cifar_jax.training import (
    algorithms,
    checkpoints,
    groups,
    history,
    loop,
    lost_process,
    optimizers,
    parallel,
    processes,
    weights,
)
from cifar_jax.training import plan as plans
from cifar_jax.training import state as states
from cifar_jax.training.plan import Plan
from cifar_jax.training.trainer import Loaded, Result, Variables, Watcher


def _options(config: ConfigDict) -> dict[str, Any]:
    return {key: value for key, value in config.model.items() if key != 'name'}


def check(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Refuses an unknown model and impossible options; see `Trainer.check`."""
    models.check(config.model.name, _options(config))


def set_up(config: ConfigDict, *, profile: bool) -> None:
    """Sets up JAX: the devices, the compilation cache and debugging; see `Trainer.set_up`."""
    parallel.mesh_of(config)
    use_compilation_cache()
    jax.config.update('jax_debug_nans', config.debug.nans)
    jax.config.update('jax_disable_jit', config.debug.no_jit)


def model(config: ConfigDict, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """Returns the model of a config."""
    return models.create(config.model.name, classes, dtype=dtype, **_options(config))


def initial_variables(config: ConfigDict, classes: int, image_shape: tuple[int, ...]) -> Variables:
    """Returns the variables that the seed of a config draws."""
    init = jax.jit(functools.partial(model(config, classes).init, train=False))
    return dict(init(jax.random.key(config.seed), jnp.zeros((1, *image_shape), jnp.float32)))


def plan(
    config: ConfigDict,
    data: Prepared,
    *,
    new: bool = True,
    read: Callable[[str], weights.Source] = weights.read,
) -> Plan:
    """Returns the plan of a run; see `Trainer.plan`."""
    plan = plans.make(config, data, read)
    if new:
        plans.match(plan)
    return plan


def describe(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Returns lines on the devices, the batch, the groups of parameters and the operations."""
    device = plan.mesh.devices.flat[0]
    kind, batch = device.device_kind, plan.config.train.batch_size
    lines = [f'{plan.mesh.size} x {kind}, batch {batch}']
    if processes.count() > 1:
        lines[0] += f', {processes.count()} processes'
    if plan.config.mesh.shard_parameters:
        lines[0] += ', weights and optimizer divided over them'
    if (parts := plan.config.train.accumulate) > 1:
        lines[0] += f' in {parts} parts'
        if 'batch_stats' in plans.shapes(plan):
            lines.append('train.accumulate: batch norm normalises each part of a batch by itself')
    if parameter_groups := plan.config.optimizer.groups:
        lines.append(groups.table(parameter_groups, plans.shapes(plan)))
    if device.platform != 'cpu':
        return lines
    convolutions = algorithms.describe(rows, batch // parts // plan.mesh.size, plan.dtype)
    return [*lines, backend.reason(), convolutions]


def run(plan: Plan, folder: pathlib.Path, watcher: Watcher) -> Result:
    """Trains to the end of the plan; see `Trainer.run`."""
    try:
        state, log, chosen = loop.run(plan, folder, watcher)
        variables = states.own_copy(states.evaluated(state))
    except FloatingPointError as error:  # from config.debug.nans
        raise UserError(
            f'{error} Lower config.schedule.rate, add a config.schedule.warmup or '
            'config.optimizer.clip_norm, or check the named operation.'
        ) from error
    except RuntimeError as error:
        lost_process.refuse(error)
        raise
    return Result(int(state.step), log, chosen, variables)


def load(
    config: ConfigDict,
    folder: pathlib.Path,
    checkpoint: str,
    classes: int,
    image_shape: tuple[int, ...],
    mesh: Mesh,
) -> Loaded:
    """Returns the variables of a checkpoint; see `Trainer.load`."""
    # Only the shapes of the optimizer's state matter here, and neither rates nor durations above 0
    # change them.
    optimizer = optimizers.make_optimizer(config.optimizer, lambda step: 0.0, lambda duration: 1)
    shapes = jax.eval_shape(
        lambda: states.create(
            model(config, classes),
            optimizer,
            seed=config.seed,
            image_shape=image_shape,
            ema=config.ema > 0,
        )
    )
    missing = UserError(f'{folder} has no checkpoint yet: train it first.')
    if not (folder / loop.CHECKPOINTS).is_dir():
        raise missing
    everywhere = parallel.replicated(mesh)
    with checkpoints.manager(folder / loop.CHECKPOINTS, read_only=True) as manager:
        restored = checkpoints.restore_latest(manager, shapes, everywhere, set_aside=False)
        if restored is None:
            raise missing
        line = history.line_of_checkpoint(restored.history, config.train, checkpoint)
        if line and line['step'] != int(restored.state.step):
            restored = checkpoints.restore_step(manager, shapes, line['step'], everywhere)
    return Loaded(states.evaluated(restored.state), int(restored.state.step))
