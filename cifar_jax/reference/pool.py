"""Pooling: windows become one number a channel."""

import dataclasses

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, image_shape
from cifar_jax.reference.windows import Padding, layout, padded, scatter, windows


@dataclasses.dataclass(frozen=True)
class _Pool(Layer):
    window: int = 2
    stride: int | None = None  # None: the window, side by side
    padding: Padding = 'valid'

    def output_shape(self, *shapes: Shape) -> Shape:
        *size, channels = image_shape(self, shapes[0])
        return (*self._layout(tuple(size))[0], channels)

    @property
    def _step(self):
        return self.window if self.stride is None else self.stride

    def _layout(self, size):
        step = self._step
        return layout(size, (self.window,) * 2, (step,) * 2, self.padding)

    def _windows(self, x, fill):
        step = self._step
        pads = self._layout(x.shape[1:3])[1]
        return windows(padded(x, pads, fill), (self.window,) * 2, (step,) * 2)

    def _scatter(self, parts, size):
        step = self._step
        return scatter(parts, size, self._layout(size)[1], (step,) * 2)


@dataclasses.dataclass(frozen=True)
class MaxPool(_Pool):
    """y = the largest value of a window; padding never wins.

    Only that value moves y, so dx is dy at the place of the largest value and 0 elsewhere. Of equal
    ones any share is a subgradient. Here a window is walked down each column, then across their
    maxima, and of each pair that is equal the earlier one takes `tie` of the gradient.
    """

    tie: float = 1.0

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        seen = self._windows(x, -np.inf)
        columns = seen.max(axis=-2)
        shares = self._shares(seen, -2) * self._shares(columns, -1)[..., None, :]
        return columns.max(axis=-1), (shares, x.shape[1:3])

    def backward(self, values, saved, dy):
        shares, size = saved
        return (self._scatter(shares * dy[..., None, None], size),), {}

    def _shares(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Returns how much of the gradient of their maximum each value along an axis takes."""
        values = np.moveaxis(values, axis, 0)
        shares = np.ones_like(values)
        best = values[0]
        for place, value in enumerate(values[1:], 1):
            earlier = np.where(best == value, self.tie, best > value).astype(values.dtype)
            shares[:place] *= earlier
            shares[place] = 1 - earlier
            best = np.maximum(best, value)
        return np.moveaxis(shares, 0, axis)


class AvgPool(_Pool):
    """y = the mean of the n values of a window that are no padding; each moves y by 1/n.

    So dx gives every pixel of a window dy / n.
    """

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        counts = self._windows(np.ones((1, *x.shape[1:3], 1), x.dtype), 0.0).sum(axis=(-2, -1))
        return self._windows(x, 0.0).sum(axis=(-2, -1)) / counts, (counts, x.shape[1:3])

    def backward(self, values, saved, dy):
        counts, size = saved
        each = (dy / counts)[..., None, None]
        parts = np.broadcast_to(each, (*dy.shape, self.window, self.window))
        return (self._scatter(parts, size),), {}


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """y[c] = mean over all h w positions; dx gives each of them dy[c] / (h w)."""

    def output_shape(self, *shapes: Shape) -> Shape:
        return (image_shape(self, shapes[0])[2],)

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        return x.mean(axis=(1, 2)), x.shape

    def backward(self, values, saved, dy):
        _, height, width, _ = saved
        return (np.broadcast_to(dy[:, None, None] / (height * width), saved).copy(),), {}
