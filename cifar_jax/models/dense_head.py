"""DenseHead: dense layers on features that another network has computed."""

from collections.abc import Sequence

from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.initializers import glorot_uniform
from cifar_jax.models.layers import Dense
from cifar_jax.models.options import check_rates, demand


class DenseHead(ImageModel):
    """Flatten; [dense, ReLU, dropout] for each hidden layer; dense.

    S1's heads on the 2,048 features of ResNet50, for 200 classes: 409,800 parameters without a
    hidden layer, 2,303,176 with one of 1,024 units. Kernels are initialized as in Keras (Glorot
    uniform), biases with 0. Features reach a model as images of 1x1; larger images are flattened.

    Options:
        hidden: units of each hidden layer; () for none.
        dropout: the rate after each hidden layer.
    """

    hidden: tuple[int, ...] = (1024,)
    dropout: float = 0.0

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
        """Returns the output of the last hidden layer."""
        x = self.inputs(images).reshape(images.shape[0], -1)
        return hidden_layers(x, self.hidden, self.dropout, dtype=self.dtype, train=train)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for a dropout rate that is invalid, or without effect."""
        check_rates(self, 'dropout')
        demand(self, bool(self.hidden) or not self.dropout, 'dropout', 'be 0 without hidden layers')


def hidden_layers(
    x: Float[Array, 'batch features'],
    sizes: Sequence[int],
    dropout: float,
    *,
    dtype: DTypeLike,
    train: bool,
) -> Float[Array, 'batch units']:
    """Returns the output of dense layers of these sizes, each with ReLU and dropout.

    They are called hidden1, hidden2 and so on in the module that calls this in `features`.
    """
    for place, units in enumerate(sizes, 1):
        dense = Dense(units, kernel_init=glorot_uniform, dtype=dtype, name=f'hidden{place}')
        x = nn.Dropout(dropout, deterministic=not train)(nn.relu(dense(x)))
    return x
