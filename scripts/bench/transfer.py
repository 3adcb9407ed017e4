"""Copies our variables into the peers' networks, whose layers have the same names as ours."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

# The names of variables in PyTorch and Keras, by our names; Keras calls a batch norm's bias beta.
TORCH = {'kernel': 'weight', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}
KERAS = {
    'kernel': 'kernel',
    'bias': 'bias',
    'scale': 'gamma',
    'mean': 'moving_mean',
    'var': 'moving_variance',
}


def flat(variables: Mapping[str, Any]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields the dotted name of the layer, the name of the variable, and its value."""
    for kind in variables:
        for path, value in jax.tree_util.tree_leaves_with_path(variables[kind]):
            *layer, name = (entry.key for entry in path)
            yield '.'.join(layer), name, np.asarray(value)


def to_torch(variables: Mapping[str, Any], model: Any, *, mirrored: bool = False) -> None:
    """Sets a PyTorch network's parameters and statistics.

    Args:
      mirrored: whether to mirror the kernels in both directions, see `bench.torch_models`.
    """
    import torch

    state = model.state_dict()
    for layer, name, value in flat(variables):
        key = f'{layer}.{TORCH.get(name, name)}'
        if value.ndim == 4:
            value = (value[::-1, ::-1] if mirrored else value).transpose(3, 2, 0, 1)
        elif value.ndim == 2:
            value = _from_channels_first(layer, value, model).T
        assert state[key].shape == value.shape, key
        state[key] = torch.from_numpy(np.ascontiguousarray(value))
    model.load_state_dict(state)


def _from_channels_first(layer: str, kernel: np.ndarray, model: Any) -> np.ndarray:
    """Reorders the inputs of the first dense layer after a flattened map, [h w c] to [c h w]."""
    convolutions = [m for m in model.modules() if hasattr(m, 'kernel_size') and hasattr(m, 'bias')]
    channels = convolutions[-1].out_channels
    side = round((len(kernel) / channels) ** 0.5)
    if layer != 'Dense_0' or side * side * channels != len(kernel):
        return kernel
    return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def to_keras(variables: Mapping[str, Any], model: Any) -> None:
    """Sets a Keras network's variables."""
    for layer, name, value in flat(variables):
        keras_layer = model.get_layer(layer)
        keras_name = 'beta' if name == 'bias' and hasattr(keras_layer, 'beta') else KERAS[name]
        getattr(keras_layer, keras_name).assign(value)
