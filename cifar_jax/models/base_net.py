"""BaseNet: the small network of S1."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import Conv, Dense, widened
from cifar_jax.ops.pool import max_pool


class BaseNet(nn.Module):
    """[conv 5x5 valid, ReLU, max-pool 2] for each width; flatten; dense, ReLU; dense.

    24,197 parameters for 25 classes, 32x32x3 images and the default options (S1); kernels start
    as Keras starts them (Glorot uniform), biases at 0.

    Options:
        widths: output features of each convolution.
        hidden: units of the dense layer before the last.
    """

    classes: int
    widths: tuple[int, ...] = (6, 16)
    hidden: int = 50
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch classes']:
        """Returns logits."""
        x = images.astype(self.dtype)
        for width in self.widths:
            x = Conv(
                width,
                (5, 5),
                padding='VALID',
                relu=True,
                kernel_init=glorot_uniform,
                dtype=self.dtype,
            )(x)
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(self.hidden, kernel_init=glorot_uniform, dtype=self.dtype)(x))
        return widened(Dense(self.classes, kernel_init=glorot_uniform, dtype=self.dtype)(x))
