"""ImprovedNet: the larger network of S1, with batch norm before or after the ReLUs, or without."""

from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import KERAS_NORM, BatchNorm, Conv, Dense, ReLU
from cifar_jax.models.options import check_lengths, check_rates
from cifar_jax.ops.pool import max_pool


class ImprovedNet(ImageModel):
    """Blocks of conv 3x3 same, conv 3x3 valid, max-pool 2, dropout; flatten; two dense layers.

    1,258,553 parameters for 25 classes, 32x32x3 images and the default options; with batch norm
    1,258,937 trainable ones, and 1,259,321 with statistics (S1). Kernels are initialized as in
    Keras (Glorot uniform), biases with 0; batch norm has Keras's momentum and epsilon.

    Options:
        widths: output features of both convolutions of each block.
        batch_norm: 'none', or its position for each convolution: 'before' or 'after' the ReLU.
        dropout: dropout rate after each block.
        hidden, head_dropout: units of the dense layer before the head (with ReLU), and the dropout
            rate after it.
    """

    widths: tuple[int, ...] = (32, 64)
    batch_norm: Literal['none', 'before', 'after'] = 'none'
    dropout: float = 0.25
    hidden: int = 512
    head_dropout: float = 0.5

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
        for block, width in enumerate(self.widths):
            for place, padding in ((2 * block, 'SAME'), (2 * block + 1, 'VALID')):
                x = Conv(
                    width,
                    padding=padding,
                    relu=self.batch_norm != 'before',
                    kernel_init=glorot_uniform,
                    dtype=self.dtype,
                )(x)
                if self.batch_norm != 'none':
                    x = BatchNorm(**KERAS_NORM, dtype=self.dtype)(x, train=train)
                if self.batch_norm == 'before':
                    x = ReLU(name=f'relu_{place}')(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(max_pool(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(self.hidden, kernel_init=glorot_uniform, dtype=self.dtype)(x))
        return nn.Dropout(self.head_dropout, deterministic=not train)(x)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths')
        check_rates(self, 'dropout', 'head_dropout')
