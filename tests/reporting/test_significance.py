"""McNemar's test against the binomial by hand, the bootstrap against the normal approximation."""

import math

import numpy as np
import pytest

from cifar_jax.reporting.comparisons import significance


def answers(both: int, only_first: int, only_second: int, neither: int):
    """Which images each of two classifiers has right."""
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize(('b', 'c'), [(3, 10), (10, 3), (0, 5), (1, 0), (40, 61)])
def test_mcnemar_is_twice_the_smaller_tail_of_the_binomial(b, c):
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    result = significance.mcnemar(*answers(20, b, c, 7))
    assert (result.only_first, result.only_second) == (b, c)
    assert result.p_value == pytest.approx(min(1, 2 * tail), rel=1e-12)


def test_mcnemar_sees_no_difference_where_there_is_none():
    assert significance.mcnemar(*answers(20, 0, 0, 7)) == (0, 0, 1.0)
    assert significance.mcnemar(*answers(20, 6, 6, 7)).p_value == 1.0


def test_the_bootstrap_s_interval_is_the_normal_approximation_s_for_many_images():
    generator = np.random.default_rng(1)
    first = (generator.random(8000) < 0.9).astype(float)
    # The second one has three seeds.
    second = (generator.random((3, 8000)) < 0.87).mean(axis=0)
    interval = significance.bootstrap(first, second)
    differences = first - second
    half = 1.959964 * differences.std() / math.sqrt(8000)
    assert interval.difference == pytest.approx(differences.mean())
    assert interval.low == pytest.approx(differences.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(differences.mean() + half, abs=0.05 * half)


def test_the_bootstrap_is_one_over_images():
    """By drawing the images themselves, with other random numbers."""
    first, second = (a.astype(float) for a in answers(30, 12, 5, 13))
    rows = np.random.default_rng(2).integers(0, 60, (20_000, 60))
    low, high = np.quantile((first - second)[rows].mean(axis=1), (0.025, 0.975))
    interval = significance.bootstrap(first, second)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1.01 / 60)


def test_the_bootstrap_is_the_same_every_time_and_nothing_between_equals():
    first, second = (a.astype(float) for a in answers(30, 12, 5, 13))
    assert significance.bootstrap(first, second) == significance.bootstrap(first, second)
    assert significance.bootstrap(first, first) == (0, 0, 0)
