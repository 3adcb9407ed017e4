"""A Flax model and its NumPy twin side by side, in float64, on the same batch and masks."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import PyTree

from cifar_jax.crosscheck import differences
from cifar_jax.crosscheck.networks import graph_of
from cifar_jax.crosscheck.observe import Observed, Step, observe
from cifar_jax.crosscheck.variables import by_path, node, to_reference
from cifar_jax.reference import graph as graphs
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense
from cifar_jax.reference.dropout import DropBlock, Dropout
from cifar_jax.reference.losses import cross_entropy
from cifar_jax.reference.norm import BatchNorm

TOLERANCE = 1e-9
DIFFERENCES_TOLERANCE = 1e-6
# Gradients that are 0 but for rounding, as that of a bias before batch norm, are measured against
# the largest of the network.
FLOOR = 1e-6
_ONE_INPUT = (Conv, Dense, BatchNorm, Dropout, DropBlock)


class Row(NamedTuple):
    """A layer's errors; None where it has no such arrays."""

    layer: str
    kind: str
    output: float | None
    params: float | None
    inputs: float | None
    statistics: float | None
    differences: float | None


class Twins(NamedTuple):
    """What both sides compute in one step; nodes and modules by their names."""

    graph: graphs.Graph
    step: Step
    variables: Mapping[str, PyTree]
    flax: Observed
    passed: graphs.Pass
    gradients: graphs.Gradients
    loss: float


def float64(tree: PyTree) -> PyTree:
    """Returns a tree of arrays in float64, which `jax.enable_x64` must allow."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)


def scattered(variables: Mapping[str, PyTree], seed: int) -> Mapping[str, PyTree]:
    """Returns variables whose constant arrays are moved a little at random.

    Zeros and ones hide errors: a residual branch whose last scale starts at 0 has no gradients at
    all. Kernels are random already, and stay: noise that does not shrink with their fan-in would
    drown them in a wide network, whose logits then reach thousands while the gradients of its
    first layers fade. A centred difference over a step of 1e-5 loses all its digits in that.
    """
    rng = np.random.default_rng(seed)

    def moved(array):
        noise = 0.1 * np.abs(rng.normal(size=array.shape))
        return array + noise if np.ptp(array) == 0 else array

    return jax.tree.map(moved, variables)


def spread(model: nn.Module, shape: tuple[int, ...], variables: PyTree) -> PyTree:
    """Returns a model's variables with the kernels before a batch norm eight times as large.

    The network computes the same. The gradient of a bias there is 0, and what rounding makes of it
    is measured against the network's largest gradient: it is an eighth then, and that is not, but
    for the same kernels' own.
    """
    graph = graph_of(model, shape)
    layers = {n.name: n.layer for n in graph.nodes}
    params = variables['params']
    for each in graph.nodes:
        before = each.inputs[0]
        if isinstance(each.layer, BatchNorm) and isinstance(layers.get(before), Conv):
            kernel = by_path(params)[before]['kernel']
            params = _replaced(params, before.split('/'), {'kernel': 8 * kernel})
    return {**variables, 'params': params}


def twins(step: Step, variables: Mapping[str, PyTree], image_shape: tuple[int, ...]) -> Twins:
    """Computes one step on both sides, the reference with the masks that Flax drew.

    Args:
      variables: float64, of the step's model.
    """
    graph = graph_of(step.model, image_shape)
    modules = [n.name.removesuffix(':conv') for n in graph.nodes if isinstance(n.layer, _ONE_INPUT)]
    seen = observe(step, variables, modules)
    return with_reference(graph, step, variables, seen)


def with_reference(
    graph: graphs.Graph, step: Step, variables: Mapping[str, PyTree], seen: Observed
) -> Twins:
    """Computes the reference's side of a step that Flax has been observed in."""
    params, statistics = (
        to_reference(graph, variables.get(part, {})) for part in ('params', 'batch_stats')
    )
    masks = {name: np.asarray(mask) for name, mask in seen.masks.items()}
    images, labels = np.asarray(step.images), np.asarray(step.labels)
    passed = graphs.forward(graph, params, statistics, images, train=True, masks=masks)
    each, gradient = cross_entropy(passed.outputs[graph.last], labels, step.smoothing)
    found = graphs.backward(graph, params, statistics, passed, gradient)
    return Twins(graph, step, variables, seen, passed, found, float(each.mean()))


