"""BaseNet: the small network of S1."""

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import Conv, Dense
from cifar_jax.models.options import check_lengths
from cifar_jax.ops.pool import max_pool


class BaseNet(ImageModel):
    """[conv 5x5 valid, ReLU, max-pool 2] for each width; flatten; dense, ReLU; dense.

    24,197 parameters for 25 classes, 32x32x3 images and the default options (S1); kernels are
    initialized as in Keras (Glorot uniform), biases with 0.

    Options:
        widths: output features of each convolution.
        hidden: units of the dense layer before the last.
    """

    widths: tuple[int, ...] = (6, 16)
    hidden: int = 50

    def setup(self) -> None:
        self.head = Dense(
            self.classes, kernel_init=glorot_uniform, dtype=self.dtype, name='Dense_1'
        )

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the output of the dense layer before the head."""
        x = self.inputs(images)
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
        return nn.relu(Dense(self.hidden, kernel_init=glorot_uniform, dtype=self.dtype)(x))

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths')
