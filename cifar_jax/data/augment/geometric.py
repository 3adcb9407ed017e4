"""Augmentations that move or hide whole pixels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from cifar_jax.data.augment.batch import Batch
from cifar_jax.data.augment.options import sometimes, within
from cifar_jax.errors import UserError


def flip(
    key: Key[Array, ''], images: Float[Array, 'batch h w c'], *, p: int | float = 0.5
) -> Float[Array, 'batch h w c']:
    """Flips each image horizontally with probability `p`."""
    within('flip', 'p', p, 0, 1)
    mirrored = jax.random.bernoulli(key, float(p), (len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def alternating_flip(key: Key[Array, ''], batch: Batch) -> Batch:
    """Flips a random half of the training set in one epoch, and the other half in the next.

    The half that an image belongs to depends on the run's key and the image's index, so every two
    consecutive epochs show each image in both orientations.

    References:
      Jordan, 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv:2404.00498, section 3.6.
    """
    del key  # the key of the step, which would draw a new half in each epoch
    keys = jax.vmap(lambda index: jax.random.fold_in(batch.run_key, index))(batch.indices)
    first_half = jax.vmap(jax.random.bernoulli)(keys)
    mirrored = first_half ^ (batch.epoch % 2 == 1)
    images = jnp.where(mirrored[:, None, None, None], batch.images[:, :, ::-1], batch.images)
    return batch._replace(images=images)


def translate(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    pixels: int = 4,
    mode: str = 'reflect',
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Shifts each image by up to `pixels` in each direction, like padding and random cropping.

    The vertical and horizontal shifts are independent and uniform over -pixels..pixels. The border
    is filled with zeros ('zero') or with the image mirrored at its outermost pixel ('reflect', as
    in `np.pad`).
    """
    _, height, width, _ = images.shape
    if mode not in ('reflect', 'zero'):
        raise UserError(f"translate: there is no mode '{mode}': choose 'reflect' or 'zero'.")
    if not isinstance(pixels, int) or not 0 <= pixels < min(height, width):
        raise UserError(
            f'translate: {pixels} pixels are impossible for images of {height}x{width}: a whole '
            f'number from 0 to {min(height, width) - 1}.'
        )
    shifts = jax.random.randint(key, (2, len(images)), -pixels, pixels + 1, jnp.int32)
    moved = images
    for axis, shift in zip((1, 2), shifts, strict=True):
        moved = _shift(moved, shift, axis, mode)
    return sometimes('translate', key, p, moved, images)


def cutout(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    size: int = 8,
    fill: int | float = 0.5,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Fills a square of `size` x `size` pixels in each image.

    Its centre is uniform over all pixels, and the square is clipped at the border. The centre of a
    square of even size is the pixel below and to the right of its middle.

    References:
      DeVries and Taylor, 2017, Improved Regularization of Convolutional Neural Networks with
      Cutout, arXiv:1708.04552.
    """
    if not isinstance(size, int) or size < 0:
        raise UserError(f'cutout: size={size} must be a whole number, 0 or more.')
    within('cutout', 'fill', fill, 0, 1)
    _, height, width, _ = images.shape
    rows, columns = (
        _within(jax.random.randint(k, (len(images), 1), 0, side, jnp.int32), side, size)
        for k, side in zip(jax.random.split(key), (height, width), strict=True)
    )
    hidden = rows[:, :, None, None] & columns[:, None, :, None]
    filled = jnp.where(hidden, jnp.asarray(fill, images.dtype), images)
    return sometimes('cutout', key, p, filled, images)


def _shift(
    images: Shaped[Array, 'batch h w c'], shift: Int[Array, ' batch'], axis: int, mode: str
) -> Shaped[Array, 'batch h w c']:
    size = images.shape[axis]
    source = jnp.arange(size, dtype=jnp.int32)[None] - shift[:, None]
    mirrored = jnp.abs(source)
    mirrored = size - 1 - jnp.abs(size - 1 - mirrored)
    along = (len(images), size, 1, 1) if axis == 1 else (len(images), 1, size, 1)
    moved = jnp.take_along_axis(images, mirrored.reshape(along), axis=axis)
    if mode == 'reflect':
        return moved
    inside = ((source >= 0) & (source < size)).reshape(along)
    return jnp.where(inside, moved, jnp.zeros((), images.dtype))


def _within(centre: Int[Array, 'batch 1'], side: int, size: int) -> Shaped[Array, 'batch side']:
    first = centre - size // 2
    position = jnp.arange(side, dtype=jnp.int32)[None]
    return (position >= first) & (position < first + size)
