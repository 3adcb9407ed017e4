"""Splits: nothing shared, nothing lost, and every class in proportion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_jax.data import splits
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError


def numbered(labels):
    """Returns images that hold their own number."""
    labels = np.asarray(labels, np.int32)
    numbers = np.arange(len(labels))
    images = np.stack([numbers % 256, numbers // 256], axis=-1).astype(np.uint8)
    return Arrays(images[:, None, None], labels)


def numbers(arrays):
    pixels = arrays.images[:, 0, 0].astype(int)
    return pixels[:, 0] + 256 * pixels[:, 1]


@settings(deadline=None, max_examples=60)
@given(
    per_class=st.lists(st.integers(10, 60), min_size=2, max_size=6),
    method=st.sampled_from(['stratified', 'last', 'random']),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
)
def test_the_parts_share_nothing_and_lose_nothing(per_class, method, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(range(len(per_class)), per_class))
    arrays = numbered(labels)
    train, validation = splits.split(arrays, method, fraction, seed)
    assert len(validation.labels) == round(len(labels) * fraction)
    both = np.concatenate([numbers(train), numbers(validation)])
    assert np.array_equal(np.sort(both), np.arange(len(labels)))
    for part in (train, validation):
        assert np.array_equal(part.labels, labels[numbers(part)])
        assert part.labels.dtype == np.int32


@settings(deadline=None, max_examples=40)
@given(
    per_class=st.lists(st.integers(10, 60), min_size=2, max_size=6),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**31),
)
def test_a_stratified_split_keeps_every_class_in_proportion(per_class, fraction, seed):
    arrays = numbered(np.repeat(range(len(per_class)), per_class))
    _, validation = splits.split(arrays, 'stratified', fraction, seed)
    counts = splits.class_counts(validation.labels, len(per_class))
    share = len(validation.labels) / len(arrays.labels)
    assert np.abs(counts - share * np.asarray(per_class)).max() <= 1


@pytest.mark.parametrize('method', ['stratified', 'random'])
def test_a_drawn_split_follows_from_its_seed(method):
    arrays = numbered(np.arange(100) % 4)
    first, again, other = (splits.split(arrays, method, 0.2, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(numbers(first), numbers(again))
    assert not np.array_equal(numbers(first), numbers(other))


def test_the_last_split_takes_the_last_records_in_order():
    train, validation = splits.split(numbered(np.zeros(50)), 'last', 0.2, 0)
    assert numbers(train).tolist() == list(range(40))
    assert numbers(validation).tolist() == list(range(40, 50))


def test_no_split_trains_on_all():
    arrays = numbered(np.arange(10))
    assert splits.split(arrays, 'none', 0.2, 0) == (arrays, None)


@pytest.mark.parametrize(
    ('labels', 'method', 'fraction', 'words'),
    [
        (range(10), 'stratifed', 0.2, "'stratified'"),
        (range(10), 'last', 0.0, 'between 0 and 1'),
        (range(10), 'random', 1.0, 'between 0 and 1'),
        (range(10), 'last', 0.01, 'one part empty'),
        (range(10), 'stratified', 0.2, 'every class in both'),
        ([0] * 50 + [1] * 50, 'stratified', 0.01, 'every class in both'),
    ],
)
def test_an_impossible_split_is_refused(labels, method, fraction, words):
    with pytest.raises(UserError, match=words):
        splits.split(numbered(list(labels)), method, fraction, 0)


def test_class_counts_hold_classes_without_an_image():
    assert splits.class_counts(np.array([0, 2, 2], np.int32), 4).tolist() == [1, 0, 2, 0]
