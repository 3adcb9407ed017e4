"""Layers used by several models. Parameters are float32; the computation is in `dtype`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float

from cifar_jax.models.initializers import lecun_normal
from cifar_jax.ops.conv import conv
from cifar_jax.ops.dense import matmul
from cifar_jax.ops.pool import global_avg_pool

Padding = str | tuple[tuple[int, int], tuple[int, int]]
# Keras's defaults for `BatchNorm`.
KERAS_NORM: dict[str, Any] = {'momentum': 0.99, 'epsilon': 1e-3}


def widened(x: Float[Array, '...']) -> Float[Array, '...']:
    """Converts half-precision values to float32, and returns others unchanged."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


class Conv(nn.Module):
    """A 2-D convolution of NHWC images with an HWIO kernel, with optional bias and ReLU."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = 'SAME'
    groups: int = 1
    use_bias: bool = True
    relu: bool = False
    kernel_init: Callable = lecun_normal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch rows columns features']:
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            bias = bias.astype(self.dtype)
        return conv(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            bias,
            strides=self.strides,
            padding=self.padding,
            groups=self.groups,
            relu=self.relu,
        )


class Dense(nn.Module):
    """A dense layer, `x @ kernel`, with an optional bias."""

    features: int
    use_bias: bool = True
    kernel_init: Callable = lecun_normal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'batch channels']) -> Float[Array, 'batch features']:
        shape = (x.shape[-1], self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        y = matmul(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)[None]
        return y


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Flax's own promotes bfloat16 inputs implicitly, which strict dtype promotion forbids. Moments
    are computed in float32 or more, the variance is the biased one, and `momentum` is the weight of
    the old moving statistics. Moments are taken over the batch that the program sees, which is the
    global batch.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Callable = nn.initializers.ones
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, '*batch features'], *, train: bool) -> Float[Array, '...']:
        shape = x.shape[-1:]
        scale = self.param('scale', self.scale_init, shape, jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, shape, jnp.float32)
        moving_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape, jnp.float32)
        moving_var = self.variable('batch_stats', 'var', jnp.ones, shape, jnp.float32)
        stats_dtype = widened(x).dtype
        if train:
            mean, var = _moments(x.astype(stats_dtype))
            if not self.is_initializing():
                self._update(moving_mean, mean)
                self._update(moving_var, var)
        else:
            mean, var = moving_mean.value.astype(stats_dtype), moving_var.value.astype(stats_dtype)
        factor = scale.astype(stats_dtype) * lax.rsqrt(var + self.epsilon)
        # One multiply-add per value: twice as fast on a CPU as (x - mean) * factor + bias.
        offset = bias.astype(stats_dtype) - mean * factor
        ones = (1,) * (x.ndim - 1)
        y = x.astype(stats_dtype) * factor.reshape(*ones, -1) + offset.reshape(*ones, -1)
        return y.astype(self.dtype)

    def _update(self, moving: nn.Variable, value: Array) -> None:
        old = moving.value
        moving.value = self.momentum * old + (1 - self.momentum) * value.astype(old.dtype)


def _moments(x: Array) -> tuple[Array, Array]:
    """Returns mean and biased variance of each feature, in one pass over the data."""
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axes)
    square = jnp.mean(jnp.square(x), axes)
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


class ReLU(nn.Module):
    """max(x, 0), as a module, so that the output of a block has a name."""

    @nn.compact
    def __call__(self, x: Float[Array, '*batch features']) -> Float[Array, '*batch features']:
        return nn.relu(x)


def relu6(x: Float[Array, '*shape']) -> Float[Array, '*shape']:
    """Returns min(max(x, 0), 6), whose gradient at 0 and at 6 is 0, as in PyTorch; keeps NaN."""
    return jnp.where(x >= 6, jnp.asarray(6, x.dtype), nn.relu(x))


def swish(x: Float[Array, '*shape']) -> Float[Array, '*shape']:
    """Returns x sigmoid(x) (Ramachandran et al. 2017, arXiv:1710.05941), also called SiLU.

    Computed by sigmoid(x) = (1 + tanh(x / 2)) / 2. On an Intel Xeon with AVX-512, XLA's code for
    tanh takes three quarters of the time of exp and a division; on an AMD EPYC (Zen 4), the same.
    """
    half = x * jnp.asarray(0.5, x.dtype)
    return half + half * jnp.tanh(half)


# The activations of the option `activation` of models.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {'relu6': relu6, 'swish': swish}


class Activation(nn.Module):
    """A function of `ACTIVATIONS`, as a module, so that its output has a name."""

    kind: str

    @nn.compact
    def __call__(self, x: Float[Array, '*batch features']) -> Float[Array, '*batch features']:
        return ACTIVATIONS[self.kind](x)


class DropBlock(nn.Module):
    """Zeroes square blocks of all channels in training and rescales the other values.

    Seeds are drawn with probability gamma and grow to `size` x `size` blocks (exactly, for even
    sizes too; at most to the size of the map). The remaining values are divided by their fraction
    in the whole batch. Identity at evaluation.

    `gamma` is 'published' (rate / size^2, seeds anywhere, blocks cut at the border, as in S4) or
    'ghiasi' (Ghiasi et al. 2018, arXiv:1810.12890, equation 1: the published one times h w / ((h -
    size + 1) (w - size + 1)), seeds only where the whole block fits).
    """

    rate: float
    size: int
    gamma: str = 'published'

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch height width channels']:
        """Drops blocks at `rate` times `progress`: Ghiasi's schedule raises it from 0 to 1."""
        if not train or self.rate == 0:
            return x
        dropped = block_mask(
            self.make_rng('dropout'), x.shape[:3], self.rate * progress, self.size, self.gamma
        )
        kept = 1 - dropped.astype(jnp.float32)
        kept = kept / jnp.maximum(jnp.mean(kept), 1 / kept.size)
        return x * kept.astype(x.dtype)[..., None]


