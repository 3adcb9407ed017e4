"""Images read at other places than their pixels."""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from cifar_jax.data.augment.options import one_of, within

# Ours is numpy.pad's word for what SciPy calls 'mirror'.
_SCIPY_MODES = {'nearest': 'nearest', 'reflect': 'mirror', 'constant': 'constant'}
MODES = tuple(_SCIPY_MODES)


def warp(
    image: Float[Array, 'h w c'],
    rows: Float[Array, 'h w'],
    columns: Float[Array, 'h w'],
    mode: str,
    fill: int | float = 0.0,
) -> Float[Array, 'h w c']:
    """Returns the image whose pixels are read at (rows, columns), interpolated bilinearly.

    Computed in float32. What lies beyond the border is, by `mode`, the nearest pixel ('nearest'),
    the image mirrored at its outermost pixels ('reflect', as `numpy.pad` does it) or `fill`
    ('constant', with which the outermost pixels are interpolated as if it lay around them).
    """
    read = functools.partial(
        map_coordinates,
        coordinates=(rows, columns),
        order=1,
        mode=_SCIPY_MODES[mode],
        cval=float(fill),
    )
    out = jax.vmap(read, in_axes=-1, out_axes=-1)(image.astype(jnp.float32))
    # Weights that sum to 1 and a rounding error leave the range.
    return jnp.clip(out, 0, 1).astype(image.dtype)


def affine(
    image: Float[Array, 'h w c'],
    matrix: Float[Array, '2 2'],
    offset: Float[Array, '2'],
    mode: str,
    fill: int | float = 0.0,
) -> Float[Array, 'h w c']:
    """Returns the image whose pixel at o is read at matrix (o - centre) + centre + offset.

    Places are (row, column) in pixels; the centre is between the outermost pixels.
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
    """Raises UserError for an unknown mode, or a fill that is no pixel."""
    one_of(name, 'mode', mode, MODES)
    within(name, 'fill', fill, 0, 1)
