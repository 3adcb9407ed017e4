"""Dense layers, and the reshape before them."""

import dataclasses
import math

import numpy as np

from cifar_jax.reference.initializers import INITIALIZERS
from cifar_jax.reference.layers import Layer, Shape, ShapeError


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """y = x W + b, and so dW = x^T dy, db = sum over images of dy, dx = dy W^T.

    (Rumelhart, Hinton and Williams 1986; Goodfellow et al. 2016, section 6.5.)
    """

    features: int
    init_kernel: str = 'he'

    def output_shape(self, *shapes: Shape) -> Shape:
        if self.features < 1:
            raise ShapeError(f'there must be at least 1 feature, not {self.features}')
        if len(shapes[0]) != 1:
            raise ShapeError(f'Dense takes vectors, not {shapes[0]}: flatten them first')
        return (self.features,)

    def init(self, rng: np.random.Generator, *shapes: Shape) -> dict[str, np.ndarray]:
        (inputs,) = shapes[0]
        kernel = INITIALIZERS[self.init_kernel](rng, (inputs, self.features), inputs, self.features)
        return {'kernel': kernel, 'bias': np.zeros(self.features)}

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        return x @ values['kernel'] + values['bias'], x

    def backward(self, values, saved, dy):
        x = saved
        return (dy @ values['kernel'].T,), {'kernel': x.T @ dy, 'bias': dy.sum(axis=0)}


@dataclasses.dataclass(frozen=True)
class Reshape(Layer):
    """The same values, in row-major order, in another shape; 'flatten' gives vectors."""

    shape: Shape | str = 'flatten'

    def output_shape(self, *shapes: Shape) -> Shape:
        size = math.prod(shapes[0])
        if self.shape == 'flatten':
            return (size,)
        if isinstance(self.shape, str) or math.prod(self.shape) != size:
            raise ShapeError(
                f"{shapes[0]} cannot become {self.shape!r}: 'flatten' or {size} values"
            )
        return tuple(self.shape)

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        return x.reshape(len(x), *self.output_shape(x.shape[1:])), x.shape

    def backward(self, values, saved, dy):
        return (dy.reshape(saved),), {}
