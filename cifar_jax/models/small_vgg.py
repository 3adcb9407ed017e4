"""SmallVGG: the plain network of S3."""

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import Conv, Dense
from cifar_jax.models.options import check_lengths
from cifar_jax.ops.pool import max_pool


class SmallVGG(ImageModel):
    """[conv 3x3, ReLU] twice and max-pool 2 for each width; flatten; dense.

    307,498 parameters for 10 classes, 32x32x3 images and the default widths (S3); kernels are
    initialized as in Keras (Glorot uniform), biases with 0.
    """

    widths: tuple[int, ...] = (32, 64, 128)

    def setup(self) -> None:
        self.head = Dense(
            self.classes, kernel_init=glorot_uniform, dtype=self.dtype, name='Dense_0'
        )

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the last feature map, flattened."""
        x = self.inputs(images)
        for width in self.widths:
            for _ in range(2):
                x = Conv(width, relu=True, kernel_init=glorot_uniform, dtype=self.dtype)(x)
            x = max_pool(x)
        return x.reshape(x.shape[0], -1)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths')
