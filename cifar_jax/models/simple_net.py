"""SimpleNet: the four convolutions of S2."""

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import KERAS_NORM, BatchNorm, Conv, Dense
from cifar_jax.models.options import check_lengths, check_rates
from cifar_jax.ops.pool import global_avg_pool, max_pool


class SimpleNet(ImageModel):
    """Convolutions 3x3 valid with ReLU and batch norm; mean over positions; three dense layers.

    Max-pooling by 2 follows all convolutions except the first and the last, dropout follows all
    except the last; both come before batch norm. 1,775,716 trainable parameters, 1,777,636 with
    statistics, for 100 classes and the default options (S2). The ReLUs of the convolutions and the
    rates of dropout were never published. Kernels start as Keras starts them (Glorot uniform),
    biases at 0; batch norm has Keras's momentum and epsilon.

    Options:
        widths: output features of each convolution.
        dropout: dropout rate after the convolutions.
        hidden: units of each dense layer before the last, with ReLU.
        head_dropout: dropout rate before the dense layers.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    dropout: float = 0.2
    hidden: tuple[int, ...] = (256, 256)
    head_dropout: float = 0.3

    def setup(self) -> None:
        self.head = Dense(
            self.classes,
            kernel_init=glorot_uniform,
            dtype=self.dtype,
            name=f'Dense_{len(self.hidden)}',
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
        last = len(self.widths) - 1
        for index, width in enumerate(self.widths):
            x = Conv(
                width, padding='VALID', relu=True, kernel_init=glorot_uniform, dtype=self.dtype
            )(x)
            if 0 < index < last:
                x = max_pool(x)
            if index < last:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = BatchNorm(**KERAS_NORM, dtype=self.dtype)(x, train=train)
        x = nn.Dropout(self.head_dropout, deterministic=not train)(global_avg_pool(x))
        for units in self.hidden:
            x = nn.relu(Dense(units, kernel_init=glorot_uniform, dtype=self.dtype)(x))
        return x

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths')
        check_lengths(self, 'hidden')
        check_rates(self, 'dropout', 'head_dropout')
