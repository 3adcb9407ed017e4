"""The `Layer` interface: a function of arrays, and its backward pass.

Images are NHWC. A layer holds its options and no arrays: its parameters and moving statistics are
passed to it as `values`. All methods are vectorised over the batch and keep their inputs' dtype.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Values = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


class ShapeError(ValueError):
    """A layer cannot take inputs of these shapes."""


class Layer:
    """The interface of all layers; each layer is a frozen dataclass of its options.

    With y = f(x, w) and a loss L, `backward` turns dL/dy into dL/dx and dL/dw by the chain rule:
    dL/dx_i = sum over k of dL/dy_k dy_k/dx_i. `saved` holds what it needs from the forward pass.
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        """Returns the output's shape for inputs of these shapes, all without the batch.

        Raises:
          ShapeError: the layer cannot take such inputs.
        """
        return shapes[0]

    def init(self, rng: np.random.Generator, *shapes: Shape) -> dict[str, np.ndarray]:
        """Returns initial parameters, in float64, for inputs of these shapes."""
        return {}

    def init_statistics(self, *shapes: Shape) -> dict[str, np.ndarray]:
        """Returns the moving statistics that training starts with."""
        return {}

    def draw_mask(self, rng: np.random.Generator, shape: Shape) -> np.ndarray | None:
        """Returns the mask of a layer that drops values in training; None for any other layer.

        Args:
          shape: the inputs' shape, including the batch.
        """
        return None

    def forward(
        self, values: Values, *inputs: np.ndarray, train: bool, mask: np.ndarray | None
    ) -> tuple[np.ndarray, Any]:
        """Returns the outputs, and what `backward` needs."""
        raise NotImplementedError

    def backward(
        self, values: Values, saved: Any, dy: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """Returns the gradients for the inputs, and for the parameters by name."""
        raise NotImplementedError

    def updated_statistics(self, values: Values, saved: Any) -> dict[str, np.ndarray]:
        """Returns the moving statistics after one training batch."""
        return {}


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Returns the sum of each channel (the last axis), summing the other axes one at a time.

    Over several axes at once, NumPy adds rows one by one, and the rounding error grows with their
    number. It shows in the gradient of a bias before batch norm, which should be 0.
    """
    for _ in range(x.ndim - 1):
        x = x.sum(-2)
    return x


def image_shape(layer: Layer, shape: Shape) -> Shape:
    """Returns `shape`, after checking that it is (height, width, channels).

    Raises:
      ShapeError: it is not.
    """
    if len(shape) != 3:
        name = type(layer).__name__
        raise ShapeError(f'{name} takes (height, width, channels), not {shape}')
    return shape
