"""The training story: a step, an epoch, a run."""

import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data import augment, batches, normalize
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.training import (
    checkpoints,
    durations,
    history,
    losses,
    metrics,
    optimizers,
    parallel,
    precision,
    weights,
)
from cifar_jax.training import state as states
from cifar_jax.training.history import Line
from cifar_jax.training.state import TrainState
from cifar_jax.training.validation import Images, make_evaluate, on_device

_STEP_STREAM = 0x57E9


class Plan(NamedTuple):
    """What a config and its data come to: everything that is fixed before the first step."""

    config: ConfigDict
    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    normalizer: normalize.Normalizer
    dtype: DTypeLike
    steps_per_epoch: int
    total_steps: int
    save_every: int  # steps
    image_shape: tuple[int, ...]
    classes: int


@runtime_checkable
class Watcher(Protocol):
    """Who follows a run; `cifar_jax.experiment.watcher.Watcher` shows it to a user."""

    stop: bool  # a wish to stop after this step, with a checkpoint

    def started(self, step: int, history: list[Line]) -> None:
        """The run begins at `step`, with what the checkpoint knows of the log."""

    def wants(self, step: int) -> bool:
        """Whether to wait for this step and call `stepped`."""
        ...

    def stepped(self, step: int) -> None:
        """The step is done."""

    def epoch_ended(self, line: Line, variables: Any) -> None:
        """An epoch has been validated; its checkpoint is written after this returns.

        Args:
          variables: those that were validated.
        """


class Programs(NamedTuple):
    """The compiled functions of a run."""

    init: Callable[[Any], TrainState]
    step: Callable[[TrainState, Images, Int[Array, 'n']], TrainState]
    order: Callable[[int], Int[Array, 'n']]
    evaluate: Callable[[Any, Images], dict[str, float]]


class Result(NamedTuple):
    """What a run ends with: its state, its log, and the log's line of that state."""

    state: TrainState
    history: list[Line]
    chosen: Line | None  # None: it was interrupted


