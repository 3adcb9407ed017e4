"""ResNet50, the first version, with the layers and names of blocks that Keras has."""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.backbone import BackboneModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import BatchNorm, Conv, Dense, ReLU
from cifar_jax.models.options import check_at_most, check_lengths
from cifar_jax.ops.pool import max_pool

_EXPANSION = 4  # features of a block's output for each of its width
_norm = functools.partial(BatchNorm, momentum=0.99, epsilon=1.001e-5)
_conv = functools.partial(Conv, kernel_init=glorot_uniform)


class Bottleneck(nn.Module):
    """relu(shortcut + BN(conv 1x1(relu(BN(conv 3x3(relu(BN(conv 1x1(x))))))))), with biases.

    The first convolution has the stride (He et al. 2016, arXiv:1512.03385, figure 5; many later
    versions have it in the 3x3 convolution). `project` puts a 1x1 convolution with batch norm on
    the shortcut.
    """

    width: int
    stride: int = 1
    project: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch rows columns features']:
        features, strides = _EXPANSION * self.width, (self.stride, self.stride)
        y = _conv(self.width, (1, 1), strides, dtype=self.dtype, name='conv1')(x)
        y = nn.relu(_norm(dtype=self.dtype, name='norm1')(y, train=train))
        y = _conv(self.width, (3, 3), dtype=self.dtype, name='conv2')(y)
        y = nn.relu(_norm(dtype=self.dtype, name='norm2')(y, train=train))
        y = _conv(features, (1, 1), dtype=self.dtype, name='conv3')(y)
        y = _norm(dtype=self.dtype, name='norm3')(y, train=train)
        if self.project:
            x = _conv(features, (1, 1), strides, dtype=self.dtype, name='shortcut')(x)
            x = _norm(dtype=self.dtype, name='shortcut_norm')(x, train=train)
        return nn.relu(x + y)


class ResNet50(BackboneModel):
    """A 7x7 stem, max-pool 3, four stages of bottleneck blocks, mean, dense: `keras.applications`.

    23,534,592 trainable parameters and 53,120 statistics without the head, 3.9 billion
    multiply-adds per image of 224x224 (He et al. 2016, arXiv:1512.03385, table 1). It takes RGB
    pixels; published weights for BGR have the channels of their first kernel reversed.

    Options:
        widths, blocks: features of the narrow convolutions and number of blocks of each stage; the
            stages after the first begin with stride 2.
        convs, convs_dropout, hidden, hidden_dropout, last_stage: see `BackboneModel`.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    def setup(self) -> None:
        self.head = Dense(self.classes, kernel_init=glorot_uniform, dtype=self.dtype)

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the means of the last feature map, after `hidden`."""
        border = ((3, 3), (3, 3))
        stem = _conv(self.widths[0], (7, 7), (2, 2), border, dtype=self.dtype, name='stem')
        x = stem(self.inputs(images))
        x = _norm(dtype=self.dtype, name='stem_norm')(x, train=train)
        x = ReLU(name='stem_relu')(x)
        # After a ReLU, zeros are as good as the -inf of `padding='SAME'`, which pads otherwise.
        x = max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2)
        stages = list(zip(self.widths, self.blocks, strict=True))
        for stage, (width, count) in enumerate(stages[: self.last_stage or None]):
            for block in range(count):
                x = Bottleneck(
                    width,
                    stride=2 if stage and not block else 1,
                    project=not block,
                    dtype=self.dtype,
                    name=f'stage{stage + 1}_block{block + 1}',
                )(x, train=train)
        return self.hidden_layers(self.pooled(x, train=train), train=train)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths', 'blocks')
        check_at_most(self, 'last_stage', len(self.blocks))
        super().check()
