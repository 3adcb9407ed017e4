"""A network of the shape of airbench94, built from this package's layers."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import lecun_normal, torch_uniform
from cifar_jax.models.layers import BatchNorm, Conv, Dense
from cifar_jax.ops.conv import conv
from cifar_jax.ops.pool import max_pool


class Whitening(Conv):
    """A 2x2 convolution whose kernel is not trained, and whose bias is."""

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch rows columns features']:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.variable(
            'fixed', 'kernel', lambda: lecun_normal(self.make_rng('params'), shape)
        )
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        y = conv(x.astype(self.dtype), kernel.value.astype(self.dtype), padding=self.padding)
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)


class AirbenchShape(ImageModel):
    """airbench94's layers (Jordan 2024, arXiv:2404.00498, section 3), for timing only.

    Whitening 2x2 with 24 filters and exact GELU; three groups of [conv 3x3, max-pool 2, batch
    norm, GELU, conv 3x3, batch norm, GELU]; max-pool 3, dense without bias, a ninth of that. Its
    batch norms have a scale here, its kernels have another start, and its recipe is not here.
    """

    widths: tuple[int, ...] = (64, 256, 256)

    def setup(self) -> None:
        self.head = Dense(
            self.classes,
            use_bias=False,
            kernel_init=torch_uniform,
            dtype=self.dtype,
            name='Dense_0',
        )

    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch classes']:
        """Returns logits."""
        return super().__call__(images, train=train, progress=progress) / 9

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the last map, flattened."""

        def convolved(x: Array, width: int) -> Array:
            return Conv(width, use_bias=False, kernel_init=torch_uniform, dtype=self.dtype)(x)

        def activated(x: Array) -> Array:
            norm = BatchNorm(momentum=0.6, epsilon=1e-12, dtype=self.dtype)
            return nn.gelu(norm(x, train=train), approximate=False)

        x = Whitening(24, (2, 2), padding='VALID', dtype=self.dtype, name='whitening')(images)
        x = nn.gelu(x, approximate=False)
        for width in self.widths:
            x = activated(max_pool(convolved(x, width)))
            x = activated(convolved(x, width))
        x = max_pool(x, 3)
        return x.reshape(x.shape[0], -1)
