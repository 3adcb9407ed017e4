"""A network given as a list of layers, as a Flax module with the same parameters."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cifar_jax.models.layers import BatchNorm, Conv, Dense, DropBlock, widened
from cifar_jax.ops.pool import avg_pool, global_avg_pool, max_pool
from cifar_jax.reference import specs

ACTIVATIONS = {
    'relu': nn.relu,
    'relu6': nn.relu6,
    'leaky_relu': nn.leaky_relu,
    'sigmoid': nn.sigmoid,
    'tanh': nn.tanh,
    'silu': nn.silu,
    'gelu': lambda x: nn.gelu(x, approximate=False),
    'gelu_tanh': nn.gelu,
    'softmax': nn.softmax,
}


class FlaxNetwork(nn.Module):
    """The same network as `reference.network.Network`; modules are named '1-conv', '2-maxpool', ...

    Kernels are initialized with 0, since the weights come from the reference. A softmax at the end
    is part of the loss. The head is the last layer if it is dense; otherwise there is none, and the
    features are the logits.
    """

    layers: Sequence[specs.Spec]
    dtype: Any = jnp.float32

    def setup(self) -> None:
        number, kind, options = self._numbered()[-1]
        self.head = self._dense(f'{number}-{kind}', **options) if kind == 'dense' else None

    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch classes']:
        """Returns logits."""
        x = self.features(images, train=train, progress=progress)
        return widened(self.head(x) if self.head else x)

    @nn.compact
    def features(
        self,
        images: Float[Array, 'batch height width channels'],
        *,
        train: bool,
        progress: Float[Array, ''] | float = 1.0,
    ) -> Float[Array, 'batch features']:
        """Returns the input of the head."""
        x = images.astype(self.dtype)
        for number, kind, options in self._numbered()[: -1 if self.head else None]:
            x = self._layer(f'{number}-{kind}', kind, options, x, train)
        return x

    def _numbered(self) -> list[tuple[int, str, dict[str, Any]]]:
        numbered = enumerate(specs.without_softmax(self.layers), 1)
        return [(number, *specs.parse_spec(number, spec)) for number, spec in numbered]

    def _layer(self, name: str, kind: str, options: dict[str, Any], x: Array, train: bool) -> Array:
        match kind:
            case 'conv':
                return self._conv(name, x, **options)
            case 'dense':
                return self._dense(name, **options)(x)
            case 'maxpool':
                return _pool(max_pool, x, **options)
            case 'avgpool':
                return _pool(avg_pool, x, **options)
            case 'globalavgpool':
                return global_avg_pool(x)
            case 'activation':
                return ACTIVATIONS[options['activation']](x)
            case 'reshape':
                shape = options['output_shape']
                return x.reshape(len(x), *((-1,) if shape == 'flatten' else shape))
            case 'dropout':
                return nn.Dropout(options['rate'], deterministic=not train, name=name)(x)
            case 'dropblock':
                return DropBlock(**options, name=name)(x, train=train)
            case 'batchnorm':
                return BatchNorm(**options, dtype=self.dtype, name=name)(x, train=train)
        raise NotImplementedError(kind)

    def _dense(self, name: str, neurons: int, init: str) -> Dense:
        zeros = nn.initializers.zeros
        return Dense(neurons, kernel_init=zeros, dtype=self.dtype, name=name)

    def _conv(self, name, x, kernel_size, depth, stride, padding, groups, init):
        return Conv(
            depth,
            specs.pair(kernel_size),
            specs.pair(stride),
            padding.upper() if isinstance(padding, str) else tuple(map(tuple, padding)),
            groups,
            kernel_init=nn.initializers.zeros,
            dtype=self.dtype,
            name=name,
        )(x)


def _pool(pool, x: jax.Array, kernel_size: int, stride: int | None, padding: Any) -> jax.Array:
    if isinstance(padding, str):
        return pool(x, kernel_size, stride, padding.upper())
    raise NotImplementedError('our pooling in JAX pads by name only')
