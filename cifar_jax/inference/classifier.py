"""From a workdir to a function of images: what evaluate, report and predict start from."""

import io
import math
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.training import (
    checkpoints,
    history,
    numpy_loop,
    numpy_network,
    optimizers,
    parallel,
    precision,
)
from cifar_jax.training import state as states


class Classifier(NamedTuple):
    """A trained model with all that belongs between an image and its class."""

    config: ConfigDict
    model: nn.Module
    variables: Mapping[str, Any]
    normalizer: Normalizer
    classes: tuple[str, ...]
    dtype: DTypeLike
    mesh: Mesh
    step: int


class Preprocessing(NamedTuple):
    """What a model's inputs and outputs mean, apart from the data set."""

    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    normalizer: Normalizer


def write_preprocessing(workdir: Workdir, data: Prepared) -> None:
    """Keeps a model's preprocessing beside it; ZCA's matrix has a file of its own."""
    mean, std, whitening = data.normalizer
    if whitening is not None:
        buffer = io.BytesIO()
        np.savez(buffer, whitening=whitening)
        workdirs.write(workdir.whitening, buffer.getvalue())
    value = {
        'classes': list(data.classes),
        'image_shape': list(data.train.images.shape[1:]),
        'mean': mean.tolist(),
        'std': std.tolist(),
        'whitened': whitening is not None,
    }
    workdirs.write_json(workdir.preprocessing, value)


def read_preprocessing(workdir: Workdir) -> Preprocessing:
    """Returns what `write_preprocessing` wrote, to the bit.

    Raises:
      UserError: a file is missing or damaged.
    """
    stored = workdirs.read_json(workdir.preprocessing)
    try:
        mean, std = (np.asarray(stored[key], np.float32) for key in ('mean', 'std'))
        shape = tuple(stored['image_shape'])
        # Runs of before there was ZCA do not say.
        whitened = stored.get('whitened', False)
        classes = tuple(stored['classes'])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'{workdir.preprocessing} is damaged ({error!r}): restore it or train anew.'
        ) from None
    whitening = _read_whitening(workdir.whitening, math.prod(shape)) if whitened else None
    return Preprocessing(classes, shape, Normalizer(mean, std, whitening))


def _read_whitening(path: pathlib.Path, pixels: int) -> np.ndarray:
    try:
        # Of a damaged file NumPy would leave its own handle open.
        with path.open('rb') as raw, np.load(raw, allow_pickle=False) as file:
            whitening = file['whitening']
    except FileNotFoundError:
        raise UserError(f'{path} is missing: restore it or train anew.') from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f'{path} cannot be read ({error}): restore it or train anew.') from None
    if whitening.shape != (pixels, pixels) or whitening.dtype != np.float32:
        raise UserError(
            f'{path} holds {whitening.dtype} {whitening.shape} and not a matrix for {pixels} '
            'pixels: restore it or train anew.'
        )
    return whitening


def load(workdir: Workdir, checkpoint: str = 'chosen') -> Classifier:
    """Returns the classifier of a run.

    Args:
      checkpoint: 'latest', 'best', or 'chosen': the weights that the run reports.

    Raises:
      UserError: the workdir is missing or damaged, or has no such checkpoint yet.
    """
    config = workdirs.read_config(workdir)
    mesh = parallel.make_mesh(config.mesh.devices, config.train.batch_size)
    classes, image_shape, normalizer = read_preprocessing(workdir)
    dtype, _ = precision.compute_dtype(config.precision)
    if config.model.name == numpy_network.MODEL:
        network, step = numpy_loop.load(config, workdir, checkpoint, len(classes), image_shape)
        variables = numpy_network.variables(network)
        model: nn.Module = numpy_network.flax_twin(config)
        return Classifier(config, model, variables, normalizer, classes, dtype, mesh, step)
    options = {key: value for key, value in config.model.items() if key != 'name'}
    model = models.create(config.model.name, len(classes), dtype=dtype, **options)
    # Of the optimizer only the shape of its state matters here.
    optimizer = optimizers.make_optimizer(config.optimizer, lambda step: 0.0)
    shapes = jax.eval_shape(
        lambda: states.create(
            model,
            optimizer,
            seed=config.seed,
            image_shape=image_shape,
            ema=config.ema > 0,
        )
    )
    if not workdir.checkpoints.is_dir():
        raise UserError(f'{workdir.path} has no checkpoint yet: train it first.')
    with checkpoints.manager(workdir.checkpoints, read_only=True) as manager:
        restored = checkpoints.restore_latest(
            manager, shapes, parallel.replicated(mesh), set_aside=False
        )
        if restored is None:
            raise UserError(f'{workdir.path} has no checkpoint yet: train it first.')
        line = history.asked_for(restored.history, config.train, checkpoint)
        if line and line['step'] != int(restored.state.step):
            restored = checkpoints.restore_step(
                manager, shapes, line['step'], parallel.replicated(mesh)
            )
    state = restored.state
    return Classifier(
        config, model, states.evaluated(state), normalizer, classes, dtype, mesh, int(state.step)
    )
