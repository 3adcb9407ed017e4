"""The minimum image size of a model, for error messages."""

import bisect
import contextlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from cifar_jax.errors import UserError

_LARGEST = 512


@contextlib.contextmanager
def explained(model: nn.Module, image_shape: Sequence[int]) -> Iterator[None]:
    """Adds the minimum size to errors of tracing a model with images that are too small.

    Args:
      image_shape: (h, w, c) of the images that the model is traced with.

    Raises:
      UserError: the images are too small for the model; the message has the smallest size.
    """
    try:
        yield
    except (TypeError, ValueError, ZeroDivisionError) as error:
        height, width, channels = image_shape
        key = 'data.image_size'
        if resized := getattr(model, 'input_size', 0):
            height = width = resized
            model, key = model.clone(input_size=0), 'model.input_size'
        smallest = _smallest(model, channels)
        if not min(height, width) < smallest <= _LARGEST:
            raise
        raise UserError(
            f'Images of {height}x{width} are too small for {type(model).__name__}: set '
            f'config.{key}={smallest}, or more.'
        ) from error


def _smallest(model: nn.Module, channels: int) -> int:
    """Returns the minimum height and width of square images; above `_LARGEST` if none fits."""
    sizes = range(1, _LARGEST + 1)
    return 1 + bisect.bisect_left(sizes, True, key=lambda size: _fits(model, size, channels))


def _fits(model: nn.Module, size: int, channels: int) -> bool:
    images = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    try:
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    except (TypeError, ValueError, ZeroDivisionError):
        return False
    return True
