"""SENet: a residual network for 32x32 images with squeeze and excitation."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import he_normal, lecun_normal
from cifar_jax.models.layers import BatchNorm, Conv, Dense, ReLU, SqueezeExcite
from cifar_jax.models.options import check_lengths
from cifar_jax.ops.pool import avg_pool, global_avg_pool


class SEBlock(nn.Module):
    """relu(shortcut + SE(BN(conv(relu(BN(conv(x))))))): a basic block of Hu et al. 2018, figure 3.

    If the stride is above 1, the shortcut is average-pooled before its 1x1 convolution, so that it
    uses every position (He et al. 2019, arXiv:1812.01187, ResNet-D).
    """

    width: int
    stride: int = 1
    reduction: int = 8
    zero_init: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch rows columns features']:
        last_scale = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        y = _conv(self.width, 3, self.stride, self.dtype, 'conv1')(x)
        y = nn.relu(BatchNorm(dtype=self.dtype, name='norm1')(y, train=train))
        y = _conv(self.width, 3, 1, self.dtype, 'conv2')(y)
        y = BatchNorm(scale_init=last_scale, dtype=self.dtype, name='norm2')(y, train=train)
        y = SqueezeExcite(self.reduction, dtype=self.dtype, name='se')(y)
        if self.stride > 1:
            x = avg_pool(x, self.stride, padding='SAME')
        if x.shape[-1] != self.width:
            x = _conv(self.width, 1, 1, self.dtype, 'shortcut')(x)
            x = BatchNorm(dtype=self.dtype, name='shortcut_norm')(x, train=train)
        return nn.relu(x + y)


class SENet(ImageModel):
    """A 3x3 stem, stages of SE blocks that halve the map and double the width, mean, dense.

    78.5 million multiply-adds per 32x32 image, 1,600,492 trainable parameters and 3,600 statistics
    for 10 classes. Chosen for accuracy per FLOP: two basic blocks in each of four stages is the
    18-layer network of He et al. 2016 (arXiv:1512.03385) with a stem for small images, because
    wide, shallow networks learn as well as thin, deep ones and run faster (Zagoruyko and Komodakis
    2016, arXiv:1605.07146); with 24 instead of 64 features in the stem, it has a seventh of the 556
    million multiply-adds. The gates cost 0.03 % of the multiply-adds. Hu et al. 2018
    (arXiv:1709.01507) find that the reduction ratio matters little; 8 leaves the narrowest gates 3
    hidden units.

    Options:
        widths, blocks: features and number of SE blocks of each stage; the stages after the
            first begin with stride 2.
        reduction: number of channels per hidden unit of the gates.
        zero_init: start the last batch-norm scale of each residual branch at 0, so that the
            network starts as its shortcuts (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    """

    widths: tuple[int, ...] = (24, 48, 96, 192)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    reduction: int = 8
    zero_init: bool = True

    def setup(self) -> None:
        self.head = Dense(self.classes, kernel_init=lecun_normal, dtype=self.dtype)

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the mean of each channel of the last feature map."""
        x = _conv(self.widths[0], 3, 1, self.dtype, 'stem')(self.inputs(images))
        x = BatchNorm(dtype=self.dtype, name='stem_norm')(x, train=train)
        x = ReLU(name='stem_relu')(x)
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for block in range(count):
                x = SEBlock(
                    width,
                    stride=2 if stage and not block else 1,
                    reduction=self.reduction,
                    zero_init=self.zero_init,
                    dtype=self.dtype,
                    name=f'stage{stage + 1}_block{block + 1}',
                )(x, train=train)
        return global_avg_pool(x)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths', 'blocks')


def _conv(width: int, kernel: int, stride: int, dtype: Any, name: str) -> Conv:
    """Returns a square convolution; batch norm follows, so it has no bias."""
    return Conv(
        width,
        (kernel, kernel),
        (stride, stride),
        use_bias=False,
        kernel_init=he_normal,
        dtype=dtype,
        name=name,
    )
