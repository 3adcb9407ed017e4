"""Predictions of a classifier made by hand: what is kept of them, and what is read."""

import errno
import logging
import os

import jax
import numpy as np
import pytest
from classifiers_by_hand import images, narrow

from cifar_jax import files
from cifar_jax.data.arrays import Arrays
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import predictions

SHAPE = (8, 8, 3)


@pytest.fixture(scope='module')
def own():
    return narrow('BaseNet', shape=SHAPE)


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / 'predictions').mkdir()
    return Workdir(tmp_path)


ARRAYS = Arrays(images(5, SHAPE), np.array([0, 4, 2, 2, 1], np.int32))


def computed(workdir, own, arrays=ARRAYS):
    """Returns the predictions, and whether they were computed, not read."""
    path = workdir.predictions('test')
    before = path.stat().st_mtime_ns if path.exists() else 0
    predicted = predictions.of(workdir, own, 'test', arrays)
    return predicted, path.stat().st_mtime_ns != before


def test_predictions_are_computed_once(workdir, own):
    first, new = computed(workdir, own)
    again, new_again = computed(workdir, own)
    assert (new, new_again) == (True, False)
    np.testing.assert_array_equal(again.logits, first.logits)
    np.testing.assert_array_equal(again.labels, ARRAYS.labels)
    assert again[2:] == first[2:]


def test_predictions_of_other_weights_images_or_preprocessing_are_computed_again(workdir, own):
    computed(workdir, own)
    doubled = jax.tree.map(lambda leaf: leaf * 2, own.variables)
    lighter = own.normalizer._replace(mean=own.normalizer.mean / 2)
    others = [
        (own._replace(variables=doubled), ARRAYS),
        (own._replace(normalizer=lighter), ARRAYS),
        (own, ARRAYS._replace(images=255 - ARRAYS.images)),
        (own, ARRAYS._replace(labels=ARRAYS.labels[::-1].copy())),
    ]
    for classifier, arrays in others:
        assert computed(workdir, classifier, arrays)[1]
        assert not computed(workdir, classifier, arrays)[1]


SOUND = {
    'labels': np.array([0, 1], np.int32),
    'logits': np.array([[0.5, 0.1, 0.2], [0.5, 1.0, 0.0]], np.float32),
    'sha256': 'ab',
    'data': 'cd',
    'preprocessing': 'ef',
}


def read(workdir, **changes):
    files.write_arrays(workdir.predictions('test'), SOUND | changes)
    return predictions.read(workdir, 'test')


def test_what_is_kept_is_read(workdir):
    kept = read(workdir)
    np.testing.assert_array_equal(kept.logits, SOUND['logits'])
    np.testing.assert_array_equal(kept.labels, SOUND['labels'])
    assert (kept.sha256, kept.data, kept.preprocessing) == ('ab', 'cd', 'ef')


def test_rounded_predictions_are_log_probabilities_in_half_precision():
    logits = np.random.default_rng(0).normal(0, 3, (1000, 10)).astype(np.float32)
    exact = predictions.Predictions(np.zeros(1000, np.int32), logits, 'ab', 'cd', 'ef')
    rounded = predictions.rounded(exact)
    assert rounded.logits.dtype == np.float16
    np.testing.assert_allclose(rounded.logits, exact.log_probabilities, rtol=2**-11, atol=1e-7)
    np.testing.assert_array_equal(rounded.classes, exact.classes)
    assert rounded[2:] == exact[2:]


def test_rounding_does_not_change_a_class_by_a_tie():
    logits = np.array([[0.5, 0.50001, 0.1], [0.50001, 0.5, 0.1], [9, -9, -9]], np.float32)
    exact = predictions.Predictions(np.zeros(3, np.int32), logits, '')
    assert exact.log_probabilities.astype(np.float16)[0].argmax() == 0
    assert predictions.rounded(exact).classes.tolist() == [1, 0, 0]


