"""Checks a config's model on its own data, and tabulates the errors."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from cifar_jax.crosscheck import comparison
from cifar_jax.crosscheck.observe import Step
from cifar_jax.data import normalize, pipeline
from cifar_jax.errors import UserError
from cifar_jax.models.image_model import ImageModel
from cifar_jax.ops import backend
from cifar_jax.training.trainers import trainer_of

log = logging.getLogger('cifar_jax')


def check(
    config: ConfigDict,
    *,
    images: int = 4,
    with_differences: bool = True,
    track: Callable[[list], Iterable] = iter,
) -> dict[str, Any]:
    """Returns the errors of each layer of a config's model, on the first training images.

    The weights are the config's initial ones, except that constant arrays are perturbed and kernels
    before a batch norm are enlarged (see `comparison`).

    Args:
      images: the number of training images.
      with_differences: whether to compare the gradients with finite differences too.
      track: wraps the list of layers, for example to show progress.

    Returns:
      rows: dictionaries with the fields of `comparison.Row`.
      failures: a sentence for each error above its tolerance.
      tolerance, differences_tolerance, images, loss, seconds.

    Raises:
      UserError: the data or the NumPy reference are missing, or `images` is out of range.
    """
    start = time.perf_counter()
    data = pipeline.prepare(config.data)
    if not 2 <= images <= len(data.train.labels):
        raise UserError(f'--images={images}: choose from 2 to the size of the training set.')
    with jax.enable_x64(True), backend.use('xla'):
        pixels = jnp.asarray(data.train.images[:images], jnp.float64) / 255
        inputs = normalize.apply(data.normalizer, pixels)
        model, initial = _initial(config, len(data.classes), inputs)
        if isinstance(model, ImageModel):  # the reference begins with the resized images
            inputs, model = model.inputs(inputs), model.clone(input_size=0)
        shape = inputs.shape[1:]
        step = Step(
            model,
            inputs,
            jnp.asarray(data.train.labels[:images]),
            config.loss.label_smoothing,
            jax.random.key(config.seed),
        )
        variables = comparison.perturb_constants(comparison.float64(initial), config.seed)
        variables = comparison.enlarge_kernels(model, shape, variables)
        log.info('computing one step in Flax and in NumPy')
        seed = config.seed if with_differences else None
        pair = comparison.run_both(step, variables, shape)
        rows = comparison.compare(pair, seed=seed, track=track)
    return {
        'rows': [row._asdict() for row in rows],
        'failures': comparison.failures(rows),
        'tolerance': comparison.TOLERANCE,
        'differences_tolerance': comparison.DIFFERENCES_TOLERANCE,
        'images': images,
        'loss': pair.loss,
        'seconds': round(time.perf_counter() - start, 1),
    }


def _initial(
    config: ConfigDict, classes: int, images: Float[Array, 'batch height width channels']
) -> tuple[nn.Module, Mapping[str, PyTree]]:
    """Returns a config's model in float64, and its initial weights."""
    trainer = trainer_of(config.model.name)
    variables = trainer.initial_variables(config, classes, images.shape[1:])
    return trainer.model(config, classes, jnp.float64), variables


def table(title: str, result: dict[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """Returns title, columns and rows: the errors of each layer, and then the largest ones."""
    fields = ['output', 'params', 'inputs', 'statistics', 'differences']
    rows = [
        [row['layer'], row['kind'], *(_number(row[field]) for field in fields)]
        for row in result['rows']
    ]
    columns = ([row[field] for row in result['rows'] if row[field] is not None] for field in fields)
    rows.append(['largest', '', *(_number(max(column, default=None)) for column in columns)])
    title = f'{title}: Flax compared with NumPy in float64, {result["images"]} images'
    return title, ['layer', 'kind', *fields], rows


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.1e}'
