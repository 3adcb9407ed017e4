"""Random erasing."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from cifar_jax.data.augment.options import sometimes, within
from cifar_jax.errors import UserError

_ATTEMPTS = 10


def erase(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    area: tuple[int | float, int | float] = (0.02, 0.4),
    aspect: int | float = 0.3,
    fill: int | float | str = 'random',
    p: int | float = 0.5,
) -> Float[Array, 'batch h w c']:
    """Fills a random rectangle of each image with probability `p`.

    Its fraction of the image's area is uniform over `area`; its height divided by its width is
    log-uniform over aspect..1/aspect, as in torchvision. The first of ten such draws that fits into
    the image is used; if none fits, the image is not changed.

    Args:
      aspect: above 0, up to 1.
      fill: a number from 0 to 1, or 'random' for noise uniform over 0..1.

    References:
      Zhong et al., 2017, Random Erasing Data Augmentation, arXiv:1708.04896, algorithm 1, whose
      p, area, aspect and fill for CIFAR are our defaults.
    """
    count, height, width, _ = images.shape
    if len(area) != 2 or not 0 <= area[0] <= area[1] <= 1:
        raise UserError(f'erase: area={area} must be two fractions, 0 <= lower <= upper <= 1.')
    if not 0 < aspect <= 1:
        raise UserError(f'erase: aspect={aspect} must be above 0 and at most 1.')
    if isinstance(fill, str) and fill != 'random':
        raise UserError(f"erase: fill='{fill}' must be 'random' or a number from 0 to 1.")
    size_key, place_key, noise_key = jax.random.split(key, 3)
    tall, wide = _sizes(size_key, count, (height, width), area, aspect)
    erased_rows, erased_columns = (
        _interval(k, side, size)
        for k, side, size in zip(
            jax.random.split(place_key), (height, width), (tall, wide), strict=True
        )
    )
    erased = erased_rows[:, :, None, None] & erased_columns[:, None, :, None]
    if isinstance(fill, str):
        content = jax.random.uniform(noise_key, images.shape, images.dtype)
    else:
        within('erase', 'fill', fill, 0, 1)
        content = jnp.full(images.shape, fill, images.dtype)
    return sometimes('erase', key, p, jnp.where(erased, content, images), images)


def _sizes(
    key: Key[Array, ''],
    count: int,
    sides: tuple[int, int],
    area: tuple[int | float, int | float],
    aspect: int | float,
) -> tuple[Int32[Array, ' count'], Int32[Array, ' count']]:
    """Returns the height and width of each image's rectangle, 0 if no draw fits."""
    area_key, ratio_key = jax.random.split(key)
    shape = (count, _ATTEMPTS)
    pixels = sides[0] * sides[1] * jax.random.uniform(area_key, shape, jnp.float32, *area)
    widest = -math.log(aspect)
    ratio = jnp.exp(jax.random.uniform(ratio_key, shape, jnp.float32, -widest, widest))
    tall = jnp.round(jnp.sqrt(pixels * ratio)).astype(jnp.int32)
    wide = jnp.round(jnp.sqrt(pixels / ratio)).astype(jnp.int32)
    fits = (tall < sides[0]) & (wide < sides[1])
    first = jnp.argmax(fits, axis=1, keepdims=True)
    tall, wide = (
        jnp.take_along_axis(jnp.where(fits, size, 0), first, axis=1)[:, 0] for size in (tall, wide)
    )
    return tall, wide


def _interval(
    key: Key[Array, ''], side: int, size: Int32[Array, ' count']
) -> Bool[Array, 'count side']:
    """Returns a mask of the pixels in an interval of `size`, at a uniformly random position."""
    start = jax.random.randint(key, size.shape, 0, side - size + 1, jnp.int32)[:, None]
    position = jnp.arange(side, dtype=jnp.int32)[None]
    return (position >= start) & (position < start + size[:, None])
