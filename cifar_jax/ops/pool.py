"""Pooling by slices and elementwise operations: exact, and with a gradient that is fast on CPUs.

`lax.reduce_window` has a select-and-scatter gradient that is slow on CPUs. A window is instead
walked one axis at a time, combining strided slices of the (padded) array, so that the gradient
is made of elementwise operations that XLA fuses.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def max_pool(
    x: Float[Array, 'batch height width channels'],
    window: int = 2,
    stride: int | None = None,
    padding: str = 'VALID',
) -> Float[Array, 'batch rows columns channels']:
    """Returns the largest value of each square window; `stride` defaults to `window`.

    Padding is 'VALID' (windows that do not fit are dropped) or 'SAME' (ceil(size / stride)
    windows, padding never wins). The gradient of a tie is shared between the tied inputs:
    equally between the two sides of each pairwise maximum.
    """
    for axis in (1, 2):
        x = _combine(x, axis, window, stride or window, padding, -jnp.inf, jnp.maximum)
    return x


def avg_pool(
    x: Float[Array, 'batch height width channels'],
    window: int = 2,
    stride: int | None = None,
    padding: str = 'VALID',
) -> Float[Array, 'batch rows columns channels']:
    """Returns the mean of each square window; padding as in `max_pool`, and never counted."""
    for axis in (1, 2):
        size = x.shape[axis]
        x = _combine(x, axis, window, stride or window, padding, 0.0, jnp.add)
        shares = 1 / _counts(size, window, stride or window, padding)
        x = x * jnp.asarray(np.expand_dims(shares, [a for a in range(4) if a != axis]), x.dtype)
    return x


def global_avg_pool(
    x: Float[Array, 'batch height width channels'],
) -> Float[Array, 'batch channels']:
    """Returns the mean of each channel over all positions."""
    return jnp.mean(x, axis=(1, 2))


def _combine(
    x: Array, axis: int, window: int, stride: int, padding: str, fill: float, combine: Callable
) -> Array:
    """Reduces windows along one axis by combining one strided slice per window position."""
    low, high, count = _layout(x.shape[axis], window, stride, padding)
    if low or high:
        widths = [(0, 0, 0)] * x.ndim
        widths[axis] = (low, high, 0)
        x = lax.pad(x, jnp.asarray(fill, x.dtype), widths)
    limit = (count - 1) * stride + 1
    result = lax.slice_in_dim(x, 0, limit, stride, axis)
    for offset in range(1, window):
        result = combine(result, lax.slice_in_dim(x, offset, offset + limit, stride, axis))
    return result


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
