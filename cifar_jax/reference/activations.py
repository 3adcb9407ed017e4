"""Elementwise activations: y = f(x), and so dx = f'(x) dy."""

import dataclasses
import math

import numpy as np

from cifar_jax.reference.layers import Layer


class Activation(Layer):
    """Base class of the activations; a subclass defines f and its derivative."""

    def f(self, x: np.ndarray) -> np.ndarray:
        """Returns f(x), elementwise."""
        raise NotImplementedError

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Returns f'(x), elementwise."""
        raise NotImplementedError

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        return self.f(x), x

    def backward(self, values, saved, dy):
        return (self.slope(saved) * dy,), {}


@dataclasses.dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0); f' is 1 above 0 and 0 elsewhere (0 at the kink itself)."""

    def f(self, x):
        return np.maximum(x, 0)

    def slope(self, x):
        return (x > 0).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class ReLU6(Activation):
    """min(max(x, 0), 6); f' is 1 between 0 and 6 (Howard et al. 2017, arXiv:1704.04861)."""

    def f(self, x):
        return np.clip(x, 0, 6)

    def slope(self, x):
        return ((x > 0) & (x < 6)).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class LeakyReLU(Activation):
    """x where x >= 0, `negative` x below; f' is 1 or `negative` (Maas et al. 2013)."""

    negative: float = 0.01

    def f(self, x):
        return np.where(x >= 0, x, self.negative * x)

    def slope(self, x):
        return np.where(x >= 0, 1, self.negative).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class Sigmoid(Activation):
    """s(x) = 1 / (1 + exp(-x)); f' = s (1 - s)."""

    def f(self, x):
        return sigmoid(x)

    def slope(self, x):
        s = sigmoid(x)
        return s * (1 - s)


@dataclasses.dataclass(frozen=True)
class Tanh(Activation):
    """tanh(x); f' = 1 - tanh(x)^2."""

    def f(self, x):
        return np.tanh(x)

    def slope(self, x):
        return 1 - np.tanh(x) ** 2


@dataclasses.dataclass(frozen=True)
class SiLU(Activation):
    """x s(x); by the product rule f' = s + x s (1 - s) (Elfwing et al. 2018, arXiv:1702.03118)."""

    def f(self, x):
        return x * sigmoid(x)

    def slope(self, x):
        s = sigmoid(x)
        return s + x * s * (1 - s)


@dataclasses.dataclass(frozen=True)
class GELU(Activation):
    """x Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    f' = Phi(x) + x phi(x), with the density phi(x) = exp(-x^2 / 2) / sqrt(2 pi). With `tanh`
    Phi is (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3), and Phi' follows by the chain
    rule.
    """

    tanh: bool = False

    def f(self, x):
        return x * self._phi(x)[0]

    def slope(self, x):
        phi, density = self._phi(x)
        return phi + x * density

    def _phi(self, x):
        """Returns Phi and its derivative."""
        if not self.tanh:
            density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
            return (1 + erf(x / math.sqrt(2))) / 2, density
        scale = math.sqrt(2 / math.pi)
        t = np.tanh(scale * (x + 0.044715 * x**3))
        return (1 + t) / 2, (1 - t**2) / 2 * scale * (1 + 3 * 0.044715 * x**2)


@dataclasses.dataclass(frozen=True)
class Softmax(Layer):
    """p_i = exp(x_i) / sum over k of exp(x_k), over the last axis.

    dp_i/dx_j = p_i (1[i = j] - p_j), and so dx = p (dy - sum over k of p_k dy_k).
    """

    def forward(self, values, *inputs, train, mask):
        p = softmax(inputs[0])
        return p, p

    def backward(self, values, saved, dy):
        p = saved
        return (p * (dy - (p * dy).sum(axis=-1, keepdims=True)),), {}


def softmax(x: np.ndarray) -> np.ndarray:
    """Returns probabilities over the last axis, without overflow."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def erf(x: np.ndarray) -> np.ndarray:
    """Returns the error function, which NumPy lacks.

    erf(x) = 2 / sqrt(pi) exp(-x^2) sum over n of 2^n x^(2n + 1) / (2n + 1)!!: all terms have the
    same sign, so nothing cancels (Abramowitz and Stegun 1964, 7.1.6). Beyond 6 it is 1 in float64.
    """
    clipped = np.clip(x, -6, 6)
    term = total = clipped
    n = 0
    while np.any(np.abs(term) > np.finfo(x.dtype).eps / 4 * np.abs(total)):
        n += 1
        term = term * (2 * clipped**2 / (2 * n + 1))
        total = total + term
    return 2 / math.sqrt(math.pi) * np.exp(-(clipped**2)) * total
