"""FFI calls of the C++ convolution, with the batch sharded over the devices."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from cifar_jax.ops import sharing


class Options(NamedTuple):
    """The options of a convolution, which are constants of the traced program."""

    strides: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    groups: int
    relu: bool
    algorithm: str

    def attributes(self) -> dict:
        """Returns the attributes of both FFI handlers."""
        return {
            'strides': np.array(self.strides, np.int64),
            'pads': np.array(self.pads, np.int64).ravel(),
            'groups': np.int64(self.groups),
            'relu': self.relu,
            'algorithm': self.algorithm,
            'threads': np.int64(sharing.threads()),
        }


def forward(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns in_channels features'],
    bias: Float[Array, ' features'] | None,
    *,
    options: Options,
    height: int,
    width: int,
) -> Float[Array, 'batch out_height out_width features']:
    """Returns the convolution with bias and ReLU, whose output is `height` by `width`."""

    weights = (kernel,) if bias is None else (kernel, bias)

    def call(x, *weights):
        shape = (x.shape[0], height, width, kernel.shape[3])
        result = jax.ShapeDtypeStruct(shape, x.dtype)
        function = jax.ffi.ffi_call('cifar_jax.ConvForward', result, vmap_method='sequential')
        return function(x, *weights, **options.attributes())

    return sharing.by_batch(call, (x,), weights)


def backward(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns in_channels features'],
    gradient: Float[Array, 'batch out_height out_width features'],
    y: Float[Array, 'batch out_height out_width features'] | None,
    *,
    options: Options,
    bias: bool,
    to_input: bool,
) -> tuple[Array, ...]:
    """Returns the gradients for the kernel and, if requested, for the bias and for x.

    Args:
      gradient: the gradient for the output.
      y: the output if `options.relu`, else None.
      bias, to_input: whether to compute the gradients for the bias and for x.
    """

    def call(x, gradient, *y_and_kernel):
        *y, kernel = y_and_kernel
        results = [jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)]
        results += [jax.ShapeDtypeStruct(kernel.shape[3:], kernel.dtype)] * bias
        results += [jax.ShapeDtypeStruct(x.shape, x.dtype)] * to_input
        function = jax.ffi.ffi_call('cifar_jax.ConvBackward', results, vmap_method='sequential')
        gradients = function(
            x, kernel, gradient, *y, **options.attributes(), bias=bias, to_input=to_input
        )
        return tuple(gradients)

    batched = (x, gradient) if y is None else (x, gradient, y)
    return sharing.by_batch(call, batched, (kernel,), sums=1 + bias)