def plan(config: ConfigDict, data: Prepared) -> Plan:
    """Resolves names and durations into functions and steps.

    The last, incomplete batch of an epoch is left out; the next epoch draws another order.

    Raises:
      UserError: the batch is larger than the training part, or a duration does not fit.
    """
    batch_size = config.train.batch_size
    steps_per_epoch = len(data.train.labels) // batch_size
    if not steps_per_epoch:
        raise UserError(
            f'config.train.batch_size={batch_size} is more than the {len(data.train.labels)} '
            'training images: use a smaller batch.'
        )
    total_steps = durations.steps(
        config.train.length, steps_per_epoch=steps_per_epoch, total_steps=None
    )
    schedule = optimizers.make_schedule(
        config.schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    dtype, remark = precision.compute_dtype(config.precision)
    if remark:
        logging.getLogger('cifar_jax').info(remark)
    options = {key: value for key, value in config.model.items() if key != 'name'}
    return Plan(
        config=config,
        model=models.create(config.model.name, len(data.classes), dtype=dtype, **options),
        optimizer=optimizers.make_optimizer(config.optimizer, schedule),
        schedule=schedule,
        normalizer=data.normalizer,
        dtype=dtype,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        save_every=durations.steps(
            config.checkpoint.every, steps_per_epoch=steps_per_epoch, total_steps=total_steps
        ),
        image_shape=data.train.images.shape[1:],
        classes=len(data.classes),
    )


def initial_state(plan: Plan, variables: Any = None) -> TrainState:
    """Returns the state before the first step; None draws the variables from the seed."""
    return states.create(
        plan.model,
        plan.optimizer,
        seed=plan.config.seed,
        image_shape=plan.image_shape,
        ema=plan.config.ema > 0,
        variables=variables,
    )


def given_variables(plan: Plan) -> Any:
    """Returns the variables that `config.init_from` names, or None where it is empty.

    Raises:
      UserError: they are not there, damaged, or another network's.
    """
    if not plan.config.init_from:
        return None
    shapes = jax.eval_shape(lambda: initial_state(plan)).variables
    return weights.load(pathlib.Path(plan.config.init_from), shapes)


def train_step(
    state: TrainState, data: Images, order: Int[Array, 'n'], *, plan: Plan, mesh: Mesh
) -> TrainState:
    """Returns the state after one more step: a pure function of the seed and the step.

    Args:
      order: of this epoch, from `batches.epoch_order`.
    """
    config = plan.config
    size = config.train.batch_size
    # Apart from the keys of the epochs' orders, which fold into the bare seed.
    stream = jax.random.fold_in(jax.random.key(config.seed), _STEP_STREAM)
    key = jax.random.fold_in(stream, state.step)
    augment_key, dropout_key = jax.random.split(key)

    start = (state.step % plan.steps_per_epoch) * size
    indices = jax.lax.dynamic_slice_in_dim(order, start, size)
    images, labels = jax.lax.with_sharding_constraint(
        batches.gather(*data, indices), parallel.over_batch(mesh)
    )
    batch = augment.Batch(
        images=normalize.to_unit(images),
        labels=jax.nn.one_hot(labels, plan.classes),
        indices=indices,
        epoch=state.step // plan.steps_per_epoch,
        run_key=stream,
    )
    batch = augment.augment(augment_key, batch, config.data.augment)
    images = normalize.apply(plan.normalizer, batch.images).astype(plan.dtype)

    def loss_of(params):
        logits, updated = plan.model.apply(
            {**state.variables, 'params': params},
            images,
            train=True,
            progress=state.step.astype(jnp.float32) / plan.total_steps,
            rngs={'dropout': dropout_key},
            mutable=['batch_stats'],
        )
        each = losses.cross_entropy(logits, batch.labels, config.loss.label_smoothing)
        return each.mean(), (each, logits, updated)

    gradient = jax.value_and_grad(loss_of, has_aux=True)
    (loss, (each, logits, updated)), gradients = gradient(state.variables['params'])
    params = state.variables['params']
    updates, opt_state = plan.optimizer.update(gradients, state.opt_state, params)
    variables = {**state.variables, **updated, 'params': optax.apply_updates(params, updates)}
    average = state.average and states.update_average(
        state.average, variables, state.step, config.ema
    )
    # A mixed image is of the class that has the largest share of it.
    labels = jnp.argmax(batch.labels, axis=-1).astype(jnp.int32)
    new_epoch = state.step % plan.steps_per_epoch == 0
    sums = jax.tree.map(lambda n: jnp.where(new_epoch, jnp.zeros_like(n), n), state.sums)
    bad = (state.bad_step < 0) & ~jnp.isfinite(loss)
    return TrainState(
        step=state.step + 1,
        variables=variables,
        opt_state=opt_state,
        average=average,
        sums=metrics.add(sums, each, logits, labels, jnp.ones_like(labels, bool)),
        bad_step=jnp.where(bad, state.step, state.bad_step),
    )


def programs(plan: Plan, mesh: Mesh, size: int) -> Programs:
    """Returns the functions of a run on a mesh, compiled when they are first called.

    Args:
      size: the number of training images.
    """
    everywhere = parallel.replicated(mesh)
    evaluate = make_evaluate(
        plan.model, plan.normalizer, plan.dtype, mesh, plan.config.eval_batch_size
    )
    return Programs(
        init=jax.jit(
            lambda variables=None: initial_state(plan, variables), out_shardings=everywhere
        ),
        step=jax.jit(
            lambda state, data, order: train_step(state, data, order, plan=plan, mesh=mesh),
            # To find a NaN, JAX repeats the step, for which it needs the old state.
            donate_argnums=() if plan.config.debug.nans else 0,
            out_shardings=everywhere,
            compiler_options=parallel.compiler_options(mesh),
        ),
        order=jax.jit(
            lambda epoch: batches.epoch_order(plan.config.seed, epoch, size),
            out_shardings=everywhere,
        ),
        evaluate=evaluate,
    )


def run(plan: Plan, data: Prepared, mesh: Mesh, folder: pathlib.Path, watcher: Watcher) -> Result:
    """Trains from the latest checkpoint in `folder`, or from the start, to the end of the plan.

    Args:
      folder: of the checkpoints.
      watcher: is told what happens, and may ask to stop.

    Raises:
      UserError: the loss is no longer finite, or no checkpoint can be read.
    """
    train = plan.config.train
    program = programs(plan, mesh, len(data.train.labels))
    shapes = jax.eval_shape(lambda: initial_state(plan))
    everywhere = parallel.replicated(mesh)
    training = on_device(data.train, mesh)
    validation = data.validation and on_device(data.validation, mesh)

    with jax.set_mesh(mesh), checkpoints.manager(folder) as manager:
        restored = checkpoints.restore_latest(manager, shapes, everywhere)
        if restored is None:
            restored = checkpoints.Restored(program.init(given_variables(plan)), [])
            weights.save(folder.parent / weights.FILE, restored.state.variables)
        state, log = restored
        step = int(state.step)
        watcher.started(step, log)
        while step < plan.total_steps and not history.out_of_patience(log, train):
            began, first = time.perf_counter(), step
            end = min((step // plan.steps_per_epoch + 1) * plan.steps_per_epoch, plan.total_steps)
            order = program.order(step // plan.steps_per_epoch)
            while step < end and not watcher.stop:
                state = program.step(state, training, order)
                step += 1
                save_now = step < end and step % plan.save_every == 0
                if save_now or watcher.wants(step) or step == end:
                    _check_finite(state)
                    watcher.stepped(step)
                if save_now:
                    checkpoints.save(manager, state, log, None)
            if watcher.stop and step < end:
                _check_finite(state)
                if step not in manager.all_steps():
                    checkpoints.save(manager, state, log, None)
                return Result(state, log, None)

            trained = time.perf_counter()
            line = _line(plan, step, state, validation, program)
            line['images_per_second'] = (step - first) * train.batch_size / (trained - began)
            line['seconds'] = time.perf_counter() - began
            log.append(line)
            watcher.epoch_ended(line, states.evaluated(state))
            if (
                step % plan.save_every == 0
                or step == plan.total_steps
                or history.best(log, train.monitor) is line
                or history.out_of_patience(log, train)
            ):
                checkpoints.save(manager, state, log, history.score(line, train.monitor))

        manager.wait_until_finished()
        chosen = history.chosen(log, train)
        if chosen['step'] != step:
            state = checkpoints.restore_step(manager, shapes, chosen['step'], everywhere).state
        return Result(state, log, chosen)


def _line(
    plan: Plan, step: int, state: TrainState, validation: Images | None, program: Programs
) -> Line:
    """The epoch that ends with `step`, as metrics.jsonl has it, wall times aside."""
    line = {
        'epoch': -(-step // plan.steps_per_epoch),
        'step': step,
        'rate': float(plan.schedule(step - 1)),
    }
    line |= {f'train_{key}': value for key, value in metrics.mean(state.sums).items()}
    if validation is not None:
        found = program.evaluate(states.evaluated(state), validation)
        line |= {f'val_{key}': value for key, value in found.items()}
    return line


def _check_finite(state: TrainState) -> None:
    step = int(state.bad_step)
    if step >= 0:
        raise UserError(
            f'The loss of step {step} is not finite: lower config.schedule.rate, add a '
            'config.schedule.warmup or config.optimizer.clip_norm, or find the operation with '
            '--config.debug.nans=true, in another --workdir.'
        )
