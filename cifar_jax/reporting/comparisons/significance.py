"""Tests whether one classifier is significantly better than another on the same images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

RESAMPLES, SEED = 10_000, 0


class McNemar(NamedTuple):
    """Numbers of images that only one of two classifiers predicts correctly, and the p-value."""

    only_first: int
    only_second: int
    p_value: float


class Interval(NamedTuple):
    """A difference of accuracies, first minus second, and its interval of 95 %."""

    difference: float
    low: float
    high: float


def mcnemar(first: Bool[np.ndarray, 'images'], second: Bool[np.ndarray, 'images']) -> McNemar:
    r"""Returns McNemar's test of two classifiers, exact and two-sided.

    If both are equally good, each image that only one of them predicts correctly is equally likely
    to be of either:

    .. math:: b \sim \mathrm{Binomial}(b + c, 1/2)

    Args:
      first, second: whether each predicts each of the same images correctly.

    References:
      McNemar, 1947, Note on the sampling error of the difference between correlated proportions
      or percentages, Psychometrika 12 (2).
      Dietterich, 1998, Approximate statistical tests for comparing supervised classification
      learning algorithms, Neural Computation 10 (7), section 3.1.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    if not discordant:
        return McNemar(0, 0, 1.0)
    return McNemar(only_first, only_second, stats.binomtest(only_first, discordant).pvalue)


def bootstrap(first: Float[np.ndarray, 'images'], second: Float[np.ndarray, 'images']) -> Interval:
    """Returns a paired bootstrap's percentile interval of a difference of accuracies.

    The images are resampled with replacement, `RESAMPLES` times, always with the same random
    numbers. Since the differences of images have few values, the numbers of draws per value are
    multinomial, which is equivalent to drawing images and takes milliseconds.

    Args:
      first, second: how often each predicts each of the same images correctly: 0 or 1, or the
        fraction of several seeds.

    References:
      Efron and Tibshirani, 1993, An Introduction to the Bootstrap, section 13.3.
    """
    differences = first - second
    values, counts = np.unique(differences, return_counts=True)
    images = len(differences)
    generator = np.random.default_rng(SEED)
    means = generator.multinomial(images, counts / images, RESAMPLES) @ values / images
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(differences.mean()), float(low), float(high))
