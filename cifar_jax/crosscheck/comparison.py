"""Compares a Flax model with its NumPy reference, in float64, on the same batch and masks."""

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
from cifar_jax.crosscheck.variables import by_path, node_name, to_reference
from cifar_jax.reference import graph as graphs
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense
from cifar_jax.reference.dropout import DropBlock, Dropout
from cifar_jax.reference.losses import cross_entropy
from cifar_jax.reference.norm import BatchNorm

TOLERANCE = 1e-9
DIFFERENCES_TOLERANCE = 1e-6
# Gradients that are 0 up to rounding, such as that of a bias before batch norm, are compared with
# the largest gradient of the network.
FLOOR = 1e-6
_ONE_INPUT = (Conv, Dense, BatchNorm, Dropout, DropBlock)


class Row(NamedTuple):
    """The errors of a layer; None where it has no such arrays."""

    layer: str
    kind: str
    output: float | None
    params: float | None
    inputs: float | None
    statistics: float | None
    differences: float | None


class StepPair(NamedTuple):
    """One training step, computed by Flax (`flax`) and by the reference (the last three fields)."""

    graph: graphs.Graph
    step: Step
    variables: Mapping[str, PyTree]
    flax: Observed
    passed: graphs.Pass
    gradients: graphs.Gradients
    loss: float


def float64(tree: PyTree) -> PyTree:
    """Returns a tree of arrays in float64; requires `jax.enable_x64`."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)


def perturb_constants(variables: Mapping[str, PyTree], seed: int) -> Mapping[str, PyTree]:
    """Returns variables with small random noise added to constant arrays.

    Zeros and ones hide errors: a residual branch whose last scale starts at 0 has no gradients at
    all. Kernels are already random and stay unchanged: noise that does not shrink with their fan-in
    would dominate them in a wide network, whose logits then reach thousands while the gradients of
    its first layers vanish. Centred differences with a step of 1e-5 lose all their digits there.
    """
    rng = np.random.default_rng(seed)

    def perturb(array):
        noise = 0.1 * np.abs(rng.normal(size=array.shape))
        return array + noise if np.ptp(array) == 0 else array

    return jax.tree.map(perturb, variables)


def enlarge_kernels(model: nn.Module, shape: tuple[int, ...], variables: PyTree) -> PyTree:
    """Returns a model's variables with eight times larger kernels before each batch norm.

    The network's output does not change. The gradient of a bias before batch norm is 0 up to
    rounding, and this rounding error, which is compared with the network's largest gradient,
    becomes eight times smaller.
    """
    graph = graph_of(model, shape)
    layers = {n.name: n.layer for n in graph.nodes}
    params = variables['params']
    for norm in graph.nodes:
        before = norm.inputs[0]
        if isinstance(norm.layer, BatchNorm) and isinstance(layers.get(before), Conv):
            kernel = by_path(params)[before]['kernel']
            params = _replaced(params, before.split('/'), {'kernel': 8 * kernel})
    return {**variables, 'params': params}


def run_both(step: Step, variables: Mapping[str, PyTree], image_shape: tuple[int, ...]) -> StepPair:
    """Runs one step in Flax, and in the reference with the same masks.

    Args:
      variables: of the step's model, in float64.
    """
    graph = graph_of(step.model, image_shape)
    modules = [n.name.removesuffix(':conv') for n in graph.nodes if isinstance(n.layer, _ONE_INPUT)]
    observed = observe(step, variables, modules)
    return run_reference(graph, step, variables, observed)


def run_reference(
    graph: graphs.Graph, step: Step, variables: Mapping[str, PyTree], observed: Observed
) -> StepPair:
    """Runs the reference on a step that Flax has already computed."""
    params, statistics = (
        to_reference(graph, variables.get(part, {})) for part in ('params', 'batch_stats')
    )
    masks = {name: np.asarray(mask) for name, mask in observed.masks.items()}
    images, labels = np.asarray(step.images), np.asarray(step.labels)
    passed = graphs.forward(graph, params, statistics, images, train=True, masks=masks)
    losses, gradient = cross_entropy(passed.outputs[graph.last], labels, step.smoothing)
    gradients = graphs.backward(graph, params, statistics, passed, gradient)
    return StepPair(graph, step, variables, observed, passed, gradients, float(losses.mean()))


def compare(
    pair: StepPair, *, seed: int | None = 0, track: Callable[[list], Iterable] = iter
) -> list[Row]:
    """Returns the errors of each layer that is a Flax module, in the order of computation.

    An error is the largest difference in a tensor, divided by the tensor's largest value, or by
    `FLOOR` times the largest gradient of the network if that is larger.

    Args:
      seed: seed of the directions of the centred differences; None skips them.
      track: wraps the list of layers, for example to show progress.
    """
    graph, observed = pair.graph, pair.flax
    flax_params, flax_statistics = by_path(observed.params), by_path(observed.statistics)
    largest = max(
        float(np.abs(g).max()) for arrays in flax_params.values() for g in arrays.values()
    )
    floor = FLOOR * largest
    rng = None if seed is None else np.random.default_rng(seed)
    loss = jax.jit(lambda params: pair.step.loss({**pair.variables, 'params': params})[0])
    rows = []
    for name, output in track(list(observed.outputs.items())):
        node = node_name(graph, name)
        has_params = name in flax_params
        gradients = pair.gradients.params.get(node, {})
        rows.append(
            Row(
                name,
                type(graph.nodes[_index(graph, node)].layer).__name__,
                error(pair.passed.outputs[name], output),
                errors(gradients, flax_params[name], floor) if has_params else None,
                error(pair.gradients.inputs[node][0], observed.inputs[name], floor)
                if name in observed.inputs
                else None,
                errors(pair.passed.statistics[node], flax_statistics[name])
                if name in flax_statistics
                else None,
                _against_differences(loss, pair, name, gradients, rng, floor)
                if rng and has_params
                else None,
            )
        )
    order = {n.name: index for index, n in enumerate(graph.nodes)}
    loss_row = Row('loss', '', error(np.asarray(pair.loss), observed.loss), *(None,) * 4)
    return [*sorted(rows, key=lambda row: order[row.layer]), loss_row]


def _index(graph: graphs.Graph, name: str) -> int:
    return next(index for index, n in enumerate(graph.nodes) if n.name == name)


def _against_differences(loss, pair: StepPair, name: str, gradients, rng, floor: float) -> float:
    """Returns the error of the reference's gradients of a layer against differences of Flax."""
    params = pair.variables['params']
    point = by_path(params)[name]

    def loss_at(arrays: dict[str, np.ndarray]) -> float:
        return float(loss(_replaced(params, name.split('/'), arrays)))

    return differences.error(loss_at, point, gradients, rng, DIFFERENCES_TOLERANCE, floor)


