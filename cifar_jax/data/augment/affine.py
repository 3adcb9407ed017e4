"""Augmentations that shift, rotate and zoom each image with bilinear interpolation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cifar_jax.data.augment.options import sometimes, uniform, within
from cifar_jax.data.augment.warp import affine, check_border


def shift(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    fraction: int | float | tuple[int | float, int | float] = 0.1,
    mode: str = 'nearest',
    fill: int | float = 0.0,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Shifts each image by up to `fraction` of its height and width, by fractions of pixels too.

    The vertical and horizontal shifts are independent and uniform, as in Keras'
    `ImageDataGenerator`.

    Args:
      fraction: of both height and width, or a pair (of the height, of the width).
      mode, fill: how to fill the border, see `warp`.
    """
    _, height, width, _ = images.shape
    down, right = fraction if isinstance(fraction, tuple | list) else (fraction, fraction)
    for part in (down, right):
        within('shift', 'fraction', part, 0, 1)
    check_border('shift', mode, fill)
    downs, rights = (
        uniform(k, len(images), -part * side, part * side)
        for k, part, side in zip(jax.random.split(key), (down, right), (height, width), strict=True)
    )
    moved = jax.vmap(lambda image, d, r: shifted(image, d, r, mode, fill))(images, downs, rights)
    return sometimes('shift', key, p, moved, images)


def rotate(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    degrees: int | float = 15,
    mode: str = 'nearest',
    fill: int | float = 0.0,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Rotates each image about its centre by an angle uniform over -degrees..degrees.

    Args:
      mode, fill: how to fill the border, see `warp`.
    """
    within('rotate', 'degrees', degrees, 0, 180)
    check_border('rotate', mode, fill)
    angles = uniform(key, len(images), -degrees, degrees)
    rotated_images = jax.vmap(lambda image, angle: rotated(image, angle, mode, fill))(
        images, angles
    )
    return sometimes('rotate', key, p, rotated_images, images)


def zoom(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    fraction: int | float = 0.1,
    mode: str = 'nearest',
    fill: int | float = 0.0,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Scales each image about its centre by a factor uniform over 1-fraction..1+fraction.

    Args:
      fraction: from 0 to 0.9.
      mode, fill: how to fill the border, see `warp`.
    """
    within('zoom', 'fraction', fraction, 0, 0.9)
    check_border('zoom', mode, fill)
    factors = uniform(key, len(images), 1 - fraction, 1 + fraction)
    resized = jax.vmap(lambda image, factor: zoomed(image, factor, mode, fill))(images, factors)
    return sometimes('zoom', key, p, resized, images)


def shifted(
    image: Float[Array, 'h w c'],
    down: Float[Array, ''],
    right: Float[Array, ''],
    mode: str,
    fill: int | float = 0.0,
) -> Float[Array, 'h w c']:
    """Returns the image shifted by a number of pixels."""
    return affine(image, jnp.eye(2, dtype=jnp.float32), -jnp.stack([down, right]), mode, fill)


def rotated(
    image: Float[Array, 'h w c'], degrees: Float[Array, ''], mode: str, fill: int | float = 0.0
) -> Float[Array, 'h w c']:
    """Returns the image rotated counter-clockwise about its centre."""
    sine, cosine = jnp.sin(jnp.deg2rad(degrees)), jnp.cos(jnp.deg2rad(degrees))
    matrix = jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])
    return affine(image, matrix, jnp.zeros(2, jnp.float32), mode, fill)


def zoomed(
    image: Float[Array, 'h w c'], factor: Float[Array, ''], mode: str, fill: int | float = 0.0
) -> Float[Array, 'h w c']:
    """Returns the image scaled about its centre."""
    matrix = jnp.eye(2, dtype=jnp.float32) / factor
    return affine(image, matrix, jnp.zeros(2, jnp.float32), mode, fill)
