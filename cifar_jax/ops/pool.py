"""Pooling, by the fastest backend."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cifar_jax.ops import backend, jax_pool
from cifar_jax.ops.onednn import pool as onednn_pool


def max_pool(
    x: Float[Array, 'batch height width channels'],
    window: int = 2,
    stride: int | None = None,
    padding: str = 'VALID',
) -> Float[Array, 'batch rows columns channels']:
    """Returns the largest value of each square window; `stride` defaults to `window`.

    Padding is 'VALID' (incomplete windows are dropped) or 'SAME' (ceil(size / stride) windows, in
    which padding is never the maximum). The gradient of tied inputs goes, with stride 1, to the
    first row of the first column; otherwise each pairwise maximum splits it equally.

    Raises:
      ValueError: the window is larger than the map, or the padding is unknown.
      TypeError: forward-mode differentiation (jvp) with stride 1 or in C++, whose gradients are
        custom.
    """
    return _pool(x, window, stride or window, padding, 'max')


def avg_pool(
    x: Float[Array, 'batch height width channels'],
    window: int = 2,
    stride: int | None = None,
    padding: str = 'VALID',
) -> Float[Array, 'batch rows columns channels']:
    """Returns the mean of each square window; padding as in `max_pool`, and not counted.

    Raises:
      ValueError: the window is larger than the map, or the padding is unknown.
      TypeError: forward-mode differentiation (jvp) in C++, whose gradients are custom.
    """
    return _pool(x, window, stride or window, padding, 'mean')


def global_avg_pool(
    x: Float[Array, 'batch height width channels'],
) -> Float[Array, 'batch channels']:
    """Returns the mean of each channel over height and width."""
    return jnp.mean(x, axis=(1, 2))


def _pool(x, window, stride, padding, kind):
    _, height, width, _ = x.shape
    halves = window == stride == 2 and min(height, width) >= 2
    # 'SAME' equals 'VALID' where it adds no padding.
    unpadded = padding == 'VALID' or (padding == 'SAME' and height % 2 == width % 2 == 0)
    if halves and unpadded and backend.uses_onednn(x):
        return _halved(x, kind, height, width)
    return _NATIVE[kind](x, window, stride, padding)


_NATIVE = {'max': jax_pool.max_pool, 'mean': jax_pool.avg_pool}


def _native_half(kind):
    return functools.partial(_NATIVE[kind], window=2, stride=2, padding='VALID')


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _halved(x, kind, height, width):
    """Pools 2x2 windows with stride 2: in C++ if the program is lowered for a CPU, else by XLA."""
    cpu = functools.partial(onednn_pool.forward, largest=kind == 'max')
    return lax.platform_dependent(x, cpu=cpu, default=_native_half(kind))


def _halved_forward(x, kind, height, width):
    return _halved(x, kind, height, width), x if kind == 'max' else None


def _halved_backward(kind, height, width, x, gradient):
    cpu = functools.partial(onednn_pool.backward, height=height, width=width)
    if x is None:
        shape = jax.ShapeDtypeStruct(
            (len(gradient), height, width, gradient.shape[3]), gradient.dtype
        )
        transposed = jax.linear_transpose(_native_half(kind), shape)
        return (lax.platform_dependent(gradient, cpu=cpu, default=lambda g: transposed(g)[0]),)

    def by_xla(gradient, x):
        return jax.vjp(_native_half(kind), x)[1](gradient)[0]

    return (lax.platform_dependent(gradient, x, cpu=cpu, default=by_xla),)


_halved.defvjp(_halved_forward, _halved_backward)
