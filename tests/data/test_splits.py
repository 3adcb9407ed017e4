"""Splits: disjoint, complete, and with every class in proportion."""

import hashlib

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cifar_jax.data import splits
from cifar_jax.data.arrays import Arrays, Dataset
from cifar_jax.errors import UserError


def numbered(labels, names=None):
    """Returns a data set of images that hold their own number."""
    labels = np.asarray(labels, np.int32)
    order = np.arange(len(labels))
    images = np.stack([order % 256, order // 256], axis=-1).astype(np.uint8)
    arrays = Arrays(images[:, None, None], labels)
    classes = tuple(f'class {label}' for label in range(labels.max() + 1))
    return Dataset('numbers', arrays, arrays, classes, names=names)


def numbers(arrays):
    pixels = arrays.images[:, 0, 0].astype(int)
    return pixels[:, 0] + 256 * pixels[:, 1]


per_class = st.lists(st.integers(10, 60), min_size=2, max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    per_class=per_class,
    method=st.sampled_from(['stratified', 'last', 'random']),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**31),
)
def test_the_parts_share_nothing_and_lose_nothing(per_class, method, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(range(len(per_class)), per_class))
    dataset = numbered(labels)
    try:
        train, validation = splits.split(dataset, method, fraction, seed)
    except UserError as error:
        assume('out of the' not in str(error))
        raise
    assert len(validation.labels) == round(len(labels) * fraction)
    both = np.concatenate([numbers(train), numbers(validation)])
    assert np.array_equal(np.sort(both), np.arange(len(labels)))
    for part in (train, validation):
        assert np.array_equal(part.labels, labels[numbers(part)])
        assert part.labels.dtype == np.int32
        assert np.all(np.diff(numbers(part)) > 0), 'the order of the records'


@settings(deadline=None, max_examples=40)
@given(per_class=per_class, fraction=st.floats(0.2, 0.8), seed=st.integers(0, 2**31))
def test_a_stratified_split_keeps_every_class_in_proportion(per_class, fraction, seed):
    dataset = numbered(np.repeat(range(len(per_class)), per_class))
    _, validation = splits.split(dataset, 'stratified', fraction, seed)
    counts = splits.class_counts(validation.labels, len(per_class))
    share = len(validation.labels) / sum(per_class)
    assert np.abs(counts - share * np.asarray(per_class)).max() <= 1


@pytest.mark.parametrize('method', ['stratified', 'random'])
def test_a_drawn_split_follows_from_its_seed(method):
    dataset = numbered(np.arange(100) % 4)
    first, again, other = (splits.split(dataset, method, 0.2, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(numbers(first), numbers(again))
    assert not np.array_equal(numbers(first), numbers(other))


def test_the_random_split_is_numpys_permutation():
    dataset = numbered(np.arange(100) % 4)
    _, validation = splits.split(dataset, 'random', 0.2, 7)
    expected = np.random.default_rng(7).permutation(100)[80:]
    assert numbers(validation).tolist() == sorted(expected)


def test_the_last_split_takes_the_last_records_in_order():
    train, validation = splits.split(numbered(np.zeros(50)), 'last', 0.2, 0)
    assert numbers(train).tolist() == list(range(40))
    assert numbers(validation).tolist() == list(range(40, 50))


def test_no_split_trains_on_all():
    dataset = numbered(np.arange(10))
    assert splits.split(dataset, 'none', 0.2, 0) == (dataset.train, None)


@pytest.mark.parametrize(
    ('labels', 'method', 'fraction', 'words'),
    [
        ([0] * 10, 'stratifed', 0.2, "'stratified'"),
        ([0] * 10, 'last', 0.0, 'between 0 and 1'),
        ([0] * 10, 'random', 1.0, 'between 0 and 1'),
        ([0] * 10, 'last', 0.01, 'one part empty'),
        ([0] * 10, 'last', 0.99, 'one part empty'),
        ([0] * 50 + [1] * 50, 'stratified', 0.01, 'into 99 and 1 with every class in both'),
    ],
)
def test_an_impossible_split_is_refused(labels, method, fraction, words):
    with pytest.raises(UserError, match=words):
        splits.split(numbered(labels), method, fraction, 0)


@pytest.mark.parametrize('seed', [0, 2**32 - 1])
def test_the_seeds_of_32_bits_draw_a_split(seed):
    splits.check('random', 0.2, seed)


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_a_seed_of_more_than_32_bits_is_refused(seed):
    with pytest.raises(UserError, match=rf'split_seed={seed} must be from 0 to 2\*\*32 - 1'):
        splits.check('random', 0.2, seed)


# Classes that a split leaves out


@pytest.mark.parametrize(
    ('method', 'labels', 'left_out'),
    [
        ('last', [0] * 40 + [1] * 40 + [2] * 20, "'class 2' out of the training part"),
        ('last', [0] * 20 + [1] * 80, "'class 0' out of the validation part"),
        ('random', [0] * 98 + [1] * 2, "'class 1' out of the validation part"),
        ('stratified', [0] * 98 + [1] * 2, "'class 1' out of the validation part"),
    ],
)
def test_a_split_that_leaves_a_class_out_of_a_part_is_refused(method, labels, left_out):
    classes = max(labels) + 1
    remedy = 'raise .*_fraction' if method == 'stratified' else r'use .*\.validation=stratified'
    words = rf'validation={method} .*{left_out} \(1 of {classes} .*{remedy}'
    with pytest.raises(UserError, match=words):
        splits.split(numbered(labels), method, 0.2, 0)


@pytest.mark.parametrize('method', ['stratified', 'last', 'random'])
@pytest.mark.parametrize('names', [None, tuple('abcdefghijk')])
def test_a_class_of_one_image_is_named_with_what_helps(method, names):
    words = r"'class 1' has a single training image, .* add images .*\.validation=none"
    with pytest.raises(UserError, match=words):
        splits.split(numbered([0] * 5 + [1] + [2] * 5, names), method, 0.4, 0)


# Draws by name

NAMES = tuple(f'{kind}/{number:03}.png' for kind in ('cat', 'dog') for number in range(200))
KINDS = np.repeat([0, 1], 200)


def drawn(labels, names, fraction=0.2, draw='test'):
    rest, chosen = splits.stratified_by_name(labels, names, fraction, draw)
    assert sorted([*rest, *chosen]) == [*range(len(names))]
    return {names[row] for row in chosen}


def number_of(name):
    """Returns the number in [0, 1) that decides on a name."""
    return int(hashlib.sha256(f'test: {name}'.encode()).hexdigest()[:12], 16) / 16**12


def test_a_name_is_drawn_where_its_sha256_lies_below_the_fraction():
    assert drawn(KINDS, NAMES) == {name for name in NAMES if number_of(name) < 0.2}


def test_a_name_is_not_drawn_where_its_sha256_is_the_fraction_itself():
    fraction = number_of(NAMES[0])
    below = {name for name in NAMES if number_of(name) < fraction}
    assert drawn(KINDS, NAMES, fraction) == below
    assert 0 < len(below) < len(NAMES)


def test_the_only_image_of_a_class_is_drawn_by_its_name_too():
    below = {name for name in NAMES if number_of(name) < 0.2}
    assert drawn(np.arange(len(NAMES)), NAMES) == below


def test_about_the_share_of_each_class_is_drawn():
    chosen = drawn(KINDS, NAMES)
    for kind in ('cat', 'dog'):
        assert 25 <= sum(name.startswith(kind) for name in chosen) <= 55


@pytest.mark.parametrize('seed', range(3))
def test_names_that_are_added_or_removed_move_no_other(seed):
    rows = np.sort(np.random.default_rng(seed).choice(400, 250, replace=False))
    some = drawn(KINDS[rows], [NAMES[row] for row in rows])
    assert some == drawn(KINDS, NAMES) & {NAMES[row] for row in rows}


def test_draws_of_other_things_from_the_same_names_are_independent():
    test, validation = drawn(KINDS, NAMES), drawn(KINDS, NAMES, draw='validation 0')
    assert 0.1 < len(test & validation) / len(test) < 0.3
    assert validation != drawn(KINDS, NAMES, draw='validation 1')


@pytest.mark.parametrize('fraction', [1e-9, 1 - 1e-9])
@pytest.mark.parametrize('count', [2, 9])
def test_every_class_is_in_both_parts(fraction, count):
    labels = np.repeat([0, 1, 2], count)
    names = [f'{row}' for row in range(3 * count)]
    rest, chosen = splits.stratified_by_name(labels, names, fraction, 'test')
    few, many = (chosen, rest) if fraction < 0.5 else (rest, chosen)
    assert np.bincount(labels[few]).tolist() == [1] * 3
    assert np.bincount(labels[many]).tolist() == [count - 1] * 3


def test_a_name_that_is_not_utf8_is_drawn_too():
    assert drawn(np.array([0, 0]), ['a\udcff', 'b']) in ({'a\udcff'}, {'b'})


def test_a_data_set_with_names_is_split_by_them_and_by_the_seed():
    for seed in (0, 1):
        _, validation = splits.split(numbered(KINDS, NAMES), 'stratified', 0.25, seed)
        chosen = {NAMES[row] for row in numbers(validation)}
        assert chosen == drawn(KINDS, NAMES, 0.25, f'validation {seed}')


# Samples to show


def test_a_sample_gives_every_class_an_image_before_a_second_one():
    labels = np.repeat([0, 1, 2], [2, 50, 50])
    rows = splits.sample(labels, 9, 0)
    assert len(set(rows)) == 9
    assert sorted(labels[rows[:3]]) == sorted(labels[rows[3:6]]) == [0, 1, 2]
    assert sorted(labels[rows[6:]]) == [1, 1, 2]


@pytest.mark.parametrize('seed', range(3))
def test_a_sample_follows_the_permutation_of_its_seed_class_by_class(seed):
    labels = np.random.default_rng(9).integers(0, 40, 1000)
    rest = np.random.default_rng(seed).permutation(1000).tolist()
    expected = []
    while rest:
        first = {}
        for row in rest:
            first.setdefault(labels[row], row)
        expected += first.values()
        rest = [row for row in rest if row not in first.values()]
    assert splits.sample(labels, 1000, seed).tolist() == expected


def test_a_sample_is_of_what_there_is_and_begins_with_smaller_ones():
    labels = np.arange(30) % 7
    whole = splits.sample(labels, 100, 3)
    assert sorted(whole) == [*range(30)]
    assert splits.sample(labels, 12, 3).tolist() == whole[:12].tolist()


def test_a_sample_follows_from_its_seed():
    labels = np.repeat(np.arange(10), 20)
    first, again, other = (splits.sample(labels, 5, seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first != sorted(first), 'other classes than the first ones, in no order'


def test_class_counts_hold_classes_without_an_image():
    assert splits.class_counts(np.array([0, 2, 2], np.int32), 4).tolist() == [1, 0, 2, 0]
