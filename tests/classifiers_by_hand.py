"""Classifiers with random weights, without a run."""

import jax
import jax.numpy as jnp
import narrow_models
import numpy as np
from flax import linen as nn

from cifar_jax import models
from cifar_jax.data.normalize import Normalizer
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.inference.classifier import Classifier
from cifar_jax.training import parallel

SHAPE = (12, 8, 3)
CHANNELS = Normalizer(np.full((1, 1, 3), 0.4, np.float32), np.full((1, 1, 3), 0.3, np.float32))


def classifier(
    model: nn.Module,
    shape: tuple[int, ...] = SHAPE,
    normalizer: Normalizer = CHANNELS,
    devices: int = 2,
    backend: str = 'auto',
) -> Classifier:
    """Returns a classifier of `narrow_models.CLASSES`; none of its weights is 0 or 1."""
    start = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    )
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        values = rng.normal(size=leaf.shape) * (0.3 if path[-1].key == 'kernel' else 0.1)
        positive = path[-1].key in ('scale', 'var')
        return (np.abs(values) + 0.5 if positive else values).astype(np.float32)

    config = get_defaults()
    config.ops.backend, config.eval_batch_size = backend, 500
    config.model.name = type(model).__name__
    return Classifier(
        config=config,
        model=model,
        variables=jax.tree_util.tree_map_with_path(drawn, dict(start)),
        normalizer=normalizer,
        classes=tuple(f'class {number}' for number in range(narrow_models.CLASSES)),
        dtype=model.dtype,
        mesh=parallel.make_mesh(devices, devices),
        step=0,
    )


def narrow(name: str, dtype=jnp.float32, **options) -> Classifier:
    """Returns a classifier of a narrow model."""
    model = models.create(
        name.split()[0], narrow_models.CLASSES, dtype, **narrow_models.OPTIONS[name]
    )
    return classifier(model, **options)


def images(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Returns uint8 images."""
    return np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)


def inputs(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Returns what the model reads of images, computed in NumPy."""
    mean, std, whitening = classifier.normalizer
    scaled = (images / 255 - mean) / std
    if whitening is None:
        return scaled
    return (scaled.reshape(len(images), -1) @ whitening).reshape(images.shape)
