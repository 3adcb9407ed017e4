"""Pooling: one value per window and channel."""

import dataclasses

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, image_shape
from cifar_jax.reference.windows import Padding, layout, padded, scatter, windows


@dataclasses.dataclass(frozen=True)
class _Pool(Layer):
    window: int = 2
    stride: int | None = None  # None: the window, so that windows do not overlap
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
    """y = the largest value of each window; padding never is the maximum.

    y depends on that value only, so dx is dy at its position and 0 elsewhere. Between equal values,
    any split of the gradient is a subgradient. Here the maximum is taken down each column, then
    across the columns, one pair at a time: of two equal values, the earlier one gets the fraction
    `tie` of the gradient.
    """

    tie: float = 1.0

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        view = self._windows(x, -np.inf)
        columns = view.max(axis=-2)
        shares = self._shares(view, -2) * self._shares(columns, -1)[..., None, :]
        return columns.max(axis=-1), (shares, x.shape[1:3])

    def backward(self, values, saved, dy):
        shares, size = saved
        return (self._scatter(shares * dy[..., None, None], size),), {}

    def _shares(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Returns the fraction of the maximum's gradient that each value along an axis gets."""
        values = np.moveaxis(values, axis, 0)
        shares = np.ones_like(values)
        best = values[0]
        for index, value in enumerate(values[1:], 1):
            earlier = np.where(best == value, self.tie, best > value).astype(values.dtype)
            shares[:index] *= earlier
            shares[index] = 1 - earlier
            best = np.maximum(best, value)
        return np.moveaxis(shares, 0, axis)


class AvgPool(_Pool):
    """y = the mean of the n values of each window that are not padding.

    So each of these n values gets dy / n.
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
    """y[c] = the mean over all h w positions; dx = dy[c] / (h w) at each of them."""

    def output_shape(self, *shapes: Shape) -> Shape:
        return (image_shape(self, shapes[0])[2],)

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        return x.mean(axis=(1, 2)), x.shape

    def backward(self, values, saved, dy):
        _, height, width, _ = saved
        return (np.broadcast_to(dy[:, None, None] / (height * width), saved).copy(),), {}
