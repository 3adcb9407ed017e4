"""Layers that drop values in training, by multiplying with a random or given mask of factors."""

import dataclasses

import numpy as np

from cifar_jax.reference.layers import Layer, Shape
from cifar_jax.reference.windows import windows


class _Masked(Layer):
    """y = m x for a constant mask m, and so dx = m dy; the identity at evaluation."""

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        if not train or mask is None:
            return x, None
        return mask * x, mask

    def backward(self, values, saved, dy):
        mask = saved
        return (dy if mask is None else mask * dy,), {}


@dataclasses.dataclass(frozen=True)
class Dropout(_Masked):
    """Zeroes each value with probability `rate` and divides the others by 1 - rate.

    (Srivastava et al. 2014; inverted, so that evaluation needs no scaling.)
    """

    rate: float

    def draw_mask(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Returns a mask of `shape`, with the values 0 and 1 / (1 - rate)."""
        return (rng.random(shape) >= self.rate) / (1 - self.rate)


@dataclasses.dataclass(frozen=True)
class DropBlock(_Masked):
    """Zeroes `size` x `size` blocks of all channels; divides the rest by the fraction that is kept.

    (Ghiasi et al. 2018, arXiv:1810.12890, algorithm 1.) Any pixel of the map is the seed of
    a block with probability gamma = rate / size^2, and blocks are cut at the border.
    """

    rate: float
    size: int

    def draw_mask(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Returns a mask [b h w 1] for images of shape [b h w c]."""
        batch, height, width, _ = shape
        size = min(self.size, height, width)
        seeds = rng.random((batch, height, width, 1)) < self.rate / size**2
        # A pixel is dropped when any seed lies in the block that ends around it.
        before, after = size // 2, (size - 1) // 2
        padded = np.pad(seeds, ((0, 0), (before, after), (before, after), (0, 0)))
        kept = ~windows(padded, (size, size), (1, 1)).any(axis=(-2, -1))
        return kept / max(kept.mean(), 1 / kept.size)
