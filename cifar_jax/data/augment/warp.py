"""Resampling of images by bilinear interpolation."""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from cifar_jax.data.augment.options import one_of, within

# 'reflect' is numpy.pad's name for what SciPy calls 'mirror'.
_SCIPY_MODES = {'nearest': 'nearest', 'reflect': 'mirror', 'constant': 'constant'}
MODES = tuple(_SCIPY_MODES)


def warp(
    image: Float[Array, 'h w c'],
    rows: Float[Array, 'h w'],
    columns: Float[Array, 'h w'],
    mode: str,
    fill: int | float = 0.0,
) -> Float[Array, 'h w c']:
    """Resamples an image at (rows, columns), with bilinear interpolation in float32.

    Beyond the border, `mode` gives the nearest pixel ('nearest'), the image mirrored at its
    outermost pixels ('reflect', as in `numpy.pad`), or `fill` ('constant'; the outermost pixels are
    interpolated with it).
    """
    read = functools.partial(
        map_coordinates,
        coordinates=(rows, columns),
        order=1,
        mode=_SCIPY_MODES[mode],
        cval=float(fill),
    )
    out = jax.vmap(read, in_axes=-1, out_axes=-1)(image.astype(jnp.float32))
    # Rounding errors of the weights can leave the range.
    return jnp.clip(out, 0, 1).astype(image.dtype)


def affine(
    image: Float[Array, 'h w c'],
    matrix: Float[Array, '2 2'],
    offset: Float[Array, '2'],
    mode: str,
    fill: int | float = 0.0,
) -> Float[Array, 'h w c']:
    """Resamples an image: the pixel at o is read at matrix (o - centre) + centre + offset.

    Positions are (row, column) in pixels; the centre is midway between the outermost pixels.
    """
    height, width, _ = image.shape
    middle = (height - 1) / 2, (width - 1) / 2
    down, right = jnp.meshgrid(
        *(
            jnp.arange(n, dtype=jnp.float32) - m
            for n, m in zip((height, width), middle, strict=True)
        ),
        indexing='ij',
    )
    rows, columns = (
        matrix[axis, 0] * down + matrix[axis, 1] * right + (middle[axis] + offset[axis])
        for axis in (0, 1)
    )
    return warp(image, rows, columns, mode, fill)


def check_border(name: str, mode: str, fill: int | float) -> None:
    """Raises UserError for an unknown mode, or a fill outside of [0, 1]."""
    one_of(name, 'mode', mode, MODES)
    within(name, 'fill', fill, 0, 1)
