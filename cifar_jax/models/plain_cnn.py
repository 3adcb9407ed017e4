"""PlainCNN: the network with DropBlock of S4."""

from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import torch_uniform
from cifar_jax.models.layers import BatchNorm, Conv, Dense, DropBlock, ReLU
from cifar_jax.models.options import check_lengths, check_rates, demand
from cifar_jax.ops.pool import avg_pool


class PlainCNN(ImageModel):
    """Blocks of conv, batch norm, ReLU, DropBlock and average-pool 2; flatten; two dense layers.

    2,784,250 trainable parameters, 2,786,234 with statistics, for 10 classes, 32x32x3 images and
    the default options (S4). The convolutions have a bias, although batch norm cancels it,
    because S4's have one. Kernels are initialized as in PyTorch, biases with 0.

    Options:
        widths, kernels: output features and kernel size of each block.
        dropblock_rate, dropblock_sizes: the rate, and the block size for each of the first blocks.
        dropblock_gamma: 'published' or 'ghiasi', see `DropBlock`.
        dropblock_schedule: 'constant', or 'linear': the rate grows from 0 with `progress`
            (Ghiasi et al. 2018, section 3.1).
        hidden, negative_slope, dropout: units of the dense layer before the head, slope of its
            leaky ReLU, and the dropout rate after it.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    kernels: tuple[int, ...] = (7, 5, 5, 3, 3)
    dropblock_rate: float = 0.3
    dropblock_sizes: tuple[int, ...] = (8, 4, 2)
    dropblock_gamma: Literal['published', 'ghiasi'] = 'published'
    dropblock_schedule: Literal['constant', 'linear'] = 'constant'
    hidden: int = 2000
    negative_slope: float = 0.01
    dropout: float = 0.4

    def setup(self) -> None:
        self.head = Dense(self.classes, kernel_init=torch_uniform, dtype=self.dtype, name='Dense_1')

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the output of the dense layer before the head."""
        if self.dropblock_schedule == 'constant':
            progress = 1.0
        x = self.inputs(images)
        for block, (width, kernel) in enumerate(zip(self.widths, self.kernels, strict=True)):
            x = Conv(width, (kernel, kernel), kernel_init=torch_uniform, dtype=self.dtype)(x)
            x = BatchNorm(dtype=self.dtype)(x, train=train)
            x = ReLU(name=f'relu_{block}')(x)
            if block < len(self.dropblock_sizes):
                drop = DropBlock(
                    self.dropblock_rate, self.dropblock_sizes[block], self.dropblock_gamma
                )
                x = drop(x, train=train, progress=progress)
            x = avg_pool(x)
        x = x.reshape(x.shape[0], -1)
        x = Dense(self.hidden, kernel_init=torch_uniform, dtype=self.dtype)(x)
        x = nn.leaky_relu(x, self.negative_slope)
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        check_lengths(self, 'widths', 'kernels')
        check_rates(self, 'dropblock_rate', 'negative_slope', 'dropout')
        few = len(self.dropblock_sizes) <= len(self.widths)
        demand(self, few, 'dropblock_sizes', 'have at most as many entries as widths')
