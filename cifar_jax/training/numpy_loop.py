"""The training story in NumPy: epochs, their checkpoints, and going on from them."""

import logging
import pathlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from cifar_jax.data import normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.watcher import Watcher
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.reference.layers import Shape
from cifar_jax.reference.network import Network
from cifar_jax.training import durations, history, numpy_network, optimizers
from cifar_jax.training.history import Line

log = logging.getLogger('cifar_jax')


class Plan(NamedTuple):
    """What a config and its data come to: everything that is fixed before the first step."""

    config: ConfigDict
    network: Network
    schedule: optax.Schedule
    steps_per_epoch: int
    epochs: int


class _StopError(Exception):
    """The user wants to stop in the middle of an epoch."""


def plan(config: ConfigDict, data: Prepared) -> Plan:
    """Resolves names and durations; the last, incomplete batch of an epoch is left out.

    Raises:
      UserError: the layers do not fit the images, the batch is larger than the training part, or
        the run is no whole number of epochs.
    """
    batch_size = config.train.batch_size
    steps = len(data.train.labels) // batch_size
    if not steps:
        raise UserError(
            f'config.train.batch_size={batch_size} is more than the {len(data.train.labels)} '
            'training images: use a smaller batch.'
        )
    total = durations.steps(config.train.length, steps_per_epoch=steps, total_steps=None)
    if total % steps:
        raise UserError(
            f"config.train.length='{config.train.length}' ends within an epoch, which the NumPy "
            "backend cannot: write whole epochs, such as '20 epochs'."
        )
    schedule = optimizers.make_schedule(config.schedule, total_steps=total, steps_per_epoch=steps)
    network = numpy_network.create(config, len(data.classes), data.train.images.shape[1:])
    return Plan(config, network, schedule, steps, total // steps)


def run(
    plan: Plan, data: Prepared, workdir: Workdir, watcher: Watcher
) -> tuple[list[Line], Line | None]:
    """Trains from the latest checkpoint to the end, and leaves the chosen weights in the network.

    An epoch is a function of the seed, its number and the weights before it: one that was
    interrupted begins anew, and the run ends with the same bits.

    Returns:
      The log, and the line of the chosen weights, None where the user stopped the run.

    Raises:
      UserError: the loss is no longer finite, or no checkpoint can be read.
    """
    network, train, steps = plan.network, plan.config.train, plan.steps_per_epoch
    training = _pixels(data.train, data.normalizer)
    validation = data.validation and _pixels(data.validation, data.normalizer)
    lines = _restore(network, workdir)
    watcher.started(network.epoch * steps, lines)
    while network.epoch < plan.epochs and not history.out_of_patience(lines, train):
        began, first = time.perf_counter(), network.epoch * steps
        rates = jax.vmap(plan.schedule)(jnp.arange(first, first + steps)).tolist()
        try:
            line = _epoch(network, training, train.batch_size, rates, first, watcher)
        except _StopError:
            _restore(network, workdir)
            return lines, None
        if validation is not None:
            line |= {f'val_{key}': value for key, value in network.evaluate(*validation).items()}
        line['seconds'] = time.perf_counter() - began
        lines.append(line)
        watcher.epoch_ended(line, numpy_network.variables(network))
        workdir.checkpoints.mkdir(exist_ok=True)
        network.save(workdir.checkpoints / f'{line["step"]}.npz')
        _tidy(workdir.checkpoints, lines, train.monitor)
    chosen = history.chosen(lines, train)
    if chosen['epoch'] != network.epoch:
        _load_step(network, workdir, chosen['step'])
    return lines, chosen


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
    config: ConfigDict, workdir: Workdir, checkpoint: str, classes: int, image_shape: Shape
) -> tuple[Network, int]:
    """Returns the network of a run with its trained weights, and their step.

    Args:
      checkpoint: 'latest', 'best' or 'chosen'.

    Raises:
      UserError: there is no such checkpoint yet, or it is damaged.
    """
    network = numpy_network.create(config, classes, image_shape)
    lines = _restore(network, workdir)
    if not lines:
        raise UserError(f'{workdir.path} has no checkpoint yet: train it first.')
    line = history.asked_for(lines, config.train, checkpoint)
    if line and line['epoch'] != network.epoch:
        _load_step(network, workdir, line['step'])
    return network, (line or lines[-1])['step']


def _restore(network: Network, workdir: Workdir) -> list[Line]:
    """Loads the latest whole checkpoint, if there is one, and returns the log up to it."""
    paths = sorted(workdir.checkpoints.glob('*.npz'), key=_step, reverse=True)
    for path in paths:
        try:
            network.load(path)
        except ValueError as error:
            log.warning('%s: trying the one before', error)
            continue
        lines = workdirs.read_metrics(workdir)[: network.epoch]
        if not lines or lines[-1].get('step') != _step(path):
            raise UserError(
                f'{workdir.metrics} lacks the lines up to {path.name}: restore it, or train anew '
                'in another --workdir.'
            )
        return lines
    if paths:
        raise UserError(
            f'Every checkpoint in {workdir.checkpoints} is damaged: restore one from a copy, or '
            'train anew in another --workdir.'
        )
    return []


def _load_step(network: Network, workdir: Workdir, step: int) -> None:
    path = workdir.checkpoints / f'{step}.npz'
    try:
        network.load(path)
    except (ValueError, OSError) as error:
        raise UserError(
            f'{error}, and it is the best checkpoint: restore it from a copy, or evaluate with '
            '--checkpoint latest.'
        ) from None


def _tidy(folder: pathlib.Path, lines: list[Line], monitor: str) -> None:
    """Keeps the latest two checkpoints and the best one."""
    top = history.best(lines, monitor)
    kept = {line['step'] for line in (*lines[-2:], *([top] if top else []))}
    for path in folder.glob('*.npz'):
        if _step(path) not in kept:
            path.unlink()


def _step(path: pathlib.Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else -1
