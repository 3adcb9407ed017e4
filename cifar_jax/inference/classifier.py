"""Loads the classifier of a run, for evaluation, reports and predictions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.training import parallel, precision
from cifar_jax.training.trainers import trainer_of

CHECKPOINTS = ('chosen', 'best', 'latest')


class Classifier(NamedTuple):
    """A trained model with its preprocessing and classes."""

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
      mesh: the devices for the computation; None for those of its training, if available.

    Raises:
      UserError: the workdir is missing or damaged, or has no such checkpoint yet.
    """
    config = workdirs.read_config(workdir)
    mesh = mesh or parallel.mesh_of(config)
    classes, image_shape, normalizer, _ = preprocessing.read(workdir)
    dtype, _ = precision.compute_dtype(config.precision)
    trainer = trainer_of(config.model.name)
    model = trainer.model(config, len(classes), dtype)
    variables, step = trainer.load(
        config, workdir.path, checkpoint, len(classes), image_shape, mesh
    )
    return Classifier(config, model, variables, normalizer, classes, dtype, mesh, step)


def refuse_features(workdir: Workdir, config: ConfigDict) -> None:
    """Raises UserError for a run on features, which cannot classify images."""
    if config.data.source.startswith('features:'):
        raise UserError(
            f'{workdir.path} was trained on features, and does not read images: evaluate it with '
            'python -m cifar_jax.evaluate.'
        )
