"""The trainer of a network in NumPy: epochs, their checkpoints, and resuming from these.

See `Trainer` for what its functions do.
"""

import logging
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.data import normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.data.records import Records
from cifar_jax.errors import UserError
from cifar_jax.files import FileError
from cifar_jax.models.summary import Row
from cifar_jax.reference.network import Network
from cifar_jax.training import (
    history,
    identity,
    limits,
    numpy_network,
    optimizers,
    parallel,
    processes,
    weights,
)
from cifar_jax.training import plan as plans
from cifar_jax.training import state as states
from cifar_jax.training.flax_network import FlaxNetwork
from cifar_jax.training.history import Line
from cifar_jax.training.loop import CHECKPOINTS
from cifar_jax.training.trainer import Loaded, Result, Variables, Watcher

check = numpy_network.check
log = logging.getLogger('cifar_jax')


class Plan(NamedTuple):
    """The plan of a run: everything that is fixed before its first step."""

    config: ConfigDict
    data: Prepared
    network: Network
    schedule: optax.Schedule
    steps_per_epoch: int
    total_steps: int
    # For the pictures of the run.
    mesh: Mesh
    model: FlaxNetwork
    dtype: DTypeLike = np.float32


class _StopError(Exception):
    """Raised to stop in the middle of an epoch."""


def set_up(config: ConfigDict, *, profile: bool) -> None:
    """Refuses a profile, which is a trace of JAX, and several processes; see `Trainer.set_up`."""
    if processes.count() > 1:
        raise UserError('The NumPy backend trains in one process: leave out --processes.')
    if profile:
        raise UserError(
            '--profile traces JAX: for NumPy write python -m cProfile -s tottime -m cifar_jax.main.'
        )


def model(config: ConfigDict, classes: int, dtype: DTypeLike = np.float32) -> FlaxNetwork:
    """Returns the Flax module that computes the same as the network of a config."""
    return numpy_network.flax_module(config, dtype)


def initial_variables(config: ConfigDict, classes: int, image_shape: tuple[int, ...]) -> Variables:
    """Returns the variables that the seed of a config draws."""
    return numpy_network.variables(numpy_network.create(config, classes, image_shape))


def plan(
    config: ConfigDict,
    data: Prepared,
    *,
    new: bool = True,
    read: Callable[[str], weights.Source] = weights.read,
) -> Plan:
    """Returns the plan of a run; see `Trainer.plan`."""
    if isinstance(data.train.images, Records):
        raise UserError(
            'NumPy trains on images in memory: raise config.data.memory_gb, or choose a smaller '
            'data set or image_size.'
        )
    steps_per_epoch, total_steps = plans.lengths(config, len(data.train.labels))
    if total_steps % steps_per_epoch:
        raise UserError(
            f"config.train.length='{config.train.length}' ends within an epoch, which the NumPy "
            "backend cannot: write whole epochs, such as '20 epochs'."
        )
    return Plan(
        config=limits.with_evaluation_batch(config, data.train.images.shape[1:]),
        data=data,
        network=numpy_network.create(config, len(data.classes), data.train.images.shape[1:]),
        schedule=optimizers.make_schedule(
            config.schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
        ),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        mesh=parallel.make_mesh(1, 1),
        model=model(config, len(data.classes)),
    )


def describe(plan: Plan, _: Sequence[Row]) -> list[str]:
    """Returns a line on the batch."""
    return [f'NumPy, batch {plan.config.train.batch_size}']


def run(plan: Plan, folder: pathlib.Path, watcher: Watcher) -> Result:
    """See `Trainer`; an interrupted epoch is repeated from its start.

    An epoch is a function of the seed, its number and the weights before it, so a resumed run gives
    the same bits.
    """
    network, train, steps = plan.network, plan.config.train, plan.steps_per_epoch
    training = _pixels(plan.data.train, plan.data.normalizer)
    validation = plan.data.validation and _pixels(plan.data.validation, plan.data.normalizer)
    lines = _restore(network, folder)
    watcher.started(network.epoch * steps, lines)
    chosen = None
    while network.epoch * steps < plan.total_steps and not history.out_of_patience(lines, train):
        began, first = time.perf_counter(), network.epoch * steps
        rates = jax.vmap(plan.schedule)(jnp.arange(first, first + steps)).tolist()
        try:
            line = _epoch(network, training, train.batch_size, rates, first, watcher)
        except _StopError:
            _restore(network, folder)
            break
        if validation is not None:
            line |= {f'val_{key}': value for key, value in network.evaluate(*validation).items()}
        line['seconds'] = time.perf_counter() - began
        states.check_finite(line, numpy_network.variables(network))
        lines.append(line)
        watcher.epoch_ended(line, numpy_network.variables(network))
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        note = f'{identity.read_or_create(folder)} {history.sha256(lines)}'
        network.save(folder / CHECKPOINTS / f'{line["step"]}.npz', note)
        _tidy(folder / CHECKPOINTS, lines, train.monitor)
    else:
        chosen = history.chosen(lines, train)
        if chosen['epoch'] != network.epoch:
            _load_step(network, folder, chosen['step'])
    return Result(network.epoch * steps, lines, chosen, numpy_network.variables(network))


