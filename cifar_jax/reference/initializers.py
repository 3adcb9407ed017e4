"""Initializers of kernels; biases start at 0."""

import math
from collections.abc import Callable

import numpy as np


def he(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Normal, variance 2 / fan_in: keeps the scale through ReLUs (He et al. 2015, eq. 10)."""
    return rng.normal(0, math.sqrt(2 / fan_in), shape)


def glorot(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> np.ndarray:
    """Uniform, variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape)


def normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> np.ndarray:
    """Standard normal, regardless of the fan: the naive initialization."""
    return rng.normal(0, 1, shape)


Initializer = Callable[[np.random.Generator, tuple[int, ...], int, int], np.ndarray]
INITIALIZERS: dict[str, Initializer] = {'he': he, 'glorot': glorot, 'normal': normal}
