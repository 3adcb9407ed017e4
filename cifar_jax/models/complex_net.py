"""ComplexNet: S2's VGG-16 for 32x32 images."""

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import KERAS_NORM, BatchNorm, Conv, Dense
from cifar_jax.models.options import check_lengths, check_rates
from cifar_jax.ops.pool import max_pool


class ComplexNet(ImageModel):
    """Groups of conv 3x3, ReLU, batch norm, each max-pooled by 2; flatten; two dense layers.

    Simonyan and Zisserman 2015 (arXiv:1409.1556, configuration D) with one dense layer of 512 and
    batch norm, as Liu and Deng 2015 (ACPR, "Very deep convolutional neural network based image
    classification using small training sample size") fit it to CIFAR; dropout is applied between
    the convolutions of a group. 15,038,116 trainable parameters, 15,047,588 with statistics, for
    100 classes, 32x32x3 images and the default options (S2). Kernels are initialized as in Keras
    (Glorot uniform), biases with 0; batch norm has Keras's momentum and epsilon.

    Options:
        widths, convs: output features and number of convolutions of each group.
        dropouts: dropout rate between the convolutions of each group.
        hidden, head_dropout: units of the dense layer before the head (with ReLU and batch norm),
            and the dropout rate after it.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    dropouts: tuple[float, ...] = (0.3, 0.4, 0.4, 0.4, 0.4)
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
        for width, count, rate in zip(self.widths, self.convs, self.dropouts, strict=True):
            for index in range(count):
                if index:
                    x = nn.Dropout(rate, deterministic=not train)(x)
                x = Conv(width, relu=True, kernel_init=glorot_uniform, dtype=self.dtype)(x)
                x = BatchNorm(**KERAS_NORM, dtype=self.dtype)(x, train=train)
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(self.hidden, kernel_init=glorot_uniform, dtype=self.dtype)(x))
        x = BatchNorm(**KERAS_NORM, dtype=self.dtype)(x, train=train)
        return nn.Dropout(self.head_dropout, deterministic=not train)(x)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths', 'convs', 'dropouts')
        check_rates(self, 'dropouts', 'head_dropout')
