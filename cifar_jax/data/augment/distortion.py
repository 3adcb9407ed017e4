"""Augmentations that bend each image."""

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
    """Stretches the rows and columns of a grid laid over each image, by a factor for each.

    Along each side the `steps` cells get widths proportional to numbers uniform over
    1-limit..1+limit; they fill the image again, so that its border stays where it was.

    Args:
      limit: from 0 to 0.9.

    References:
      Buslaev et al., 2020, Albumentations: Fast and Flexible Image Augmentations,
      arXiv:1809.06839; `GridDistortion` with `normalized=True`.
    """
    if not isinstance(steps, int) or steps < 1:
        raise UserError(f'grid_distortion: steps={steps} is impossible: a whole number above 0.')
    within('grid_distortion', 'limit', limit, 0, 0.9)
    widths = jax.random.uniform(key, (len(images), 2, steps), jnp.float32, 1 - limit, 1 + limit)
    bent = jax.vmap(lambda image, w: stretched(image, w[0], w[1]))(images, widths)
    return sometimes('grid_distortion', key, p, bent, images)


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
    pixels (with zeros around the image) and multiplied by `alpha` pixels: by default a pixel
    moves by 1.4, root mean square, along each axis.

    Args:
      mode: of the border, see `warp`; 'constant' fills with 0.

    References:
      Simard, Steinkraus and Platt, 2003, Best Practices for Convolutional Neural Networks Applied
      to Visual Document Analysis, section 2, whose alpha and sigma for 29x29 pixels are ours.
    """
    within('elastic', 'alpha', alpha, 0, 1000)
    within('elastic', 'sigma', sigma, 0.1, 100)
    one_of('elastic', 'mode', mode, MODES)
    count, height, width, _ = images.shape
    noise = jax.random.uniform(key, (count, 2, height, width), jnp.float32, -1, 1)
    moves = alpha * smoothed(noise, sigma)
    bent = jax.vmap(lambda image, move: moved(image, move, mode))(images, moves)
    return sometimes('elastic', key, p, bent, images)


def stretched(
    image: Float[Array, 'h w c'], heights: Float[Array, ' cells'], widths: Float[Array, ' cells']
) -> Float[Array, 'h w c']:
    """Returns the image whose equal cells show parts of it of these relative sizes."""
    rows, columns = (
        _places(side, cells) for side, cells in zip(image.shape[:2], (heights, widths), strict=True)
    )
    rows, columns = jnp.meshgrid(rows, columns, indexing='ij')
    return warp(image, rows, columns, 'nearest')


def _places(side: int, cells: Float[Array, ' cells']) -> Float[Array, ' side']:
    ends = jnp.concatenate([jnp.zeros(1, cells.dtype), jnp.cumsum(cells)])
    knots = jnp.linspace(0, side - 1, len(ends), dtype=cells.dtype)
    pixels = jnp.arange(side, dtype=cells.dtype)
    return jnp.interp(pixels, knots, ends * ((side - 1) / ends[-1]))


def smoothed(
    fields: Float32[Array, 'batch axes h w'], sigma: int | float
) -> Float32[Array, 'batch axes h w']:
    """Returns the fields under a Gaussian filter, with zeros around them."""
    # SciPy's filter of the unit vectors is its matrix.
    along_rows, along_columns = (
        gaussian_filter1d(np.eye(side, dtype=np.float32), sigma, axis=0, mode='constant')
        for side in fields.shape[2:]
    )
    return jnp.einsum('ij,najk,lk->nail', along_rows, fields, along_columns)


def moved(
    image: Float[Array, 'h w c'], moves: Float[Array, '2 h w'], mode: str
) -> Float[Array, 'h w c']:
    """Returns the image whose pixels are read `moves` pixels down and right of their places."""
    places = (jnp.arange(side, dtype=jnp.float32) for side in image.shape[:2])
    rows, columns = jnp.meshgrid(*places, indexing='ij')
    return warp(image, rows + moves[0], columns + moves[1], mode)
