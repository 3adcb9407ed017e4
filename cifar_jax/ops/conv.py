"""Two-dimensional convolution with bias and ReLU: one meaning, the fastest way there is."""

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
    """Cross-correlates images with a kernel, as every deep-learning library means "convolution".

    Args:
      x: NHWC images, any float dtype.
      kernel: HWIO weights of the same dtype; `in_channels` is `channels / groups`.
      bias: is added to each feature; of the same dtype.
      strides: steps between outputs, (vertical, horizontal).
      padding: 'SAME', 'VALID' or ((top, bottom), (left, right)); zeros, and negative ones crop.
      groups: channels and features are split into as many independent convolutions.
      relu: whether negative results become 0; the gradient at 0 is 0.

    Returns:
      NHWC outputs of the dtype of `x`.

    Raises:
      TypeError: the kernel's channels do not fit (from `lax`); or, unless the backend is 'xla',
        forward-mode differentiation (jvp, jacfwd), which a custom gradient excludes.
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    (top, bottom), (left, right) = padding
    pads = (int(top), int(bottom)), (int(left), int(right))
    options = onednn_conv.Options(strides, pads, groups, relu)
    if backend.calls_onednn(x) and min(*pads[0], *pads[1]) >= 0:
        return _foreign(x, kernel, bias, options)
    native = jax_conv.plain if backend.chosen() == 'xla' else jax_conv.conv
    return _native(native, x, kernel, bias, options)


def _native(function, x, kernel, bias, options):
    y = function(x, kernel, options.strides, options.pads, options.groups)
    if bias is not None:
        y = y + bias.reshape(1, 1, 1, -1)
    return jax.nn.relu(y) if options.relu else y


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _foreign(x, kernel, bias, options):
    """oneDNN's convolution where the program is lowered for a CPU, XLA's elsewhere."""
    xla = functools.partial(_native, jax_conv.plain, options=options)
    _, height, width, _ = jax.eval_shape(xla, x, kernel, bias).shape
    onednn = functools.partial(onednn_conv.forward, options=options, height=height, width=width)
    return lax.platform_dependent(x, kernel, bias, cpu=onednn, default=xla)


def _foreign_forward(x, kernel, bias, options):
    y = _foreign(x.value, kernel.value, bias and bias.value, options)
    # What is not differentiated, as a network's images are not, need not be computed.
    wanted = () if x.perturbed else None
    return y, (x.value, kernel.value, bias and bias.value, y if options.relu else None, wanted)


def _foreign_backward(options, saved, gradient):
    x, kernel, bias, y, wanted = saved
    if isinstance(gradient, SymbolicZero):
        gradient = jnp.zeros(gradient.shape, gradient.dtype)

    def by_onednn(x, kernel, bias, y, gradient):
        found = onednn_conv.backward(
            x,
            kernel,
            gradient,
            y,
            options=options,
            bias=bias is not None,
            to_input=wanted is not None,
        )
        return _in_order(found)

    def by_xla(x, kernel, bias, y, gradient):
        def forward(kernel, bias, x):
            return _native(jax_conv.plain, x, kernel, bias, options)

        return _in_order(jax.vjp(forward, kernel, bias, x)[1](gradient))

    def _in_order(found):
        to_kernel, *rest = (part for part in found if part is not None)
        to_bias = rest.pop(0) if bias is not None else None
        return rest[0] if wanted is not None else None, to_kernel, to_bias

    return lax.platform_dependent(x, kernel, bias, y, gradient, cpu=by_onednn, default=by_xla)


_foreign.defvjp(_foreign_forward, _foreign_backward, symbolic_zeros=True)
