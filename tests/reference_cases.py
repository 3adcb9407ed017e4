"""Layers of the NumPy reference, each paired with the same layer in JAX."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cifar_jax.reference import activations
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.layers import Layer
from cifar_jax.reference.losses import cross_entropy
from cifar_jax.reference.norm import BatchNorm

# Limits of the largest error, relative to the largest magnitude of the array.
LIMITS = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-10}

ACTIVATIONS: list[tuple[Layer, Callable[[jax.Array], jax.Array]]] = [
    (activations.ReLU(), jax.nn.relu),
    (activations.ReLU6(), jax.nn.relu6),
    (activations.LeakyReLU(), lambda x: jax.nn.leaky_relu(x, 0.01)),
    (activations.LeakyReLU(0.3), lambda x: jax.nn.leaky_relu(x, 0.3)),
    (activations.Sigmoid(), jax.nn.sigmoid),
    (activations.Tanh(), jnp.tanh),
    (activations.SiLU(), jax.nn.silu),
    (activations.GELU(), lambda x: jax.nn.gelu(x, approximate=False)),
    (activations.GELU(tanh=True), lambda x: jax.nn.gelu(x, approximate=True)),
    (activations.Softmax(), jax.nn.softmax),
]


class Case(NamedTuple):
    """A layer with inputs and values, and the same function in JAX: `in_jax(values, *inputs)`."""

    layer: Layer
    in_jax: Callable[..., jax.Array]
    inputs: tuple[np.ndarray, ...]
    values: Mapping[str, np.ndarray] = {}
    train: bool = True
    mask: np.ndarray | None = None


def normal(seed: int, shape: tuple[int, ...], dtype: Any, scale: float = 1.0) -> np.ndarray:
    """Returns normally distributed values, determined by the seed and the shape."""
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def distinct(seed: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns distinct values, so that every window has one largest value."""
    values = np.random.default_rng(seed).permutation(math.prod(shape)) - math.prod(shape) / 2
    return (values.reshape(shape) / math.prod(shape)).astype(dtype)


class Expected(NamedTuple):
    """JAX's results for a case: the outputs, and the gradients for the output gradient `dy`."""

    dy: np.ndarray
    y: np.ndarray
    params: dict[str, np.ndarray]
    inputs: tuple[np.ndarray, ...]


def expected_from_jax(case: Case) -> Expected:
    """Returns JAX's outputs and gradients for a case, with a random gradient of the outputs."""
    shapes = [x.shape[1:] for x in case.inputs]
    names = case.layer.init(np.random.default_rng(0), *shapes).keys()
    params = {name: case.values[name] for name in names}

    def in_jax(params, inputs):
        return case.in_jax({**case.values, **params}, *inputs)

    @jax.jit
    def forward_and_backward(params, inputs, dy):
        y, pull = jax.vjp(in_jax, params, inputs)
        return y, *pull(dy)

    with jax.enable_x64(True):
        y = jax.eval_shape(in_jax, params, case.inputs)
        # A seed that no input has: batch norm's gradient for a multiple of its input is 0.
        dy = normal(2**20, y.shape, y.dtype)
        return Expected(
            dy, *jax.tree.map(np.asarray, forward_and_backward(params, case.inputs, dy))
        )


def errors(case: Case, right: Expected) -> dict[str, float]:
    """Returns the relative errors of outputs and gradients: largest error over largest value.

    The error of an array with a wrong shape or dtype, or of a missing one, is infinite.
    """
    y, saved = case.layer.forward(case.values, *case.inputs, train=case.train, mask=case.mask)
    input_gradients, param_gradients = case.layer.backward(case.values, saved, right.dy)
    expected = {'output': right.y, **_named(right.inputs), **right.params}
    actual = {'output': y, **_named(input_gradients), **param_gradients}
    if actual.keys() != expected.keys():
        return dict.fromkeys(actual.keys() ^ expected.keys(), math.inf)
    return {name: _error(actual[name], expected[name]) for name in expected}


def failures(case: Case, right: Expected | None = None) -> dict[str, float]:
    """Returns the errors of a case that exceed the limit of its dtype.

    Args:
      right: JAX's results, if they are already computed.
    """
    limit = LIMITS[case.inputs[0].dtype]
    measured = errors(case, right or expected_from_jax(case))
    return {name: error for name, error in measured.items() if not error <= limit}


