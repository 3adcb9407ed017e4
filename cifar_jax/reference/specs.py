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

Spec = Sequence[Any]  # kind and options; where they are left out, those that a kind has
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
    """A list of layers that makes no network; the message names the layer."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of layer in a list: its options with their defaults, and what they build."""

    options: dict[str, Any]
    build: Callable[..., Layer]


def pair(value: Any) -> tuple[int, int]:
    """Returns (down, across) of one number for both, or of two."""
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
    built: Callable[[int], None] = lambda count: None,
) -> Graph:
    """Returns the chain of layers as a graph; nodes are called '1-conv', '2-maxpool', ...

    Args:
      built: is told how many layers are built, after each of them.

    Raises:
      SpecError: a layer or an option is unknown, or a layer does not fit behind the one before it.
    """
    graph = Graph(input_shape)
    for number, spec in enumerate(layers, 1):
        kind, options = parts(number, spec)
        before = graph.shapes[graph.last]
        try:
            graph.add(f'{number}-{kind}', KINDS[kind].build(**options))
        except ShapeError as error:
            raise SpecError(f'Layer {error} (its input is {before}).') from None
        except (TypeError, ValueError) as error:
            raise SpecError(f'Layer {number}, {kind} with {options}: {error}.') from None
        built(number)
    return graph


def computed(layers: Sequence[Spec]) -> list[Spec]:
    """Returns the layers that are computed: a softmax at the end is left to the loss."""
    ends = bool(layers) and _written(layers[-1]) and parts(len(layers), layers[-1]) == _SOFTMAX
    return list(layers[:-1] if ends else layers)


def parts(number: int, spec: Any) -> tuple[str, dict[str, Any]]:
    """Returns the kind of a layer, and all its options.

    Raises:
      SpecError: there is no such layer, or a layer has no such option.
    """
    if not _written(spec):
        raise SpecError(f"Layer {number} is {spec!r}; it looks like ('dense', {{'neurons': 10}}).")
    kind, given = spec[0], dict(spec[1]) if len(spec) == 2 else {}
    if kind not in KINDS:
        raise SpecError(f'Layer {number}: there is no {kind!r}; known: {", ".join(KINDS)}.')
    known = KINDS[kind].options
    for name in given:
        if name not in known:
            names = ', '.join(known) or 'none'
            raise SpecError(f'Layer {number}, {kind}: no option {name!r}; known: {names}.')
    options = {**known, **given}
    for name, value in options.items():
        if value is REQUIRED:
            raise SpecError(f'Layer {number}, {kind}: {name} is missing.')
        if name in _CHOICES and value not in _CHOICES[name]:
            raise SpecError(
                f'Layer {number}, {kind}: no {name} {value!r}; known: {", ".join(_CHOICES[name])}.'
            )
    return kind, options


def _written(spec: Any) -> bool:
    """Tells whether this looks like a layer: (kind,) or (kind, options)."""
    if not (isinstance(spec, (tuple, list)) and len(spec) in (1, 2)):
        return False
    return isinstance(spec[0], str) and all(isinstance(options, Mapping) for options in spec[1:])
