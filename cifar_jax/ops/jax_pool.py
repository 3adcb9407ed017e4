"""Pooling in JAX by slices and elementwise operations, with a gradient that is fast on CPUs.

The gradient of `lax.reduce_window` is a select-and-scatter, which is slow on CPUs. Instead, windows
are reduced along one axis at a time by combining strided slices of the (padded) array, so that the
gradient consists of elementwise operations, which XLA fuses.
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
    """Implements `ops.pool.max_pool`."""
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
    """Implements `ops.pool.avg_pool`."""
    for axis in (1, 2):
        size = x.shape[axis]
        x = _combine(x, axis, window, stride, padding, 0.0, jnp.add)
        weights = 1 / _counts(size, window, stride, padding)
        x = x * jnp.asarray(np.expand_dims(weights, [a for a in range(4) if a != axis]), x.dtype)
    return x


def _combine(
    x: Array, axis: int, window: int, stride: int, padding: str, fill: float, combine: Callable
) -> Array:
    """Reduces windows along one axis by combining one strided slice per position in the window."""
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
    """Returns the maxima, and the position of each in its window as int8."""
    # The barriers keep XLA from fusing the padding into its consumers, which would test for the
    # border at every value and take three times as long. They also keep XLA from removing unused
    # results, such as those of an initialisation, so they are used only when differentiating.
    padded = lax.optimization_barrier(_pad(x, axis, *pads, -jnp.inf))
    count = padded.shape[axis] - window + 1
    best = lax.slice_in_dim(padded, 0, count, axis=axis)
    position = jnp.zeros(best.shape, jnp.int8)
    for offset in range(1, window):
        other = lax.slice_in_dim(padded, offset, offset + count, axis=axis)
        position = jnp.where(other > best, jnp.int8(offset), position)
        best = jnp.maximum(best, other)
    return lax.optimization_barrier((best, position))


def _sliding_max_backward(
    axis: int, window: int, pads: tuple[int, int], position: Array, gradient: Array
) -> tuple[Array]:
    """Sums, for each input, the gradients of the windows in which it is the maximum."""
    size = gradient.shape[axis] + window - 1 - sum(pads)
    ends = (window - 1 - pads[0], window - 1 - pads[1])
    position = lax.optimization_barrier(_pad(position, axis, *ends, -1.0))
    gradient = lax.optimization_barrier(_pad(gradient, axis, *ends, 0.0))
    total = jnp.zeros((1,) * gradient.ndim, gradient.dtype)
    for offset in range(window):
        start = window - 1 - offset
        is_maximum = lax.slice_in_dim(position, start, start + size, axis=axis) == offset
        part = lax.slice_in_dim(gradient, start, start + size, axis=axis)
        total = jnp.where(is_maximum, part, jnp.zeros((), part.dtype)) + total
    return (lax.optimization_barrier(total),)


_sliding_max.defvjp(_sliding_max_forward, _sliding_max_backward)


def _pad(x: Array, axis: int, low: int, high: int, fill: float) -> Array:
    """Returns the array with `fill` added before and after one axis."""
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (low, high, 0)
    return lax.pad(x, jnp.asarray(fill, x.dtype), widths)


def _layout(size: int, window: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Returns the padding before and after, and the number of windows, of one axis."""
    if padding == 'VALID':
        if window > size:
            raise ValueError(f'a window of {window} does not fit into {size} values')
        return 0, 0, (size - window) // stride + 1
    if padding != 'SAME':
        raise ValueError(f"padding must be 'VALID' or 'SAME', not {padding!r}")
    count = -(-size // stride)
    total = max((count - 1) * stride + window - size, 0)
    return total // 2, total - total // 2, count


def _counts(size: int, window: int, stride: int, padding: str) -> np.ndarray:
    """Returns the number of values that are not padding in each window along one axis."""
    low, _, count = _layout(size, window, stride, padding)
    starts = np.arange(count) * stride - low
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
