"""The algorithm of each convolution of a run on a CPU, for its log."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from cifar_jax.models.layers import Conv
from cifar_jax.ops import backend, onednn


class Layer(NamedTuple):
    """A convolution of a network."""

    name: str  # its path, with slashes
    module: Conv
    channels: int
    height: int  # of its outputs
    width: int

    def is_winograd(self, images: int) -> bool:
        """Returns whether Winograd's algorithm computes it in float32 for so many images."""
        module = self.module
        shape = (*module.kernel_size, self.channels // module.groups, module.features)
        output = (images, self.height, self.width)
        return onednn.chooses_winograd(shape, module.strides, module.groups, output)


def convolutions(trace: Callable[[], Any]) -> list[Layer]:
    """Returns the convolutions that a function calls, in their order; each once."""
    layers: dict[str, Layer] = {}

    def note(call, args, kwargs, context):
        y = call(*args, **kwargs)
        module = context.module
        if isinstance(module, Conv) and context.method_name == '__call__':
            name = '/'.join(module.path)
            layers[name] = Layer(name, module.clone(parent=None), args[0].shape[-1], *y.shape[1:3])
        return y

    with nn.intercept_methods(note):
        trace()
    return list(layers.values())


def describe(layers: list[Layer], images: int, dtype: DTypeLike) -> str:
    """Returns a line that says which convolutions Winograd's algorithm computes.

    Args:
      images: the number of images of a batch on each device.
      dtype: what the network computes in.
    """
    fast = backend.chosen() == 'onednn' and backend.algorithm() == 'auto' and dtype == jnp.float32
    winograd = [layer.name for layer in layers if fast and layer.is_winograd(images)]
    direct = [layer.name for layer in layers if layer.name not in winograd]
    parts = [
        f'{kind} for {len(names)} ({", ".join(names)})'
        for kind, names in (("Winograd's algorithm", winograd), ('direct sums', direct))
        if names
    ]
    return f'convolutions: {"; ".join(parts) or "none"}'
