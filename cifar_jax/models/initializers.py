"""Initializers of kernels: the same values as `jax.nn.initializers`, but faster to compile.

XLA compiles a flat random array in a third of a second and a 4-D one in almost three, since it has
to compute its indices (measured on an AMD EPYC, jaxlib 0.10.2), and a network has dozens of
kernels. JAX's partitionable generator gives the same numbers for both.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling


def flat_variance_scaling(scale: float, mode: str, distribution: str) -> Callable:
    """Returns an initializer of kernels [... in out] with variance scale / fan.

    `mode` is 'fan_in', 'fan_out' or 'fan_avg'; `distribution` is 'normal', 'truncated_normal' or
    'uniform', as in `jax.nn.initializers.variance_scaling`, whose values these are.
    """

    def initialize(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        window = math.prod(shape[:-2])
        fan_in, fan_out = window * shape[-2], window * shape[-1]
        fan = {'fan_in': fan_in, 'fan_out': fan_out, 'fan_avg': (fan_in + fan_out) / 2}[mode]
        # The fan-in of a row of values is 1, so its variance is the given scale.
        row = variance_scaling(scale / fan, 'fan_in', distribution)  # type: ignore[arg-type]
        return row(key, (1, math.prod(shape)), dtype).reshape(shape)

    return initialize


# LeCun et al. 1998, Efficient BackProp: the default of Flax.
lecun_normal = flat_variance_scaling(1.0, 'fan_in', 'truncated_normal')
# He et al. 2015 (arXiv:1502.01852): preserves the variance of gradients through layers with ReLUs.
he_normal = flat_variance_scaling(2.0, 'fan_out', 'normal')
# Glorot and Bengio 2010: Keras's default.
glorot_uniform = flat_variance_scaling(1.0, 'fan_avg', 'uniform')
# PyTorch's default for convolutions and dense layers: uniform in +-1 / sqrt(fan_in).
torch_uniform = flat_variance_scaling(1 / 3, 'fan_in', 'uniform')