def _replaced(tree: Mapping[str, Any], path: list[str], arrays: Mapping[str, Any]) -> dict:
    """Returns a tree of variables with some arrays of one module replaced."""
    if not path:
        return {**tree, **arrays}
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], arrays)}


def error(actual: Any, expected: Any, floor: float = 0.0) -> float:
    """Returns the largest difference divided by the largest expected value or, if larger, `floor`.

    The error is infinite if the shapes differ or a value is not finite.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return math.inf
    scale = max(float(np.abs(expected).max()), floor, np.finfo(float).tiny)
    return float(np.abs(actual - expected).max()) / scale


def errors(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], floor: float = 0.0
) -> float:
    """Returns the largest error of a layer's arrays; infinite if an array is missing."""
    if actual.keys() != expected.keys():
        return math.inf
    return max(error(actual[name], expected[name], floor) for name in expected)


def failures(rows: list[Row]) -> list[str]:
    """Returns a sentence, with the layer's name, for each error above its tolerance."""
    sentences = []
    for row in rows:
        for field in ('output', 'params', 'inputs', 'statistics', 'differences'):
            value = getattr(row, field)
            limit = DIFFERENCES_TOLERANCE if field == 'differences' else TOLERANCE
            if value is not None and not value <= limit:
                kind = f', {row.kind}' if row.kind else ''
                sentences.append(
                    f'{row.layer}{kind}: {field} differ by {value:.1e}, above {limit:.0e}'
                )
    return sentences
