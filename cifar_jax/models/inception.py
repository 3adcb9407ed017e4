"""InceptionNet: four-branch modules for 32x32 images."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import he_normal, lecun_normal
from cifar_jax.models.layers import BatchNorm, Conv, Dense
from cifar_jax.models.options import check_lengths, demand
from cifar_jax.ops.pool import global_avg_pool, max_pool


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU (Szegedy et al. 2016, arXiv:1512.00567)."""

    width: int
    kernel: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch height width features']:
        size = (self.kernel, self.kernel)
        x = Conv(self.width, size, use_bias=False, kernel_init=he_normal, dtype=self.dtype)(x)
        return nn.relu(BatchNorm(dtype=self.dtype)(x, train=train))


class InceptionModule(nn.Module):
    """Four parallel branches, concatenated to `width` channels in this order.

    1x1: width/4; 1x1 to 3 width/8, then 3x3: width/2; 1x1 to width/16, then two 3x3 (the 5x5 of
    2015 factorised, 2016): width/8; 3x3 max-pool with stride 1, then 1x1: width/8. These are the
    proportions of GoogLeNet's module 3a (Szegedy et al. 2015, arXiv:1409.4842, table 1).
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch height width features']:
        def unit(x: Array, width: int, kernel: int, name: str) -> Array:
            return ConvUnit(width, kernel, dtype=self.dtype, name=name)(x, train=train)

        width = self.width
        one = unit(x, width // 4, 1, 'one')
        three = unit(x, 3 * width // 8, 1, 'three_reduce')
        three = unit(three, width // 2, 3, 'three')
        five = unit(x, width // 16, 1, 'five_reduce')
        five = unit(five, width // 8, 3, 'five_a')
        five = unit(five, width // 8, 3, 'five_b')
        pooled = max_pool(x, 3, 1, 'SAME')
        pooled = unit(pooled, width // 8, 1, 'pool')
        return jnp.concatenate([one, three, five, pooled], axis=-1)


class InceptionNet(ImageModel):
    """3x3 stem; stages of max-pool 2 and Inception modules; mean over positions; dense.

    84.6 million multiply-adds per 32x32 image, 658,618 trainable parameters and 3,792 statistics
    for 10 classes; six modules. Chosen for accuracy per FLOP: as in GoogLeNet (Szegedy et al. 2015,
    arXiv:1409.4842, section 4) plain convolutions work on the largest map and the modules follow
    the first pooling, where they can be twice as wide for the same cost; the 5x5 is two 3x3
    (Szegedy et al. 2016, arXiv:1512.00567, section 3.1: 28 % fewer multiply-adds), all with batch
    norm. On a CPU, the pooling, batch norms and ReLUs of a module take as long as its small
    convolutions, which is another reason for few large maps.

    Options:
        stem: features of the 3x3 units before the first max-pool.
        widths, modules: output features (a multiple of 16) and number of modules of each stage.
    """

    stem: tuple[int, ...] = (32, 64)
    widths: tuple[int, ...] = (128, 256)
    modules: tuple[int, ...] = (3, 3)

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
        x = self.inputs(images)
        for index, width in enumerate(self.stem):
            x = ConvUnit(width, 3, dtype=self.dtype, name=f'stem{index + 1}')(x, train=train)
        for stage, (width, count) in enumerate(zip(self.widths, self.modules, strict=True)):
            x = max_pool(x)
            for module in range(count):
                name = f'stage{stage + 1}_module{module + 1}'
                x = InceptionModule(width, dtype=self.dtype, name=name)(x, train=train)
        return global_avg_pool(x)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths', 'modules')
        check_lengths(self, 'stem')
        multiples = all(width % 16 == 0 for width in self.widths)
        demand(self, multiples, 'widths', 'be made of multiples of 16')
