"""Classifiers from published weights, without a run: of ImageNet, or trained here."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cifar_jax import models
from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.inference import exported
from cifar_jax.inference.classifier import Classifier
from cifar_jax.models import summary
from cifar_jax.models.pretrained import catalogue, sources
from cifar_jax.training import limits, parallel, weights


class Pretrained(NamedTuple):
    """A classifier, and the height and width of its images."""

    classifier: Classifier
    size: int


def load(name: str, source: str | None = None, resize: str | None = None) -> Pretrained:
    """Returns the classifier that a name stands for.

    Args:
      name: of a model in `catalogue.PUBLISHED`, for ImageNet's 1,000 classes; or as for
        `exported.read`.
      source: of a published model, as in `sources.read`; None for the published weights.
      resize: of image files, see `image_files.pixels`; None as the network was evaluated.

    Raises:
      UserError: there are no such weights, or they are not those of this model with its head.
    """
    if exported.is_name(name):
        if source:
            raise UserError(f'{name} has its own weights: leave out --weights.')
        classifier, (height, width, _) = exported.read(name, resize)
        if height != width:
            raise UserError(
                f'{name} was trained on images of {height} x {width}, and files are read as '
                'squares: load it with cifar_jax.load, and give it arrays.'
            )
        return Pretrained(classifier, height)
    return _of_imagenet(name, source or sources.IMAGENET, resize)


def _of_imagenet(name: str, source: str, resize: str | None) -> Pretrained:
    published, classes = catalogue.of(name), catalogue.classes()
    config = get_defaults()
    config.model.name = name
    config.data.image_size, config.data.resize = published.size, resize or published.resize
    config = limits.with_evaluation_batch(config, (published.size, published.size, 3))
    mesh = parallel.make_mesh(0, config.eval_batch_size)
    model = models.create(name, len(classes))
    path, arrays = sources.read(source, model)
    shapes, _ = summary.trace(model, (published.size, published.size, 3))
    variables = weights.fill_all(path, arrays, shapes, f'{name} with {len(classes):,} classes')
    normalizer = Normalizer(
        *(np.asarray(constants, np.float32).reshape(1, 1, 3) for constants in published[1:3])
    )
    return Pretrained(
        Classifier(config, model, variables, normalizer, classes, jnp.float32, mesh, 0),
        published.size,
    )
