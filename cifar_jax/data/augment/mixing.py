"""Augmentations that mix two images and their labels.

The partner of an image is the next image of the batch, and the first image is the partner of the
last. Since the order of an epoch is random, this pairing is random too, and it moves few images
between devices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Key

from cifar_jax.data.augment.batch import Batch
from cifar_jax.data.augment.options import chosen
from cifar_jax.errors import UserError


def mixup(
    key: Key[Array, ''], batch: Batch, *, alpha: int | float = 0.2, p: int | float = 1.0
) -> Batch:
    """Blends each image and its label with those of its partner.

    The weight of an image is drawn from Beta(alpha, alpha), independently for each image.

    Args:
      alpha: above 0.

    References:
      Zhang et al., 2018, mixup: Beyond Empirical Risk Minimization, arXiv:1710.09412, equation 1.
    """
    weight = _weights('mixup', key, alpha, p, len(batch.images))
    w = weight[:, None, None, None].astype(batch.images.dtype)
    images = w * batch.images + (1 - w) * jnp.roll(batch.images, -1, axis=0)
    return batch._replace(images=jnp.clip(images, 0, 1), labels=_mixed(weight, batch.labels))


def cutmix(
    key: Key[Array, ''], batch: Batch, *, alpha: int | float = 1.0, p: int | float = 0.5
) -> Batch:
    """Pastes a rectangle of its partner into each image; the label is mixed by area.

    The rectangle has the image's proportions and 1 - Beta(alpha, alpha) of its area. Its centre is
    uniform over all pixels; it is clipped at the border, and labels are mixed by the clipped area.

    Args:
      alpha: above 0.

    References:
      Yun et al., 2019, CutMix, arXiv:1905.04899, section 3; its p for CIFAR is our default.
    """
    _, height, width, _ = batch.images.shape
    weight_key, row_key, column_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - _weights('cutmix', weight_key, alpha, p, len(batch.images)))
    rows, columns = (
        _interval(k, length, side) for k, length in ((row_key, height), (column_key, width))
    )
    pasted = rows[:, :, None, None] & columns[:, None, :, None]
    images = jnp.where(pasted, jnp.roll(batch.images, -1, axis=0), batch.images)
    weight = 1 - pasted.mean(axis=(1, 2, 3), dtype=jnp.float32)
    return batch._replace(images=images, labels=_mixed(weight, batch.labels))


def _weights(
    name: str, key: Key[Array, ''], alpha: int | float, p: int | float, count: int
) -> Float32[Array, ' count']:
    """Returns the weight of each image: 1 for images that are not mixed."""
    if not alpha > 0:
        raise UserError(f'{name}: alpha={alpha} must be above 0.')
    weights = jax.random.beta(key, float(alpha), float(alpha), (count,), jnp.float32)
    return jnp.where(chosen(name, key, p, count), weights, 1)


def _mixed(
    weight: Float32[Array, ' batch'], labels: Float[Array, 'batch classes']
) -> Float[Array, 'batch classes']:
    w = weight[:, None].astype(labels.dtype)
    return w * labels + (1 - w) * jnp.roll(labels, -1, axis=0)


def _interval(
    key: Key[Array, ''], length: int, side: Float32[Array, ' batch']
) -> Bool[Array, 'batch length']:
    """Returns a mask of an interval of `side` times the length, around a random pixel."""
    centre = jax.random.randint(key, side.shape, 0, length, jnp.int32)
    half = jnp.floor(side * length).astype(jnp.int32) // 2
    position = jnp.arange(length, dtype=jnp.int32)[None]
    return (position >= (centre - half)[:, None]) & (position < (centre + half)[:, None])
