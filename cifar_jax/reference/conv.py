"""Convolution as one matrix product over all windows (im2col)."""

import dataclasses
import math

import numpy as np

from cifar_jax.reference.initializers import INITIALIZERS
from cifar_jax.reference.layers import Layer, Shape, ShapeError, channel_sums, image_shape
from cifar_jax.reference.windows import Padding, Pair, chunks, layout, padded, scatter, windows


@dataclasses.dataclass(frozen=True)
class Conv(Layer):
    """y[p, q, f] = b[f] + sum over i, j, c of x[p s + i, q s + j, c] K[i, j, c, f].

    Every window is laid out as a row of P, so that y = P K + b, and by the chain rule

        dK = P^T dy,    db = sum over images and positions of dy,    dP = dy K^T,

    and dx sums, for each pixel, its entries in dP. (Goodfellow, Bengio and Courville, Deep
    Learning, 2016, section 9.5; the layout is the im2col of Chellapilla et al. 2006.)

    Options:
      features: number of output channels.
      window, strides: (vertical, horizontal).
      padding: zeros around the image, see `windows.layout`.
      groups: number of independent convolutions that channels and features are split into; with
        `groups` = channels it is depthwise. The kernel is [kh kw channels/groups features].
      bias: whether to add a bias.
      init_kernel: a name in `INITIALIZERS`.
    """

    features: int
    window: Pair = (3, 3)
    strides: Pair = (1, 1)
    padding: Padding = 'same'
    groups: int = 1
    bias: bool = True
    init_kernel: str = 'he'

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, channels = image_shape(self, shapes[0])
        if self.features < 1:
            raise ShapeError(f'there must be at least 1 feature, not {self.features}')
        if channels % self.groups or self.features % self.groups:
            raise ShapeError(
                f'{channels} channels and {self.features} features cannot be split into '
                f'{self.groups} groups'
            )
        (rows, columns), _ = layout((height, width), self.window, self.strides, self.padding)
        return rows, columns, self.features

    def init(self, rng: np.random.Generator, *shapes: Shape) -> dict[str, np.ndarray]:
        shape = (*self.window, shapes[0][2] // self.groups, self.features)
        fans = math.prod(shape[:3]), math.prod(self.window) * self.features // self.groups
        kernel = INITIALIZERS[self.init_kernel](rng, shape, *fans)
        return {'kernel': kernel} | ({'bias': np.zeros(self.features)} if self.bias else {})

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        rows, columns, features = self.output_shape(x.shape[1:])
        y = np.empty((len(x), rows, columns, features), x.dtype)
        for images in self._chunks(x):
            product = self._patches(x[images]) @ self._matrix(values['kernel'])
            y[images] = self._join(product, (-1, rows, columns))
        return y + values['bias'] if self.bias else y, x

    def backward(self, values, saved, dy):
        x = saved
        size, pads = x.shape[1:3], self._pads(x)
        kernel = values['kernel']
        matrix = self._matrix(kernel)
        dmatrix = np.zeros_like(matrix)
        dx = np.empty_like(x)
        for images in self._chunks(x):
            split = self._split(dy[images])
            dmatrix += self._patches(x[images]).swapaxes(1, 2) @ split
            dpatches = split @ matrix.swapaxes(1, 2)
            dwindows = self._as_windows(dpatches, dy[images].shape[:3])
            dx[images] = scatter(dwindows, size, pads, self.strides)
        gradients = {'kernel': dmatrix.swapaxes(0, 1).reshape(kernel.shape)}
        if self.bias:
            gradients['bias'] = channel_sums(dy)
        return (dx,), gradients

    def _pads(self, x: np.ndarray) -> list[Pair]:
        _, height, width, _ = x.shape
        return layout((height, width), self.window, self.strides, self.padding)[1]

    def _chunks(self, x: np.ndarray):
        rows, columns, _ = self.output_shape(x.shape[1:])
        bytes_each = rows * columns * math.prod(self.window) * x.shape[3] * x.itemsize
        return chunks(len(x), bytes_each)

    def _patches(self, x: np.ndarray) -> np.ndarray:
        """Returns each window as a row: [groups, images * rows * columns, kh * kw * c/groups]."""
        view = windows(padded(x, self._pads(x)), self.window, self.strides)
        channels = x.shape[3] // self.groups
        view = view.reshape(*view.shape[:3], self.groups, channels, *self.window)
        return view.transpose(3, 0, 1, 2, 5, 6, 4).reshape(
            self.groups, -1, math.prod(self.window) * channels
        )

    def _as_windows(self, patches: np.ndarray, positions: Shape) -> np.ndarray:
        """Inverts the layout of `_patches`: [b rows columns c kh kw]."""
        parts = patches.reshape(self.groups, *positions, *self.window, -1)
        return parts.transpose(1, 2, 3, 0, 6, 4, 5).reshape(*positions, -1, *self.window)

    def _matrix(self, kernel: np.ndarray) -> np.ndarray:
        """Returns the kernel as a matrix for each group: [groups, kh * kw * c/groups, f/groups]."""
        return kernel.reshape(-1, self.groups, self.features // self.groups).swapaxes(0, 1)

    def _split(self, y: np.ndarray) -> np.ndarray:
        """Returns outputs by group: [groups, images * rows * columns, f/groups]."""
        return y.reshape(-1, self.groups, self.features // self.groups).swapaxes(0, 1)

    def _join(self, y: np.ndarray, positions: Shape) -> np.ndarray:
        """Inverts `_split`."""
        return y.swapaxes(0, 1).reshape(*positions, self.features)