def _epoch(network, training, batch_size, rates, first, watcher) -> Line:
    def stepped(done: int) -> None:
        if watcher.wants(first + done):
            watcher.stepped(first + done)
        if watcher.stop and done < len(rates):
            raise _StopError

    try:
        line = network.train_epoch(*training, batch_size, rates=rates, on_step=stepped)
    except FloatingPointError as error:
        sentence = str(error).removeprefix('the')
        raise UserError(
            f'The{sentence}: lower config.schedule.rate, or add a config.schedule.warmup, in '
            'another --workdir.'
        ) from None
    speed = line.pop('images_per_second')
    return {**line, 'rate': rates[-1], 'images_per_second': speed}


def _pixels(part: Arrays, normalizer: normalize.Normalizer) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inputs of a network, float32 [n h w c], and the labels."""
    images = normalize.apply(normalizer, normalize.to_unit(jnp.asarray(part.images)))
    return np.asarray(images), part.labels


def load(
    config: ConfigDict,
    folder: pathlib.Path,
    checkpoint: str,
    classes: int,
    image_shape: tuple[int, ...],
    mesh: Mesh,
) -> Loaded:
    """Returns the variables of a checkpoint; see `Trainer.load`."""
    network = numpy_network.create(config, classes, image_shape)
    lines = _restore(network, folder)
    if not lines:
        raise UserError(f'{folder} has no checkpoint yet: train it first.')
    line = history.line_of_checkpoint(lines, config.train, checkpoint)
    if line and line['epoch'] != network.epoch:
        _load_step(network, folder, line['step'])
    return Loaded(numpy_network.variables(network), (line or lines[-1])['step'])


def _restore(network: Network, folder: pathlib.Path) -> list[Line]:
    """Loads the latest undamaged checkpoint, if any, and returns the log up to it."""
    paths = _saved(folder / CHECKPOINTS)
    for step, path in sorted(paths.items(), reverse=True):
        try:
            sha256 = _load(network, path)
        except (ValueError, FileError) as error:
            log.warning('%s: trying the one before', _problem(path, error))
            continue
        metrics = folder / history.FILE
        lines = history.read(metrics)[: network.epoch]
        complete = bool(lines) and lines[-1].get('step') == step
        if not complete or sha256 not in ('', history.sha256(lines)):
            raise UserError(
                f'{metrics} lacks the lines up to {path.name}: restore it, or train again in '
                'another --workdir.'
            )
        return lines
    if paths:
        raise UserError(
            f'Every checkpoint in {folder / CHECKPOINTS} is damaged or of another run: restore one '
            'from a copy, or train again in another --workdir.'
        )
    return []


def _load(network: Network, path: pathlib.Path) -> str:
    """Loads a checkpoint, and returns the SHA-256 of the log up to it; '' in older checkpoints.

    Raises:
      ValueError, FileError: the checkpoint is damaged, or belongs to another run.
    """
    files.read_arrays(path)  # refuses what claims to be far larger than the file
    network.load(path)
    run_id, _, sha256 = network.note.partition(' ')
    try:
        identity.check(path.parents[1], run_id or None)
    except ValueError as error:
        raise ValueError(f'{path} cannot be used ({error})') from None
    return sha256


def _load_step(network: Network, folder: pathlib.Path, step: int) -> None:
    path = folder / CHECKPOINTS / f'{step}.npz'
    try:
        _load(network, path)
    except (ValueError, FileError) as error:
        raise UserError(
            f'{_problem(path, error)}, and it is the best checkpoint: restore it from a copy, or '
            'evaluate with --checkpoint latest.'
        ) from None


def _problem(path: pathlib.Path, error: ValueError | FileError) -> str:
    """Returns what is wrong with a checkpoint, without a remedy."""
    return f'{path} {error.reason}' if isinstance(error, FileError) else str(error)


def _tidy(folder: pathlib.Path, lines: list[Line], monitor: str) -> None:
    """Keeps the latest two checkpoints and the best one."""
    best = history.best(lines, monitor)
    steps = {line['step'] for line in (*lines[-2:], *([best] if best else []))}
    for step, path in _saved(folder).items():
        if step not in steps:
            path.unlink()


def _saved(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the checkpoints by their steps; other files are left alone."""
    return {int(path.stem): path for path in folder.glob('*.npz') if path.stem.isdecimal()}
