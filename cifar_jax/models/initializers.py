"""Where kernels start: the values of `jax.nn.initializers`, compiled several times faster.

XLA spends a third of a second on a flat random array and almost three on a 4-D one, whose
indices it has to take apart again (measured on an AMD EPYC, jaxlib 0.10.2), and a network has
dozens of kernels. JAX's partitionable generator draws the same numbers for both.
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
        # A row of values has a fan in of 1, which leaves the variance as it is given.
        row = variance_scaling(scale / fan, 'fan_in', distribution)  # type: ignore[arg-type]
        return row(key, (1, math.prod(shape)), dtype).reshape(shape)

    return initialize


# LeCun et al. 1998, Efficient BackProp: what Flax uses unless told otherwise.
lecun_normal = flat_variance_scaling(1.0, 'fan_in', 'truncated_normal')
# He et al. 2015 (arXiv:1502.01852): keeps the gradient's variance through layers with ReLUs.
he_normal = flat_variance_scaling(2.0, 'fan_out', 'normal')
# Glorot and Bengio 2010: Keras's default.
glorot_uniform = flat_variance_scaling(1.0, 'fan_avg', 'uniform')
# PyTorch's default for convolutions and dense layers: uniform in +-1 / sqrt(fan in).
torch_uniform = flat_variance_scaling(1 / 3, 'fan_in', 'uniform')