def test_rounded_predictions_are_read(workdir):
    assert read(workdir, logits=SOUND['logits'].astype(np.float16)).classes.tolist() == [0, 1]


def test_nothing_is_read_where_nothing_is_kept(workdir):
    assert predictions.read(workdir, 'test') is None


@pytest.mark.parametrize(
    'changes',
    [
        {'logits': SOUND['logits'][0]},
        {'logits': SOUND['logits'][:1]},
        {'logits': SOUND['logits'].astype(np.float64)},
        {'labels': SOUND['labels'].astype(np.float32)},
        {'labels': SOUND['labels'][:, None]},
    ],
)
def test_arrays_that_do_not_fit_each_other_are_not_read(workdir, changes):
    assert read(workdir, **changes) is None


@pytest.mark.parametrize('name', SOUND)
def test_a_file_of_an_older_version_is_not_read(workdir, name):
    files.write_arrays(
        workdir.predictions('test'), {key: SOUND[key] for key in SOUND if key != name}
    )
    assert predictions.read(workdir, 'test') is None


@pytest.mark.parametrize('name', ['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT'])
def test_a_workdir_that_is_read_only_or_full_is_a_warning(workdir, name, caplog):
    number = getattr(errno, name)
    with (
        caplog.at_level(logging.WARNING, 'cifar_jax'),
        predictions.may_be_unwritable(workdir, 'results'),
    ):
        raise OSError(number, 'no')
    reason = os.strerror(number)
    assert caplog.messages == [f'{workdir.path}: {reason}, so that the results are not kept there']


def test_another_error_of_a_write_is_raised(workdir):
    with (
        pytest.raises(OSError, match='broken'),
        predictions.may_be_unwritable(workdir, 'results'),
    ):
        raise OSError(errno.EIO, 'broken')


def test_the_metrics_are_those_of_the_logits():
    kept = predictions.Predictions(SOUND['labels'], SOUND['logits'], '')
    np.testing.assert_allclose(kept.probabilities.sum(-1), 1)
    loss = -np.log(kept.probabilities[[0, 1], [0, 1]]).mean()
    assert predictions.mean_metrics(kept) == {
        'loss': pytest.approx(loss),
        'accuracy': 1.0,
        'top5': 1.0,
    }
    assert kept.classes.tolist() == [0, 1]


@pytest.mark.parametrize(('count', 'devices', 'size'), [(3, 2, 4), (5, 1, 5), (1, 4, 4)])
def test_a_batch_is_rounded_up_to_what_the_devices_share_evenly(count, devices, size):
    own, seen = narrow('BaseNet', shape=SHAPE, devices=devices), []

    def compute(variables, inputs, numbers):
        seen.append(inputs.shape[0])
        return {'mean': inputs.mean((1, 2, 3)), 'number': numbers}

    numbers = np.arange(7, dtype=np.int32)
    result = predictions.over_batches(own, compute, count)(images(7, SHAPE), numbers)
    assert seen == [size]
    np.testing.assert_array_equal(result['number'], numbers)
    expected = ((images(7, SHAPE) / 255 - 0.4) / 0.3).mean((1, 2, 3))
    np.testing.assert_allclose(result['mean'], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('largest', 'count', 'size'), [(500, 5, 8), (4, 5, 4)])
def test_few_images_take_a_small_batch(own, largest, count, size, monkeypatch):
    sizes = []
    monkeypatch.setitem(own.config, 'eval_batch_size', largest)
    monkeypatch.setattr(
        predictions, 'over_batches', lambda *arguments: sizes.append(arguments[2]) or np.asarray
    )
    predictions.make_logits(own, count)
    assert sizes == [size]


def test_batch_norm_uses_its_moving_statistics():
    own, batch = narrow('ImprovedNet after', shape=SHAPE), images(4, SHAPE)
    logits = predictions.make_logits(own, 4)
    np.testing.assert_allclose(logits(batch[2:3]), logits(batch)[2:3], rtol=1e-5, atol=1e-5)