def compare(
    pair: Twins, *, seed: int | None = 0, track: Callable[[list], Iterable] = iter
) -> list[Row]:
    """Returns the errors of every layer that is a Flax module, in the order of computation.

    An error is the largest difference over the largest value of the tensor, or over `FLOOR` times
    the largest of the network's gradients where that is more.

    Args:
      seed: of the directions of the centred differences; None leaves them out.
      track: yields the layers, and may show how many are done.
    """
    graph, seen = pair.graph, pair.flax
    flax_params, flax_statistics = by_path(seen.params), by_path(seen.statistics)
    largest = max(float(np.abs(g).max()) for own in flax_params.values() for g in own.values())
    floor = FLOOR * largest
    rng = None if seed is None else np.random.default_rng(seed)
    loss = jax.jit(lambda params: pair.step.loss({**pair.variables, 'params': params})[0])
    rows = []
    for name, output in track(list(seen.outputs.items())):
        place = node(graph, name)
        has_params = name in flax_params
        own = pair.gradients.params.get(place, {})
        rows.append(
            Row(
                name,
                type(graph.nodes[_index(graph, place)].layer).__name__,
                error(pair.passed.outputs[name], output),
                errors(own, flax_params[name], floor) if has_params else None,
                error(pair.gradients.inputs[place][0], seen.inputs[name], floor)
                if name in seen.inputs
                else None,
                errors(pair.passed.statistics[place], flax_statistics[name])
                if name in flax_statistics
                else None,
                _against_differences(loss, pair, name, own, rng, floor)
                if rng and has_params
                else None,
            )
        )
    order = {n.name: index for index, n in enumerate(graph.nodes)}
    loss_row = Row('loss', '', error(np.asarray(pair.loss), seen.loss), *(None,) * 4)
    return [*sorted(rows, key=lambda row: order[row.layer]), loss_row]


def _index(graph: graphs.Graph, name: str) -> int:
    return next(index for index, n in enumerate(graph.nodes) if n.name == name)


def _against_differences(loss, pair: Twins, name: str, own, rng, floor: float) -> float:
    """The reference's gradient of a layer's parameters against centred differences of Flax."""
    params = pair.variables['params']
    point = by_path(params)[name]

    def moved(arrays: dict[str, np.ndarray]) -> float:
        return float(loss(_replaced(params, name.split('/'), arrays)))

    return differences.error(moved, point, own, rng, DIFFERENCES_TOLERANCE, floor)


def _replaced(tree: Mapping[str, Any], path: list[str], arrays: Mapping[str, Any]) -> dict:
    """Returns a tree of variables with other arrays in one module."""
    if not path:
        return {**tree, **arrays}
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], arrays)}


def error(found: Any, expected: Any, floor: float = 0.0) -> float:
    """Returns the largest difference over the larger of the largest value and `floor`.

    It is infinite where the shapes differ or a value is not finite.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return math.inf
    scale = max(float(np.abs(expected).max()), floor, np.finfo(float).tiny)
    return float(np.abs(found - expected).max()) / scale


def errors(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], floor: float = 0.0
) -> float:
    """Returns the largest error of the arrays of a layer; infinite where one is missing."""
    if found.keys() != expected.keys():
        return math.inf
    return max(error(found[name], expected[name], floor) for name in expected)


def failures(rows: list[Row]) -> list[str]:
    """Returns what is beyond the tolerances, a sentence each that names the layer."""
    found = []
    for row in rows:
        for what in ('output', 'params', 'inputs', 'statistics', 'differences'):
            value = getattr(row, what)
            limit = DIFFERENCES_TOLERANCE if what == 'differences' else TOLERANCE
            if value is not None and not value <= limit:
                kind = f', {row.kind}' if row.kind else ''
                found.append(f'{row.layer}{kind}: {what} differ by {value:.1e}, above {limit:.0e}')
    return found
