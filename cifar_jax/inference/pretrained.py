"""Classifiers of ImageNet from published weights, without a run."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cifar_jax import models
from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.inference.classifier import Classifier
from cifar_jax.models import summary
from cifar_jax.models.pretrained import catalogue, sources
from cifar_jax.training import limits, parallel, weights

_MAX_NAMES = 3  # in a message


class Pretrained(NamedTuple):
    """A classifier, and the height and width of its images."""

    classifier: Classifier
    size: int


def load(name: str, source: str = sources.IMAGENET, resize: str | None = None) -> Pretrained:
    """Returns the classifier of ImageNet's 1,000 classes that a published model is.

    Args:
      name: of a model in `catalogue.PUBLISHED`.
      source: as in `sources.read`; 'imagenet' for the published weights.
      resize: of image files, see `image_files.pixels`; None as the network was evaluated.

    Raises:
      UserError: there are no such weights, or they are not those of this model with its head.
    """
    published, classes = catalogue.of(name), catalogue.classes()
    config = get_defaults()
    config.model.name = name
    config.data.image_size, config.data.resize = published.size, resize or published.resize
    config = limits.with_evaluation_batch(config, (published.size, published.size, 3))
    mesh = parallel.make_mesh(0, config.eval_batch_size)
    model = models.create(name, len(classes))
    path, arrays = sources.read(source, model)
    shapes, _ = summary.trace(model, (published.size, published.size, 3))
    expected = weights.named(shapes)
    different = [
        weights.difference(tensor, arrays.get(tensor), expected.get(tensor))
        for tensor in sorted(expected.keys() | arrays.keys())
        if not weights.fits(arrays.get(tensor), expected.get(tensor))
    ]
    if different:
        raise UserError(
            f'{path} is not {name} with {len(classes):,} classes: '
            f'{weights.first_few(different, _MAX_NAMES)}; name another file.'
        )
    normalizer = Normalizer(
        *(np.asarray(constants, np.float32).reshape(1, 1, 3) for constants in published[1:3])
    )
    variables = weights.fill(arrays, shapes)
    return Pretrained(
        Classifier(config, model, variables, normalizer, classes, jnp.float32, mesh, 0),
        published.size,
    )
