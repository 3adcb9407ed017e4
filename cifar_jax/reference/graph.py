"""A network as a graph of layers: values flow forward through it, and gradients back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, ShapeError
from cifar_jax.reference.optimizers import Tree

INPUT = 'images'


class Node(NamedTuple):
    """A layer of a graph, its inputs by name, and the shape of its output (without the batch)."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    shape: Shape


class Graph:
    """The layers of a network in the order of computation; it holds no arrays.

    Args:
      input_shape: (height, width, channels) of the images.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {INPUT: tuple(input_shape)}

    @property
    def last(self) -> str:
        """The name of the last node, which is the network's output."""
        return self.nodes[-1].name if self.nodes else INPUT

    def add(self, name: str, layer: Layer, *inputs: str) -> str:
        """Adds a layer that reads the named nodes, by default the last one, and returns its name.

        Raises:
          ShapeError: the layer cannot take these inputs; the message names it and their shapes.
        """
        inputs = inputs or (self.last,)
        if name in self.shapes:
            raise ShapeError(f'two nodes are called {name!r}')
        try:
            shape = layer.output_shape(*(self.shapes[source] for source in inputs))
        except ShapeError as error:
            raise ShapeError(f'{name}, {layer}: {error}') from None
        self.nodes.append(Node(name, layer, inputs, shape))
        self.shapes[name] = shape
        return name

    def init(self, rng: np.random.Generator, dtype: Any = np.float32) -> tuple[Tree, Tree]:
        """Returns initial parameters and moving statistics, node -> name -> array."""
        params, statistics = {}, {}
        for node in self.nodes:
            shapes = [self.shapes[source] for source in node.inputs]
            initial = node.layer.init(rng, *shapes)
            moving = node.layer.init_statistics(*shapes)
            if initial:
                params[node.name] = {key: v.astype(dtype) for key, v in initial.items()}
            if moving:
                statistics[node.name] = {key: v.astype(dtype) for key, v in moving.items()}
        return params, statistics

    def draw_masks(
        self, rng: np.random.Generator, batch: int, dtype: Any = np.float32
    ) -> dict[str, np.ndarray]:
        """Returns the mask of each node that drops values, for one training batch."""
        masks = {}
        for node in self.nodes:
            mask = node.layer.draw_mask(rng, (batch, *self.shapes[node.inputs[0]]))
            if mask is not None:
                masks[node.name] = mask.astype(dtype)
        return masks


class Pass(NamedTuple):
    """A forward pass: each node's output, what its backward pass needs, and the new statistics."""

    outputs: dict[str, np.ndarray]
    saved: dict[str, Any]
    statistics: Tree


class Gradients(NamedTuple):
    """A backward pass: the loss's gradients for all parameters, and for each input of each node."""

    params: Tree
    inputs: dict[str, tuple[np.ndarray, ...]]


def forward(
    graph: Graph,
    params: Tree,
    statistics: Tree,
    images: np.ndarray,
    *,
    train: bool = False,
    masks: Mapping[str, np.ndarray] | None = None,
) -> Pass:
    """Computes every node, in order.

    Args:
      images: [b h w c].
      masks: by name of the node that drops values; a node without a mask drops nothing.
    """
    outputs, saved = {INPUT: images}, {}
    updated = dict(statistics)
    for node in graph.nodes:
        values = {**params.get(node.name, {}), **statistics.get(node.name, {})}
        outputs[node.name], saved[node.name] = node.layer.forward(
            values,
            *(outputs[source] for source in node.inputs),
            train=train,
            mask=(masks or {}).get(node.name),
        )
        if train and node.name in statistics:
            updated[node.name] = node.layer.updated_statistics(values, saved[node.name])
    return Pass(outputs, saved, updated)


def backward(
    graph: Graph, params: Tree, statistics: Tree, passed: Pass, gradient: np.ndarray
) -> Gradients:
    """Propagates a gradient from the last node back to the images.

    A node that several others read affects the loss through each of them, so its gradient is the
    sum of theirs for that input (the multivariate chain rule).

    Args:
      statistics: the ones that were passed to `forward`.
      gradient: the loss's gradient for the output of the last node.
    """
    pending = {graph.last: gradient}
    by_params: Tree = {}
    by_inputs: dict[str, tuple[np.ndarray, ...]] = {}
    for node in reversed(graph.nodes):
        if node.name not in pending:
            continue
        values = {**params.get(node.name, {}), **statistics.get(node.name, {})}
        dy = pending.pop(node.name)
        input_gradients, param_gradients = node.layer.backward(values, passed.saved[node.name], dy)
        by_inputs[node.name] = input_gradients
        if param_gradients:
            by_params[node.name] = param_gradients
        for source, part in zip(node.inputs, input_gradients, strict=True):
            pending[source] = pending[source] + part if source in pending else part
    return Gradients(by_params, by_inputs)