def block_mask(
    key: Array,
    shape: tuple[int, ...],
    rate: Float[Array, ''] | float,
    size: int,
    gamma: str = 'published',
) -> Bool[Array, 'batch height width']:
    """Returns True where DropBlock drops, for a `shape` of (batch, height, width)."""
    batch, height, width = shape
    size = min(size, height, width)
    probability = rate / size**2
    if gamma == 'ghiasi':
        rows, columns = height - size + 1, width - size + 1
        probability = probability * (height * width / (rows * columns))
        before = after = size - 1
    elif gamma == 'published':
        rows, columns = height, width
        before, after = size // 2, (size - 1) // 2
    else:
        raise ValueError(f"gamma is 'published' or 'ghiasi', not {gamma!r}")
    # Drawn as a flat array, which gives the same seeds and compiles several times faster.
    mask = jax.random.bernoulli(key, probability, (batch * rows * columns,))
    mask = mask.reshape(batch, rows, columns)
    mask = jnp.pad(mask, ((0, 0), (before, after), (before, after)))
    return _dilate(_dilate(mask, 1, size), 2, size)


def _dilate(mask: Array, axis: int, size: int) -> Array:
    """Returns the 'or' of each `size` neighbours along an axis, in log2(size) steps."""
    reach = 1
    while reach < size:
        step = min(reach, size - reach)
        length = mask.shape[axis]
        first = lax.slice_in_dim(mask, 0, length - step, axis=axis)
        mask = first | lax.slice_in_dim(mask, step, length, axis=axis)
        reach += step
    return mask


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means.

    gate = sigmoid(W2 act(W1 mean(x) + b1) + b2), with channels / reduction hidden units (Hu et
    al. 2018, arXiv:1709.01507, equations 2 to 4, where the activation is a ReLU).
    """

    reduction: int = 16
    activation: Callable[[Array], Array] = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch height width channels']:
        channels = x.shape[-1]
        gate = global_avg_pool(x)
        dense = functools.partial(Dense, kernel_init=lecun_normal, dtype=self.dtype)
        gate = dense(max(channels // self.reduction, 1), name='squeeze')(gate)
        gate = dense(channels, name='excite')(self.activation(gate))
        return x * nn.sigmoid(gate)[:, None, None, :]
