"""Two-dimensional convolution with bias and ReLU, by the fastest backend."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from cifar_jax.ops import backend, jax_conv
from cifar_jax.ops.onednn import conv as onednn_conv

Padding = str | Sequence[tuple[int, int]]


def conv(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns in_channels features'],
    bias: Float[Array, ' features'] | None = None,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = 'SAME',
    groups: int = 1,
    relu: bool = False,
) -> Float[Array, 'batch out_height out_width features']:
    """Cross-correlates images with a kernel, which deep-learning libraries call convolution.

    Args:
      x: NHWC images, any float dtype.
      kernel: HWIO weights of the same dtype; `in_channels` is `channels / groups`.
      bias: added to each feature; of the same dtype.
      strides: strides (vertical, horizontal).
      padding: 'SAME', 'VALID' or ((top, bottom), (left, right)), of zeros; negative numbers crop.
      groups: number of independent convolutions that channels and features are split into.
      relu: whether to apply a ReLU, whose gradient at 0 is 0.

    Returns:
      NHWC outputs with the dtype of `x`.

    Raises:
      TypeError: the kernel's channels do not match (raised by `lax`), or forward-mode
        differentiation (jvp, jacfwd) with a backend other than 'xla', whose gradient is custom.
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    (top, bottom), (left, right) = padding
    pads = (int(top), int(bottom)), (int(left), int(right))
    options = onednn_conv.Options(strides, pads, groups, relu, backend.algorithm())
    if backend.uses_onednn(x) and min(*pads[0], *pads[1]) >= 0:
        return _in_cpp(x, kernel, bias, options)
    native = jax_conv.plain if backend.chosen() == 'xla' else jax_conv.conv
    return _native(native, x, kernel, bias, options)


def _native(function, x, kernel, bias, options):
    y = function(x, kernel, options.strides, options.pads, options.groups)
    if bias is not None:
        y = y + bias.reshape(1, 1, 1, -1)
    return jax.nn.relu(y) if options.relu else y


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _in_cpp(x, kernel, bias, options):
    """oneDNN's convolution if the program is lowered for a CPU, and XLA's otherwise."""
    xla = functools.partial(_native, jax_conv.plain, options=options)
    _, height, width, _ = jax.eval_shape(xla, x, kernel, bias).shape
    onednn = functools.partial(onednn_conv.forward, options=options, height=height, width=width)
    return lax.platform_dependent(x, kernel, bias, cpu=onednn, default=xla)


def _in_cpp_forward(x, kernel, bias, options):
    y = _in_cpp(x.value, kernel.value, bias and bias.value, options)
    # The gradient of inputs that are not differentiated, such as images, need not be computed.
    # (), which has no leaves, stands for True: residuals must be arrays or trees of them.
    to_input = () if x.perturbed else None
    return y, (x.value, kernel.value, bias and bias.value, y if options.relu else None, to_input)


def _in_cpp_backward(options, saved, gradient):
    x, kernel, bias, y, to_input = saved
    if isinstance(gradient, SymbolicZero):
        gradient = jnp.zeros(gradient.shape, gradient.dtype)

    def by_onednn(x, kernel, bias, y, gradient):
        gradients = onednn_conv.backward(
            x,
            kernel,
            gradient,
            y,
            options=options,
            bias=bias is not None,
            to_input=to_input is not None,
        )
        return _in_order(gradients)

    def by_xla(x, kernel, bias, y, gradient):
        def forward(kernel, bias, x):
            return _native(jax_conv.plain, x, kernel, bias, options)

        return _in_order(jax.vjp(forward, kernel, bias, x)[1](gradient))

    def _in_order(gradients):
        to_kernel, *rest = (part for part in gradients if part is not None)
        to_bias = rest.pop(0) if bias is not None else None
        return rest[0] if to_input is not None else None, to_kernel, to_bias

    return lax.platform_dependent(x, kernel, bias, y, gradient, cpu=by_onednn, default=by_xla)


_in_cpp.defvjp(_in_cpp_forward, _in_cpp_backward, symbolic_zeros=True)
