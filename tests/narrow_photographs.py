"""Photographs of two classes, and a narrow pretrained network that computes their features."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.models.efficientnet import EfficientNetLite0
from cifar_jax.models.pretrained import safetensors_files
from cifar_jax.training import weights

NAME, SIZE, COUNT, WIDTH = 'EfficientNetLite0', 12, 6, 5


class Narrow(EfficientNetLite0):
    """The network with a hundredth of its features, under its name."""

    stem: int = 4
    widths: tuple[int, ...] = (4,)
    blocks: tuple[int, ...] = (1,)
    kernels: tuple[int, ...] = (3,)
    strides: tuple[int, ...] = (2,)
    expansions: tuple[int, ...] = (1,)
    top: int = WIDTH


Narrow.__name__ = NAME


def write_weights(path, seed=0, classes=3):
    """Writes random weights of the narrow network, and returns them."""
    model = Narrow(classes=classes)
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(lambda a: np.abs(rng.normal(size=a.shape)).astype(a.dtype), shapes)
    safetensors_files.write(path, weights.named(variables))
    return variables


def write_images(folder):
    rng = np.random.default_rng(1)
    for part in ('train', 'test'):
        for kind in ('robin', 'wren'):
            (folder / part / kind).mkdir(parents=True)
            for number in range(COUNT // 2):
                pixels = rng.integers(0, 256, (9, 9, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / kind / f'{number}.png')


def config(folder):
    """Writes six images of each part and weights, and returns the config of their features.

    `Narrow` has to be in the place of `NAME` in `models.MODELS`.
    """
    write_weights(folder / 'weights.safetensors')
    write_images(folder / 'birds')
    config = get_defaults()
    config.model.name = NAME
    config.init_from = str(folder / 'weights.safetensors')
    config.data.source = f'folder:{folder / "birds"}'
    config.data.image_size, config.model.input_size = 9, SIZE
    return config
