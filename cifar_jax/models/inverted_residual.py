"""The block of EfficientNets: an inverted residual with a depthwise convolution."""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.initializers import flat_variance_scaling
from cifar_jax.models.layers import ACTIVATIONS, KERAS_NORM, BatchNorm, Conv, SqueezeExcite

norm = functools.partial(BatchNorm, **KERAS_NORM)
conv = functools.partial(
    Conv, use_bias=False, kernel_init=flat_variance_scaling(2.0, 'fan_out', 'truncated_normal')
)
# The kernel of a depthwise convolution is [rows columns 1 channels]: each channel has its own
# output, and so the fan-out of one is that which 'fan_in' computes.
_depthwise = functools.partial(
    Conv, use_bias=False, kernel_init=flat_variance_scaling(2.0, 'fan_in', 'truncated_normal')
)


class InvertedResidual(nn.Module):
    """x + BN(conv 1x1(SE(act(BN(depthwise conv(act(BN(conv 1x1(x))))))))), called MBConv.

    (Sandler et al. 2018, arXiv:1801.04381, figure 3d; with SE, Tan and Le 2019, arXiv:1905.11946,
    section 4.) The sum is left out where the shapes differ, the first convolution where `expansion`
    is 1. In training, the branch of an image is dropped with the probability `drop_path` (Huang et
    al. 2016, arXiv:1603.09382).
    """

    width: int
    kernel: int
    stride: int
    expansion: int
    squeeze: bool
    activation: str
    drop_path: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch rows columns features']:
        act = ACTIVATIONS[self.activation]
        y, inner = x, self.expansion * x.shape[-1]
        if self.expansion != 1:
            y = conv(inner, (1, 1), dtype=self.dtype, name='expand')(y)
            y = act(norm(dtype=self.dtype, name='expand_norm')(y, train=train))
        size, strides = (self.kernel, self.kernel), (self.stride, self.stride)
        options = dict(groups=inner, dtype=self.dtype, name='depthwise')
        y = _depthwise(inner, size, strides, **options)(y)
        y = act(norm(dtype=self.dtype, name='depthwise_norm')(y, train=train))
        if self.squeeze:
            # A quarter of the block's input channels are hidden units.
            y = SqueezeExcite(4 * self.expansion, activation=act, dtype=self.dtype, name='se')(y)
        y = conv(self.width, (1, 1), dtype=self.dtype, name='project')(y)
        y = norm(dtype=self.dtype, name='project_norm')(y, train=train)
        if x.shape != y.shape:
            return y
        if self.drop_path:
            each_image = (1, 2, 3)
            y = nn.Dropout(self.drop_path, each_image, deterministic=not train)(y)
        return x + y
