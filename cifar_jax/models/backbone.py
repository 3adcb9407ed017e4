"""The base class of networks that are published with weights of ImageNet."""

import re

from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.dense_head import hidden_layers
from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import Conv
from cifar_jax.models.options import check_rates, demand
from cifar_jax.ops.pool import global_avg_pool

# Options of layers that the published networks do not have.
ADDED = ('convs', 'convs_dropout', 'hidden', 'hidden_dropout')


class BackboneModel(ImageModel):
    """A body that ends in a feature map, and layers between this map and the head.

    Published networks have none of these layers; S1's fine-tuned ones do. They are initialized as
    in Keras: kernels with Glorot's uniform distribution, biases with 0.

    Options:
        convs: features of 3x3 convolutions on the last feature map, without padding and with ReLU;
            () for none.
        convs_dropout: the rate after each of them.
        hidden: units of dense layers with ReLU before the head; () for none.
        hidden_dropout: the rate after each of them.
        last_stage: the stage whose output is the last feature map; 0 keeps the whole network.
    """

    convs: tuple[int, ...] = ()
    convs_dropout: float = 0.0
    hidden: tuple[int, ...] = ()
    hidden_dropout: float = 0.0
    last_stage: int = 0

    @nn.nowrap
    def bare(self) -> 'BackboneModel':
        """Returns the network without these layers, as it was published."""
        return self.clone(convs=(), convs_dropout=0.0, hidden=(), hidden_dropout=0.0)

    @nn.nowrap
    def keeps(self, module: str) -> bool:
        """Returns whether a module of the published network is left with this `last_stage`.

        Its head is not, since it reads other features than those of an earlier stage.
        """
        stage = re.match(r'stage(\d+)_', module)
        within = int(stage[1]) <= self.last_stage if stage else module.startswith('stem')
        return within or not self.last_stage

    @nn.nowrap
    def added(self) -> list[str]:
        """Returns the names of these layers."""
        sizes = {'conv': self.convs, 'hidden': self.hidden}
        return [f'{kind}{place + 1}' for kind in sizes for place in range(len(sizes[kind]))]

    @nn.nowrap
    def pooled(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch features']:
        """Returns the means of the last feature map, after `convs`; called in `features`."""
        for place, features in enumerate(self.convs, 1):
            options = dict(kernel_init=glorot_uniform, dtype=self.dtype, name=f'conv{place}')
            x = Conv(features, padding='VALID', relu=True, **options)(x)
            dropout = nn.Dropout(self.convs_dropout, name=f'conv{place}_dropout')
            x = dropout(x, deterministic=not train)
        if 0 in x.shape:
            raise ValueError('The last feature map is too small for the convolutions.')
        return global_avg_pool(x)

    @nn.nowrap
    def hidden_layers(
        self, x: Float[Array, 'batch features'], *, train: bool
    ) -> Float[Array, 'batch units']:
        """Returns the output of the last layer of `hidden`; called in `features`."""
        return hidden_layers(x, self.hidden, self.hidden_dropout, dtype=self.dtype, train=train)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for options that are invalid or do not fit together."""
        for option in ('convs', 'hidden'):
            dropout = f'{option}_dropout'
            check_rates(self, dropout)
            used = bool(getattr(self, option)) or not getattr(self, dropout)
            demand(self, used, dropout, f'be 0 without config.model.{option}')
