"""What a layer is: a function of arrays, and how a loss's gradient goes back through it.

Images are NHWC. A layer holds its options and no arrays: its parameters and moving statistics are
handed to it as `values`. Everything is vectorised over the batch, and has the dtype of its inputs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Values = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


class ShapeError(ValueError):
    """A layer cannot work on inputs of these shapes."""


class Layer:
    """The contract; each layer is a frozen dataclass of its options.

    With y = f(x, w) and a loss L, `backward` turns dL/dy into dL/dx and dL/dw by the chain rule:
    dL/dx_i = sum over k of dL/dy_k dy_k/dx_i. What it needs of the forward pass is in `saved`.
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        """Returns the shape of one output from those of the inputs, all without the batch.

        Raises:
          ShapeError: the inputs do not fit.
        """
        return shapes[0]

    def init(self, rng: np.random.Generator, *shapes: Shape) -> dict[str, np.ndarray]:
        """Returns fresh parameters, float64, for inputs of these shapes."""
        return {}

    def init_statistics(self, *shapes: Shape) -> dict[str, np.ndarray]:
        """Returns the moving statistics that training starts with."""
        return {}

    def draw_mask(self, rng: np.random.Generator, shape: Shape) -> np.ndarray | None:
        """Returns the factors of a layer that drops values in training, None for any other.

        Args:
          shape: of the inputs, batch included.
        """
        return None

    def forward(
        self, values: Values, *inputs: np.ndarray, train: bool, mask: np.ndarray | None
    ) -> tuple[np.ndarray, Any]:
        """Returns the outputs, and whatever `backward` needs."""
        raise NotImplementedError

    def backward(
        self, values: Values, saved: Any, dy: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """Returns the gradients of the inputs, and of the parameters by name."""
        raise NotImplementedError

    def moved(self, values: Values, saved: Any) -> dict[str, np.ndarray]:
        """Returns the moving statistics after a training batch."""
        return {}


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Returns the sum of each channel, the last axis, one of the other axes after another.

    NumPy adds the rows of several axes up one by one, and the rounding grows with their number. It
    shows in the gradient of a bias before batch norm, which should be 0.
    """
    for _ in range(x.ndim - 1):
        x = x.sum(-2)
    return x


def image_shape(layer: Layer, shape: Shape) -> Shape:
    """Returns a shape that must be (height, width, channels).

    Raises:
      ShapeError: it is not.
    """
    if len(shape) != 3:
        name = type(layer).__name__
        raise ShapeError(f'{name} takes (height, width, channels), not {shape}')
    return shape
