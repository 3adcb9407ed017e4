"""Layers make a graph: values flow forward through it, gradients back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, ShapeError
from cifar_jax.reference.optimizers import Tree

INPUT = 'images'


class Node(NamedTuple):
    """A layer in its place: where its inputs come from, and one output's shape."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    shape: Shape


class Graph:
    """A network of layers without arrays, in the order in which they are computed.

    Args:
      input_shape: (height, width, channels) of an image.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {INPUT: tuple(input_shape)}

    @property
    def last(self) -> str:
        """The name of the node that was added last: the network's output."""
        return self.nodes[-1].name if self.nodes else INPUT

    def add(self, name: str, layer: Layer, *inputs: str) -> str:
        """Adds a layer behind the named nodes, by default the last one, and returns its name.

        Raises:
          ShapeError: the layer and its inputs do not fit; the message names both.
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
        """Returns fresh parameters and moving statistics, node -> name -> array."""
        params, statistics = {}, {}
        for node in self.nodes:
            shapes = [self.shapes[source] for source in node.inputs]
            own = node.layer.init(rng, *shapes)
            moving = node.layer.init_statistics(*shapes)
            if own:
                params[node.name] = {key: value.astype(dtype) for key, value in own.items()}
            if moving:
                statistics[node.name] = {key: v.astype(dtype) for key, v in moving.items()}
        return params, statistics

    def draw_masks(
        self, rng: np.random.Generator, batch: int, dtype: Any = np.float32
    ) -> dict[str, np.ndarray]:
        """Returns the factors of every node that drops values, for one training batch."""
        masks = {}
        for node in self.nodes:
            mask = node.layer.draw_mask(rng, (batch, *self.shapes[node.inputs[0]]))
            if mask is not None:
                masks[node.name] = mask.astype(dtype)
        return masks


class Pass(NamedTuple):
    """A forward pass: what each node gave, what it keeps for the way back, the statistics after."""

    outputs: dict[str, np.ndarray]
    saved: dict[str, Any]
    statistics: Tree


class Gradients(NamedTuple):
    """A backward pass: the loss's gradients by parameters, and by each input of each node."""

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
      masks: of the nodes that drop values in training; one without a mask drops nothing.
    """
    outputs, saved = {INPUT: images}, {}
    moved = dict(statistics)
    for node in graph.nodes:
        values = {**params.get(node.name, {}), **statistics.get(node.name, {})}
        outputs[node.name], saved[node.name] = node.layer.forward(
            values,
            *(outputs[source] for source in node.inputs),
            train=train,
            mask=(masks or {}).get(node.name),
        )
        if train and node.name in statistics:
            moved[node.name] = node.layer.moved(values, saved[node.name])
    return Pass(outputs, saved, moved)


def backward(
    graph: Graph, params: Tree, statistics: Tree, done: Pass, gradient: np.ndarray
) -> Gradients:
    """Carries a gradient from the last node to the images, in reverse order.

    A node that several others read moves the loss through each of them, so its gradient is the
    sum of what they send back (the multivariate chain rule).

    Args:
      statistics: those that the forward pass was given.
      gradient: of the loss by the output of the last node.
    """
    arrived = {graph.last: gradient}
    by_params: Tree = {}
    by_inputs: dict[str, tuple[np.ndarray, ...]] = {}
    for node in reversed(graph.nodes):
        if node.name not in arrived:
            continue
        values = {**params.get(node.name, {}), **statistics.get(node.name, {})}
        dy = arrived.pop(node.name)
        sent, own = node.layer.backward(values, done.saved[node.name], dy)
        by_inputs[node.name] = sent
        if own:
            by_params[node.name] = own
        for source, part in zip(node.inputs, sent, strict=True):
            arrived[source] = arrived[source] + part if source in arrived else part
    return Gradients(by_params, by_inputs)
