"""Loads the classifier of a run, for evaluation, reports and predictions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax.data import kept_features
from cifar_jax.data.normalize import Normalizer
from cifar_jax.experiment import feature_runs, preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.training import limits, parallel, precision
from cifar_jax.training.trainer import Loaded
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
    classes, image_shape, normalizer, *_ = preprocessing.read(workdir)
    config = limits.with_evaluation_batch(config, image_shape)
    dtype, _ = precision.compute_dtype(config.precision)
    trainer = trainer_of(config.model.name)
    model = trainer.model(config, len(classes), dtype)
    variables, step = trainer.load(
        config, workdir.path, checkpoint, len(classes), image_shape, mesh
    )
    return Classifier(config, model, variables, normalizer, classes, dtype, mesh, step)


class OfImages(NamedTuple):
    """A classifier of images, and the shape [h w c] that it takes."""

    classifier: Classifier
    image_shape: tuple[int, ...]


def of_images(workdir: Workdir, classifier: Classifier) -> OfImages:
    """Returns the classifier of a run for images: of a run on features, joined with its network.

    Args:
      classifier: that of the run, from `load`.

    Raises:
      UserError: as `feature_runs.join`.
    """
    if not kept_features.are_source(classifier.config.data.source):
        return OfImages(classifier, preprocessing.read(workdir).image_shape)
    joined = feature_runs.join(workdir, Loaded(classifier.variables, classifier.step))
    config = workdirs.read_config(workdir)
    config.data.resize = joined.resize
    size = joined.model.input_size
    config = limits.with_evaluation_batch(config, (size, size, 3))
    whole = classifier._replace(
        config=config,
        model=joined.model,
        variables=joined.variables,
        normalizer=joined.normalizer,
        dtype=joined.dtype,
    )
    return OfImages(whole, joined.image_shape)
