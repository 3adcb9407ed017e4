"""EfficientNetB0 and EfficientNet-Lite0: stages of inverted residuals."""

from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.backbone import BackboneModel
from cifar_jax.models.initializers import flat_variance_scaling
from cifar_jax.models.inverted_residual import InvertedResidual, conv, norm
from cifar_jax.models.layers import Activation, Dense
from cifar_jax.models.options import check_at_most, check_lengths, check_rates


class EfficientNetB0(BackboneModel):
    """A 3x3 stem, seven stages of inverted residuals, conv 1x1, mean, dropout, dense.

    4,007,548 trainable parameters and 42,016 statistics without the head, and 0.39 billion
    multiply-adds per image of 224x224 (Tan and Le 2019, arXiv:1905.11946, table 1): that of
    `keras.applications` without its layers that normalize the pixels.

    Options:
        stem, top: features of the first and of the last convolution.
        widths, blocks, kernels, strides, expansions: of each stage, the features, the number of
            blocks, the size of the depthwise kernels, the stride of the first block, and the
            features within a block for each one of its input.
        squeeze: whether the blocks have squeeze and excitation.
        activation: 'swish' or 'relu6'.
        drop_path: how often a block's branch would be dropped after the last block, growing from 0
            in equal steps.
        dropout: the rate after the mean.
        convs, convs_dropout, hidden, hidden_dropout, last_stage: see `BackboneModel`. With
            `last_stage`, the last convolution is left out as well.
    """

    stem: int = 32
    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    blocks: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    top: int = 1280
    squeeze: bool = True
    activation: Literal['swish', 'relu6'] = 'swish'
    drop_path: float = 0.2
    dropout: float = 0.2

    def setup(self) -> None:
        init = flat_variance_scaling(1 / 3, 'fan_out', 'uniform')
        self.head = Dense(self.classes, kernel_init=init, dtype=self.dtype)

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the means of the last feature map, with dropout in training, after `hidden`."""
        x = conv(self.stem, (3, 3), (2, 2), dtype=self.dtype, name='stem')(self.inputs(images))
        x = norm(dtype=self.dtype, name='stem_norm')(x, train=train)
        x = Activation(self.activation, name='stem_activation')(x)
        earlier, total = 0, sum(self.blocks)
        for stage, count in enumerate(self.blocks[: self.last_stage or None]):
            for block in range(count):
                x = InvertedResidual(
                    self.widths[stage],
                    kernel=self.kernels[stage],
                    stride=1 if block else self.strides[stage],
                    expansion=self.expansions[stage],
                    squeeze=self.squeeze,
                    activation=self.activation,
                    drop_path=self.drop_path * earlier / total,
                    dtype=self.dtype,
                    name=f'stage{stage + 1}_block{block + 1}',
                )(x, train=train)
                earlier += 1
        if not self.last_stage:
            x = conv(self.top, (1, 1), dtype=self.dtype, name='top')(x)
            x = norm(dtype=self.dtype, name='top_norm')(x, train=train)
            x = Activation(self.activation, name='top_activation')(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(self.pooled(x, train=train))
        return self.hidden_layers(x, train=train)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths', 'blocks', 'kernels', 'strides', 'expansions')
        check_rates(self, 'drop_path', 'dropout')
        check_at_most(self, 'last_stage', len(self.blocks))
        super().check()


class EfficientNetLite0(EfficientNetB0):
    """EfficientNetB0 without squeeze and excitation, and with ReLU6.

    3,371,008 trainable parameters and 42,016 statistics without the head (`efficientnet/lite` in
    TensorFlow's repository `tpu`). Its options are those of `EfficientNetB0`.
    """

    squeeze: bool = False
    activation: Literal['swish', 'relu6'] = 'relu6'
