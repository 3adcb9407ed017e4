"""Batch normalisation."""

import dataclasses

import numpy as np

from cifar_jax.reference.layers import Layer, Shape, channel_sums


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """y = scale z + bias, z = (x - mean) / sqrt(var + epsilon), for each channel.

    (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1 and section 3.) In training,
    mean and (biased) variance are computed over the batch and depend on every x, so that

        dx = scale / sqrt(var + epsilon) (dy - mean(dy) - z mean(dy z)).

    The last two terms are the effect of x through the mean and through the variance. At evaluation
    the moving mean and variance are used, which are constants, and only the first term remains.
    dscale = sum of dy z, dbias = sum of dy. `momentum` is the weight of the old moving statistics
    (as in Flax and Keras; PyTorch's is 1 - momentum).
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

    def updated_statistics(self, values, saved):
        _, mean, var, _ = saved
        momentum = self.momentum
        return {
            'mean': momentum * values['mean'] + (1 - momentum) * mean,
            'var': momentum * values['var'] + (1 - momentum) * var,
        }


def _mean(x: np.ndarray) -> np.ndarray:
    return channel_sums(x) / x[..., 0].size
