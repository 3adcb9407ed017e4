"""Networks written as lists of layers: ('conv', {'kernel_size': 3, 'depth': 3}), ..."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cifar_jax.reference import activations
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense, Reshape
from cifar_jax.reference.dropout import DropBlock, Dropout
from cifar_jax.reference.graph import Graph
from cifar_jax.reference.initializers import INITIALIZERS
from cifar_jax.reference.layers import Layer, Shape, ShapeError
from cifar_jax.reference.norm import BatchNorm
from cifar_jax.reference.pool import AvgPool, GlobalAvgPool, MaxPool

Spec = Sequence[Any]  # (kind,) or (kind, options); the other options have their defaults
REQUIRED = object()

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    'relu': activations.ReLU,
    'relu6': activations.ReLU6,
    'leaky_relu': activations.LeakyReLU,
    'sigmoid': activations.Sigmoid,
    'tanh': activations.Tanh,
    'silu': activations.SiLU,
    'gelu': activations.GELU,
    'gelu_tanh': lambda: activations.GELU(tanh=True),
    'softmax': activations.Softmax,
}


class SpecError(ValueError):
    """A list of layers that does not form a network; the message names the layer."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of layer: its options with their defaults, and the function that builds it."""

    options: dict[str, Any]
    build: Callable[..., Layer]


def pair(value: Any) -> tuple[int, int]:
    """Returns (vertical, horizontal) from two numbers, or from one number for both."""
    return (value, value) if isinstance(value, int) else tuple(value)


def _conv(kernel_size, depth, stride, padding, groups, init):
    if isinstance(padding, list):
        padding = tuple(map(tuple, padding))
    return Conv(depth, pair(kernel_size), pair(stride), padding, groups, init_kernel=init)


def _reshape(output_shape):
    return Reshape(output_shape if isinstance(output_shape, str) else tuple(output_shape))


def _activation(activation):
    return ACTIVATIONS[activation]()


_POOL: dict[str, Any] = dict(kernel_size=2, stride=None, padding='valid')
KINDS: dict[str, Kind] = {
    'conv': Kind(
        dict(kernel_size=3, depth=REQUIRED, stride=1, padding='valid', groups=1, init='he'), _conv
    ),
    'maxpool': Kind(_POOL, lambda kernel_size, **rest: MaxPool(kernel_size, **rest)),
    'avgpool': Kind(_POOL, lambda kernel_size, **rest: AvgPool(kernel_size, **rest)),
    'globalavgpool': Kind({}, GlobalAvgPool),
    'activation': Kind(dict(activation=REQUIRED), _activation),
    'reshape': Kind(dict(output_shape='flatten'), _reshape),
    'dense': Kind(dict(neurons=REQUIRED, init='he'), lambda neurons, init: Dense(neurons, init)),
    'dropout': Kind(dict(rate=0.5), Dropout),
    'dropblock': Kind(dict(rate=0.1, size=3), DropBlock),
    'batchnorm': Kind(dict(momentum=0.9, epsilon=1e-5), BatchNorm),
}
_SOFTMAX = ('activation', {'activation': 'softmax'})
_CHOICES: dict[str, Mapping[str, Any]] = {'activation': ACTIVATIONS, 'init': INITIALIZERS}


def graph_of(
    layers: Sequence[Spec],
    input_shape: Shape,
    on_layer: Callable[[int], None] = lambda count: None,
) -> Graph:
    """Returns a list of layers as a graph with the nodes '1-conv', '2-maxpool', ...

    Args:
      on_layer: is called after each layer, with the number of layers so far.

    Raises:
      SpecError: a layer or an option is unknown, or a layer cannot take its input.
    """
    graph = Graph(input_shape)
    for number, spec in enumerate(layers, 1):
        kind, options = parse_spec(number, spec)
        before = graph.shapes[graph.last]
        try:
            graph.add(f'{number}-{kind}', KINDS[kind].build(**options))
        except ShapeError as error:
            raise SpecError(f'Layer {error} (its input is {before}).') from None
        except (TypeError, ValueError) as error:
            raise SpecError(f'Layer {number}, {kind} with {options}: {error}.') from None
        on_layer(number)
    return graph


def without_softmax(layers: Sequence[Spec]) -> list[Spec]:
    """Returns the layers without a softmax at the end, which is part of the loss."""
    ends_with_softmax = (
        bool(layers) and _is_spec(layers[-1]) and parse_spec(len(layers), layers[-1]) == _SOFTMAX
    )
    return list(layers[:-1] if ends_with_softmax else layers)


def parse_spec(number: int, spec: Any) -> tuple[str, dict[str, Any]]:
    """Returns the kind of a layer, and all its options with defaults filled in.

    Raises:
      SpecError: the kind or an option is unknown, or a required option is missing.
    """
    if not _is_spec(spec):
        raise SpecError(f"Layer {number} is {spec!r}; it looks like ('dense', {{'neurons': 10}}).")
    kind, given = spec[0], dict(spec[1]) if len(spec) == 2 else {}
    if kind not in KINDS:
        raise SpecError(f'Layer {number}: there is no {kind!r}; known: {", ".join(KINDS)}.')
    defaults = KINDS[kind].options
    for name in given:
        if name not in defaults:
            names = ', '.join(defaults) or 'none'
            raise SpecError(f'Layer {number}, {kind}: no option {name!r}; known: {names}.')
    options = {**defaults, **given}
    for name, value in options.items():
        if value is REQUIRED:
            raise SpecError(f'Layer {number}, {kind}: {name} is missing.')
        if name in _CHOICES and value not in _CHOICES[name]:
            raise SpecError(
                f'Layer {number}, {kind}: no {name} {value!r}; known: {", ".join(_CHOICES[name])}.'
            )
    return kind, options


def _is_spec(spec: Any) -> bool:
    """Returns whether this has the form of a layer, (kind,) or (kind, options)."""
    if not (isinstance(spec, (tuple, list)) and len(spec) in (1, 2)):
        return False
    return isinstance(spec[0], str) and all(isinstance(options, Mapping) for options in spec[1:])
