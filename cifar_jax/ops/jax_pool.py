"""Pooling by JAX alone: slices and elementwise operations, with a gradient that is fast on CPUs.

`lax.reduce_window` has a select-and-scatter gradient that is slow on CPUs. A window is instead
walked one axis at a time, combining strided slices of the (padded) array, so that the gradient
is made of elementwise operations that XLA fuses.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def max_pool(
    x: Float[Array, 'batch height width channels'], window: int, stride: int, padding: str
) -> Float[Array, 'batch rows columns channels']:
    """The pooling of `ops.pool.max_pool`."""
    for axis in (1, 2):
        if stride == 1:
            low, high, _ = _layout(x.shape[axis], window, 1, padding)
            x = _sliding_max(x, axis, window, (low, high))
        else:
            x = _combine(x, axis, window, stride, padding, -jnp.inf, jnp.maximum)
    return x


def avg_pool(
    x: Float[Array, 'batch height width channels'], window: int, stride: int, padding: str
) -> Float[Array, 'batch rows columns channels']:
    """The pooling of `ops.pool.avg_pool`."""
    for axis in (1, 2):
        size = x.shape[axis]
        x = _combine(x, axis, window, stride, padding, 0.0, jnp.add)
        shares = 1 / _counts(size, window, stride, padding)
        x = x * jnp.asarray(np.expand_dims(shares, [a for a in range(4) if a != axis]), x.dtype)
    return x


def _combine(
    x: Array, axis: int, window: int, stride: int, padding: str, fill: float, combine: Callable
) -> Array:
    """Reduces windows along one axis by combining one strided slice per window position."""
    low, high, count = _layout(x.shape[axis], window, stride, padding)
    if low or high:
        x = _pad(x, axis, low, high, fill)
    limit = (count - 1) * stride + 1
    result = lax.slice_in_dim(x, 0, limit, stride, axis)
    for offset in range(1, window):
        result = combine(result, lax.slice_in_dim(x, offset, offset + limit, stride, axis))
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _sliding_max(x: Array, axis: int, window: int, pads: tuple[int, int]) -> Array:
    """Returns the largest value of each window along one axis, in steps of 1."""
    return _combine(_pad(x, axis, *pads, -jnp.inf), axis, window, 1, 'VALID', 0.0, jnp.maximum)


def _sliding_max_forward(
    x: Array, axis: int, window: int, pads: tuple[int, int]
) -> tuple[Array, Array]:
    """Returns the maxima, and as int8 which place of its window each was found at."""
    # The barriers keep XLA from fusing paddings into what reads them: that would test for the
    # border at every value, and takes three times as long. They also keep it from removing
    # unused results, as an initialisation's are, so they stand only where gradients are taken.
    padded = lax.optimization_barrier(_pad(x, axis, *pads, -jnp.inf))
    count = padded.shape[axis] - window + 1
    best = lax.slice_in_dim(padded, 0, count, axis=axis)
    place = jnp.zeros(best.shape, jnp.int8)
    for offset in range(1, window):
        other = lax.slice_in_dim(padded, offset, offset + count, axis=axis)
        place = jnp.where(other > best, jnp.int8(offset), place)
        best = jnp.maximum(best, other)
    return lax.optimization_barrier((best, place))


def _sliding_max_backward(
    axis: int, window: int, pads: tuple[int, int], place: Array, gradient: Array
) -> tuple[Array]:
    """Collects for each input the gradients of the windows whose largest value it is."""
    size = gradient.shape[axis] + window - 1 - sum(pads)
    ends = (window - 1 - pads[0], window - 1 - pads[1])
    place = lax.optimization_barrier(_pad(place, axis, *ends, -1.0))
    gradient = lax.optimization_barrier(_pad(gradient, axis, *ends, 0.0))
    total = jnp.zeros((1,) * gradient.ndim, gradient.dtype)
    for offset in range(window):
        start = window - 1 - offset
        here = lax.slice_in_dim(place, start, start + size, axis=axis) == offset
        part = lax.slice_in_dim(gradient, start, start + size, axis=axis)
        total = jnp.where(here, part, jnp.zeros((), part.dtype)) + total
    return (lax.optimization_barrier(total),)


_sliding_max.defvjp(_sliding_max_forward, _sliding_max_backward)


def _pad(x: Array, axis: int, low: int, high: int, fill: float) -> Array:
    """Returns the array with `fill` added before and after one axis."""
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (low, high, 0)
    return lax.pad(x, jnp.asarray(fill, x.dtype), widths)


def _layout(size: int, window: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Returns the padding before and after, and the number of windows, along one axis."""
    if padding == 'VALID':
        if window > size:
            raise ValueError(f'a window of {window} does not fit into {size} values')
        return 0, 0, (size - window) // stride + 1
    if padding != 'SAME':
        raise ValueError(f"padding is 'VALID' or 'SAME', not {padding!r}")
    count = -(-size // stride)
    total = max((count - 1) * stride + window - size, 0)
    return total // 2, total - total // 2, count


def _counts(size: int, window: int, stride: int, padding: str) -> np.ndarray:
    """Returns how many real values each window along one axis holds."""
    low, _, count = _layout(size, window, stride, padding)
    starts = np.arange(count) * stride - low
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
