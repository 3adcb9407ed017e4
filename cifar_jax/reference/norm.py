"""Batch normalisation."""

import dataclasses

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, channel_sums


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """y = scale z + bias, z = (x - mean) / sqrt(var + epsilon), for each channel.

    (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1 and section 3.) In training mean and
    variance (the biased one) are those of the m values of the batch, and depend on every x, so that

        dx = scale / sqrt(var + epsilon) (dy - mean(dy) - z mean(dy z)):

    the last two terms are what moving x does through the mean and through the variance. At
    evaluation both are the moving ones, constants, and only the first term is left. dscale = sum
    of dy z, dbias = sum of dy. `momentum` is the share of the moving statistics that is kept.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    def init(self, rng: np.random.Generator, *shapes: Shape) -> dict[str, np.ndarray]:
        channels = shapes[0][-1]
        return {'scale': np.ones(channels), 'bias': np.zeros(channels)}

    def init_statistics(self, *shapes: Shape) -> dict[str, np.ndarray]:
        channels = shapes[0][-1]
        return {'mean': np.zeros(channels), 'var': np.ones(channels)}

    def forward(self, values, *inputs, train, mask):
        (x,) = inputs
        mean = _mean(x) if train else values['mean']
        var = _mean((x - mean) ** 2) if train else values['var']
        z = (x - mean) / np.sqrt(var + self.epsilon)
        return values['scale'] * z + values['bias'], (z, mean, var, train)

    def backward(self, values, saved, dy):
        z, _, var, train = saved
        factor = values['scale'] / np.sqrt(var + self.epsilon)
        through_x = dy
        if train:
            through_x = dy - _mean(dy) - z * _mean(dy * z)
        return (factor * through_x,), {'scale': channel_sums(dy * z), 'bias': channel_sums(dy)}

    def moved(self, values, saved):
        _, mean, var, _ = saved
        kept = self.momentum
        return {
            'mean': kept * values['mean'] + (1 - kept) * mean,
            'var': kept * values['var'] + (1 - kept) * var,
        }


def _mean(x: np.ndarray) -> np.ndarray:
    return channel_sums(x) / x[..., 0].size