def loss_errors(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> dict[str, float]:
    """Returns the relative errors of the cross-entropy and its gradient, compared with JAX's."""
    losses, gradient = cross_entropy(logits, labels, smoothing)

    @jax.jit
    def expected(logits):
        classes = logits.shape[1]
        targets = jax.nn.one_hot(labels, classes) if labels.ndim == 1 else jnp.asarray(labels)
        targets = (1 - smoothing) * targets.astype(logits.dtype) + smoothing / classes
        each = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)
        return each.mean(), each

    with jax.enable_x64(True):
        (_, expected_each), expected_gradient = jax.value_and_grad(expected, has_aux=True)(logits)
    return {
        'loss': _error(losses, np.asarray(expected_each)),
        'gradient': _error(gradient, np.asarray(expected_gradient)),
    }


def conv_case(layer: Conv, x: np.ndarray, seed: int) -> Case:
    """A convolution compared with `lax.conv_general_dilated`."""
    padding = layer.padding
    padding = padding.upper() if isinstance(padding, str) else padding

    def in_jax(values, x):
        y = lax.conv_general_dilated(
            x,
            values['kernel'],
            layer.strides,
            padding,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=layer.groups,
        )
        return y + values['bias'].reshape(1, 1, 1, -1) if layer.bias else y

    return Case(layer, in_jax, (x,), parameters(layer, x, seed))


def parameters(layer: Layer, x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Returns parameters of a layer, all random, since zeros and ones hide errors."""
    initial = layer.init(np.random.default_rng(0), x.shape[1:])
    return {
        name: normal(seed + number, array.shape, x.dtype)
        for number, (name, array) in enumerate(initial.items(), 1)
    }


def reduced(layer: Any, x: jax.Array, initial: float, operation: Callable) -> jax.Array:
    """Returns `lax.reduce_window` over the windows of a pooling layer."""
    window = (1, layer.window, layer.window, 1)
    stride = layer.stride or layer.window
    padding = layer.padding
    padding = padding.upper() if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, initial, operation, window, (1, stride, stride, 1), padding)


def max_pool_case(layer: Any, x: np.ndarray) -> Case:
    """Max-pooling of values without ties."""
    return Case(layer, lambda values, x: reduced(layer, x, -jnp.inf, lax.max), (x,))


def avg_pool_case(layer: Any, x: np.ndarray) -> Case:
    """Average-pooling that does not count padding."""

    def in_jax(values, x):
        return reduced(layer, x, 0.0, lax.add) / reduced(layer, jnp.ones_like(x), 0.0, lax.add)

    return Case(layer, in_jax, (x,))


def batch_norm_case(layer: BatchNorm, x: np.ndarray, seed: int, *, train: bool) -> Case:
    """Batch norm over all axes but the last, from its definition."""
    moving = {
        'mean': normal(seed + 3, x.shape[-1:], x.dtype),
        'var': np.abs(normal(seed + 4, x.shape[-1:], x.dtype)) + x.dtype.type(0.5),
    }

    def in_jax(values, x):
        axes = tuple(range(x.ndim - 1))
        wide = (1,) * len(axes) + (-1,)
        mean, var = jnp.asarray(values['mean']), jnp.asarray(values['var'])
        if train:
            mean, var = jnp.mean(x, axes), jnp.var(x, axes)
        z = (x - mean.reshape(wide)) / jnp.sqrt(var.reshape(wide) + layer.epsilon)
        return z * values['scale'].reshape(wide) + values['bias'].reshape(wide)

    return Case(layer, in_jax, (x,), {**parameters(layer, x, seed), **moving}, train)


def _named(inputs: tuple) -> dict[str, Any]:
    return {f'input {place}': array for place, array in enumerate(inputs)}


def _error(actual: np.ndarray, expected: np.ndarray) -> float:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return math.inf
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return math.inf
    scale = max(float(np.abs(expected).max()), np.finfo(expected.dtype).tiny)
    return float(np.abs(actual - expected).max()) / scale
