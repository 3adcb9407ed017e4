"""FFI calls of the C++ pooling, with the batch sharded over the devices."""

import jax
import numpy as np
from jaxtyping import Array, Float

from cifar_jax.ops import sharing


def forward(
    x: Float[Array, 'batch height width channels'], *, largest: bool
) -> Float[Array, 'batch rows columns channels']:
    """Returns the maximum (`largest`) or the mean of each 2x2 window."""

    def call(x):
        batch, height, width, channels = x.shape
        result = jax.ShapeDtypeStruct((batch, height // 2, width // 2, channels), x.dtype)
        function = jax.ffi.ffi_call('cifar_jax.PoolForward', result, vmap_method='sequential')
        return function(x, largest=largest, threads=np.int64(sharing.threads()))

    return sharing.by_batch(call, (x,))


def backward(
    gradient: Float[Array, 'batch rows columns channels'],
    *x: Float[Array, 'batch height width channels'],
    height: int,
    width: int,
) -> Float[Array, 'batch height width channels']:
    """Returns the gradient for x; max-pooling needs x itself, average pooling does not."""

    def call(gradient, *x):
        shape = (len(gradient), height, width, gradient.shape[3])
        result = jax.ShapeDtypeStruct(shape, gradient.dtype)
        function = jax.ffi.ffi_call('cifar_jax.PoolBackward', result, vmap_method='sequential')
        return function(gradient, *x, largest=bool(x), threads=np.int64(sharing.threads()))

    return sharing.by_batch(call, (gradient, *x))
