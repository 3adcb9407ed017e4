"""Layers with several inputs, which turn a chain of layers into a graph."""

import dataclasses

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, ShapeError


@dataclasses.dataclass(frozen=True)
class Add(Layer):
    """y = the sum of all inputs, as at the end of a residual block; dx = dy for each of them."""

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(set(shapes)) > 1:
            raise ShapeError(f'a sum needs equal shapes, not {", ".join(map(str, shapes))}')
        return shapes[0]

    def forward(self, values, *inputs, train, mask):
        return sum(inputs[1:], inputs[0]), len(inputs)

    def backward(self, values, saved, dy):
        return (dy,) * saved, {}


@dataclasses.dataclass(frozen=True)
class Concatenate(Layer):
    """y = all inputs, concatenated along the channels; the gradient of each is its part of dy."""

    def output_shape(self, *shapes: Shape) -> Shape:
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ShapeError(f'maps differ in size: {", ".join(map(str, shapes))}')
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def forward(self, values, *inputs, train, mask):
        ends = np.cumsum([x.shape[-1] for x in inputs])
        return np.concatenate(inputs, axis=-1), ends[:-1]

    def backward(self, values, saved, dy):
        return tuple(np.split(dy, saved, axis=-1)), {}


@dataclasses.dataclass(frozen=True)
class Gate(Layer):
    """y[p, q, c] = x[p, q, c] g[c], the last step of squeeze and excitation.

    (Hu et al. 2018, arXiv:1709.01507, eq. 4.) dx = dy g, and dg[c] = sum over p, q of dy x.
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        x, gate = shapes
        if len(x) != 3 or gate != x[2:]:
            raise ShapeError(f'a gate of {gate} does not fit maps of {x}')
        return x

    def forward(self, values, *inputs, train, mask):
        x, gate = inputs
        return x * gate[:, None, None], (x, gate)

    def backward(self, values, saved, dy):
        x, gate = saved
        return (dy * gate[:, None, None], (dy * x).sum(axis=(1, 2))), {}
