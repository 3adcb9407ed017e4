"""From a workdir to a function of images: what evaluate, report and predict start from."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import models
from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
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

CHECKPOINTS = ('chosen', 'best', 'latest')


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


def load(workdir: Workdir, checkpoint: str = 'chosen', mesh: Mesh | None = None) -> Classifier:
    """Returns the classifier of a run.

    Args:
      checkpoint: 'latest', 'best', or 'chosen': the weights that the run reports.
      mesh: the devices that it computes on; None for those of its training, as far as there are.

    Raises:
      UserError: the workdir is missing or damaged, or has no such checkpoint yet.
    """
    config = workdirs.read_config(workdir)
    mesh = mesh or parallel.make_mesh(config.mesh.devices, config.train.batch_size)
    classes, image_shape, normalizer = preprocessing.read(workdir)
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
