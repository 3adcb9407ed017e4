"""Augmentations that distort each image locally."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key
from scipy.ndimage import gaussian_filter1d

from cifar_jax.data.augment.options import one_of, sometimes, within
from cifar_jax.data.augment.warp import MODES, warp
from cifar_jax.errors import UserError


def grid_distortion(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    steps: int = 5,
    limit: int | float = 0.3,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Stretches each row and column of a grid over each image by a random factor.

    Along each side, the `steps` cells get widths proportional to numbers uniform over
    1-limit..1+limit, normalised so that the border of the image stays where it is.

    Args:
      limit: from 0 to 0.9.

    References:
      Buslaev et al., 2020, Albumentations: Fast and Flexible Image Augmentations,
      arXiv:1809.06839; `GridDistortion` with `normalized=True`.
    """
    if not isinstance(steps, int) or steps < 1:
        raise UserError(f'grid_distortion: steps={steps} must be a whole number above 0.')
    within('grid_distortion', 'limit', limit, 0, 0.9)
    widths = jax.random.uniform(key, (len(images), 2, steps), jnp.float32, 1 - limit, 1 + limit)
    distorted = jax.vmap(lambda image, w: stretched(image, w[0], w[1]))(images, widths)
    return sometimes('grid_distortion', key, p, distorted, images)


def elastic(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    alpha: int | float = 34,
    sigma: int | float = 4,
    mode: str = 'reflect',
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Moves the pixels of each image by a smooth random field.

    The field is noise uniform over -1..1, smoothed by a Gaussian of standard deviation `sigma`
    pixels (with zeros around the image) and multiplied by `alpha` pixels. By default, pixels move
    by 1.4 along each axis (root mean square).

    Args:
      mode: how to fill the border, see `warp`; 'constant' fills with 0.

    References:
      Simard, Steinkraus and Platt, 2003, Best Practices for Convolutional Neural Networks Applied
      to Visual Document Analysis, section 2, whose alpha and sigma for 29x29 pixels are ours.
    """
    within('elastic', 'alpha', alpha, 0, 1000)
    within('elastic', 'sigma', sigma, 0.1, 100)
    one_of('elastic', 'mode', mode, MODES)
    count, height, width, _ = images.shape
    noise = jax.random.uniform(key, (count, 2, height, width), jnp.float32, -1, 1)
    offsets = alpha * smoothed(noise, sigma)
    distorted = jax.vmap(lambda image, offset: displaced(image, offset, mode))(images, offsets)
    return sometimes('elastic', key, p, distorted, images)


def stretched(
    image: Float[Array, 'h w c'], heights: Float[Array, ' cells'], widths: Float[Array, ' cells']
) -> Float[Array, 'h w c']:
    """Returns the image with equal cells that show parts of these relative sizes."""
    rows, columns = (
        _positions(side, cells)
        for side, cells in zip(image.shape[:2], (heights, widths), strict=True)
    )
    rows, columns = jnp.meshgrid(rows, columns, indexing='ij')
    return warp(image, rows, columns, 'nearest')


def _positions(side: int, cells: Float[Array, ' cells']) -> Float[Array, ' side']:
    ends = jnp.concatenate([jnp.zeros(1, cells.dtype), jnp.cumsum(cells)])
    knots = jnp.linspace(0, side - 1, len(ends), dtype=cells.dtype)
    pixels = jnp.arange(side, dtype=cells.dtype)
    return jnp.interp(pixels, knots, ends * ((side - 1) / ends[-1]))


def smoothed(
    fields: Float32[Array, 'batch axes h w'], sigma: int | float
) -> Float32[Array, 'batch axes h w']:
    """Returns the fields smoothed by a Gaussian filter, with zeros around them."""
    # Filtering the unit vectors gives the matrix of the filter.
    along_rows, along_columns = (
        gaussian_filter1d(np.eye(side, dtype=np.float32), sigma, axis=0, mode='constant')
        for side in fields.shape[2:]
    )
    return jnp.einsum('ij,najk,lk->nail', along_rows, fields, along_columns)


def displaced(
    image: Float[Array, 'h w c'], offsets: Float[Array, '2 h w'], mode: str
) -> Float[Array, 'h w c']:
    """Returns the image with each pixel read at its position plus `offsets` (down, right)."""
    positions = (jnp.arange(side, dtype=jnp.float32) for side in image.shape[:2])
    rows, columns = jnp.meshgrid(*positions, indexing='ij')
    return warp(image, rows + offsets[0], columns + offsets[1], mode)
