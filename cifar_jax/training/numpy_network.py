"""The model 'Network' of a config: a list of layers, which is trained in NumPy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax.errors import UserError, nearest
from cifar_jax.reference import optimizers, specs
from cifar_jax.reference.layers import Shape
from cifar_jax.reference.network import Network
from cifar_jax.training.flax_network import FlaxNetwork

MODEL = 'Network'
# Keys that only the JAX trainer supports, with the values that do not need it.
_JAX_ONLY: dict[str, Any] = {
    'init_from': '',
    'data.augment': (),
    'precision': 'float32',
    'ema': 0.0,
    'optimizer.clip_norm': 0.0,
    'optimizer.groups': (),
    'train.accumulate': 1,
    'checkpoint.every': '1 epochs',
    'mesh.devices': 0,
    'mesh.shard_parameters': False,
    'ops.backend': 'auto',
    'debug.nans': False,
    'debug.no_jit': False,
}


def check(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Checks the layers of a config, and that it uses nothing that the NumPy backend lacks.

    Args:
      values: the config as one level of dotted keys.

    Raises:
      UserError: one sentence with the key, or the layer, and what would be valid.
    """
    for key, value in _JAX_ONLY.items():
        if values[key] != value:
            raise UserError(
                f'config.{key}={values[key]!r} needs JAX, and the model {MODEL} is trained in '
                f'NumPy: leave it at {value!r}.'
            )
    if config.optimizer.name == 'adamw':
        raise UserError("The NumPy backend has no adamw: config.optimizer.name is 'sgd' or 'adam'.")
    for option in config.model:
        if option not in ('name', 'layers'):
            raise UserError(f"{MODEL} has no option '{option}': {nearest(option, ['layers'])}")
    if not isinstance(config.model.get('layers'), (tuple, list)):
        raise UserError(
            f"{MODEL} needs config.model.layers, a list such as [('reshape',), "
            "('dense', {'neurons': 10})]."
        )
    try:
        for number, spec in enumerate(specs.without_softmax(layers(config)), 1):
            _, options = specs.parse_spec(number, spec)
            if 'stride' in options and 'depth' not in options:
                _check_pool(number, options['padding'])
    except specs.SpecError as error:
        raise UserError(f'config.model.layers: {error}') from None


def _check_pool(number: int, padding: Any) -> None:
    if not isinstance(padding, str):
        raise specs.SpecError(f"Layer {number}: pooling pads 'same' or 'valid', not {padding!r}.")


def layers(config: ConfigDict) -> list[specs.Spec]:
    """Returns the layers of a config as plain tuples and dictionaries."""
    return [_plain(spec) for spec in config.model.layers]


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    return dict(value) if isinstance(value, Mapping | ConfigDict) else value


def create(config: ConfigDict, classes: int, image_shape: Shape) -> Network:
    """Returns the network of a config, with its initial weights.

    Raises:
      UserError: a layer cannot take its input, or the last one does not fit the classes.
    """
    try:
        network = Network(
            layers(config),
            image_shape,
            optimizer=_optimizer(config.optimizer),
            smoothing=config.loss.label_smoothing,
            seed=config.seed,
        )
    except specs.SpecError as error:
        raise UserError(f'config.model.layers: {error}') from None
    shape = network.graph.shapes[network.graph.last]
    if shape != (classes,):
        raise UserError(
            f'config.model.layers ends with {shape[0]} numbers, and there are {classes} classes: '
            f"end it with ('dense', {{'neurons': {classes}}})."
        )
    return network


def _optimizer(config: ConfigDict) -> optimizers.Optimizer:
    if config.name == 'adam':
        return optimizers.Adam(config.b1, config.b2, config.eps, config.l2)
    return optimizers.SGD(config.momentum, config.nesterov, config.l2)


def flax_module(config: ConfigDict, dtype: DTypeLike = np.float32) -> FlaxNetwork:
    """Returns the Flax module that computes the same from the same weights."""
    return FlaxNetwork(tuple(layers(config)), dtype)


def variables(network: Network) -> dict[str, Mapping[str, Mapping[str, np.ndarray]]]:
    """Returns a network's weights as the variables of its Flax module."""
    statistics = {'batch_stats': network.statistics} if network.statistics else {}
    return {'params': network.params, **statistics}
