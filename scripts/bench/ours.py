"""Our contestant, which runs the programs of `python -m cifar_jax.main`."""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from bench.airbench import AirbenchShape, Whitening
from bench.task import PIXELS, Contestant, Task
from cifar_jax import models
from cifar_jax.data import normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.experiment import config as configs
from cifar_jax.machine import keep_freed_memory, use_compilation_cache
from cifar_jax.models import summary
from cifar_jax.models.options import defaults
from cifar_jax.ops import backend
from cifar_jax.training import plan as plans
from cifar_jax.training.step import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPECS = {
    'SmallVGG': 'small_vgg.py',
    'PlainCNN': 'plain_cnn.py',
    'SENet': 'senet.py',
    'InceptionNet': 'inception.py',
    'AirbenchShape': 'senet.py',
}
AUGMENT = (dict(name='flip'), dict(name='translate', pixels=PIXELS, mode='zero'))
# Registers the model only while the benchmark reads a config and builds programs.
with_airbench = functools.partial(mock.patch.dict, models.MODELS, AirbenchShape=AirbenchShape)


@with_airbench()
def config_of(task: Task, ops: str = 'auto', augment: tuple[dict, ...] = ()) -> ConfigDict:
    """Returns the config of a task, as if given by a user as a file and options."""
    widths = defaults(models.MODELS[task.model])['widths']
    overrides = {
        'model.name': task.model,
        'model.widths': tuple(round(width * task.width) for width in widths),
        'data.augment': augment,
        'train.batch_size': task.batch,
        'precision': task.precision,
        **({'ops.algorithm': ops} if ops == 'direct' else {'ops.backend': ops}),
    }
    spec = str(ROOT / 'configs' / SPECS[task.model])
    return configs.load(spec, [f'--config.{key}={value}' for key, value in overrides.items()])


def data_of(task: Task, config: ConfigDict) -> Prepared:
    """Returns the images of a task, prepared as in a run."""
    folder = pathlib.Path(task.folder)
    images, labels = np.load(folder / 'images.npy'), np.load(folder / 'labels.npy')
    count = task.images or len(labels)
    train = Arrays(images[:count], labels[:count])
    normalizer = normalize.fit(train.images, config.data)
    return Prepared(train, None, train, tuple(map(str, range(10))), normalizer)


def build(task: Task, mode: str) -> Contestant:
    """Returns our contestant; `mode` is config.ops.backend, or 'direct'."""
    keep_freed_memory()
    use_compilation_cache()
    config = config_of(task, mode)
    data = data_of(task, config)
    without_augmentation = functools.cache(lambda: _runner(config, data))
    with_augmentation = functools.cache(lambda: _runner(config_of(task, mode, AUGMENT), data))
    return Contestant(
        parameters=describe(task)['parameters'],
        steps=lambda count: without_augmentation()(count),
        epoch=lambda _, count: with_augmentation()(count or len(data.train.labels) // task.batch),
    )


def feeds(plan: plans.Plan) -> Iterator[Any]:
    """Yields the feeds of a run's epochs without end."""
    for epoch in itertools.count():
        yield from plan.training.epoch(plan.config.seed, epoch)


@with_airbench()
def _runner(config: ConfigDict, data: Prepared) -> Callable[[int], None]:
    """Returns a function that runs a number of steps, as `loop.run` does between checkpoints."""
    plan = plans.make(config, data)
    program = programs(plan)
    endless = feeds(plan)
    state: Any = None

    def run(count: int) -> None:
        nonlocal state
        with jax.set_mesh(plan.mesh), backend.use(**config.ops):
            if state is None:
                state = program.init()
            for feed in itertools.islice(endless, count):
                state = program.step(state, feed)
            jax.block_until_ready(state)

    return run


@with_airbench()
def describe(task: Task) -> dict[str, Any]:
    """Returns the settings that the peers need from our config, and the size of the network.

    Returns:
      parameters: the number of values in all variables except the moving statistics.
      flops: FLOPs of a training step per image: two for each multiply-add of the forward pass, the
        gradients for inputs and those for weights, without gradients that are not needed.
    """
    config = config_of(task)
    plan = plans.make(config, data_of(task, config))
    shapes = jax.eval_shape(lambda: plans.initial_state(plan)).variables
    trained = {kind: tree for kind, tree in shapes.items() if kind != 'batch_stats'}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trained))
    rows = summary.trace(plan.model, plan.training.image_shape)[1]
    first = rows[0]
    unneeded = first.multiply_adds * (2 if first.kind == Whitening.__name__ else 1)
    return {
        'parameters': parameters,
        'flops': 2 * (3 * rows[-1].multiply_adds - unneeded),
        'optimizer': {**config.optimizer, 'rate': config.schedule.rate},
        'smoothing': config.loss.label_smoothing,
        'mean': plan.normalizer.mean.ravel().tolist(),
        'std': plan.normalizer.std.ravel().tolist(),
    }
