"""Confusion, numbers by class and calibration, against scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics
from sklearn.calibration import calibration_curve

from cifar_jax.reporting import scores


@pytest.fixture(params=[3, 10, 100])
def judged(request):
    """Labels and probabilities of 2,000 images that are right more often than not."""
    random = np.random.default_rng(request.param)
    labels = random.integers(request.param, size=2000)
    logits = 2 * random.normal(size=(2000, request.param))
    logits[np.arange(2000), labels] += 3
    return labels, softmax(logits, axis=-1)


def test_the_confusion_matrix_counts_every_pair(judged):
    labels, probabilities = judged
    classes = probabilities.shape[1]
    by_hand = np.zeros((classes, classes), int)
    for true, predicted in zip(labels, probabilities.argmax(-1), strict=True):
        by_hand[true, predicted] += 1
    found = scores.confusion(labels, probabilities.argmax(-1), classes)
    np.testing.assert_array_equal(found, by_hand)
    np.testing.assert_array_equal(
        found, metrics.confusion_matrix(labels, probabilities.argmax(-1), labels=range(classes))
    )


def test_the_numbers_of_a_class_are_scikit_learn_s(judged):
    labels, probabilities = judged
    predicted, classes = probabilities.argmax(-1), probabilities.shape[1]
    found = scores.by_class(labels, predicted, classes)
    wanted = metrics.precision_recall_fscore_support(labels, predicted, labels=range(classes))
    for ours, theirs in zip(
        (found.precision, found.recall, found.f1, found.images), wanted, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert found.errors.sum() == (labels != predicted).sum()
    np.testing.assert_allclose(1 - found.errors / found.images, found.recall)


def test_a_class_without_images_has_no_recall():
    labels, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    found = scores.by_class(labels, predicted, 3)
    assert np.isnan(found.recall[2])
    assert np.isnan(found.precision[2])
    assert found.images.tolist() == [2, 1, 0]
    assert found.errors.tolist() == [1, 0, 0]


def test_the_bins_are_those_of_scikit_learn_s_calibration_curve(judged):
    labels, probabilities = judged
    found = scores.reliability(labels, probabilities)
    right, certainty = calibration_curve(
        probabilities.argmax(-1) == labels, probabilities.max(-1), n_bins=15
    )
    filled = found.images > 0
    np.testing.assert_allclose(found.accuracy[filled], right)
    np.testing.assert_allclose(found.certainty[filled], certainty)
    assert np.isnan(found.accuracy[~filled]).all()
    assert found.images.sum() == len(labels)


def test_the_calibration_error_is_the_mean_gap_of_the_bins(judged):
    labels, probabilities = judged
    gaps = []
    for low in range(15):
        own = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if low / 15 < row.max() <= (low + 1) / 15
        ]
        if own:
            certainty, right = np.mean(own, axis=0)
            gaps.append(len(own) / len(labels) * abs(certainty - right))
    assert scores.reliability(labels, probabilities).error == pytest.approx(sum(gaps))


def test_who_is_always_sure_and_right_is_calibrated():
    found = scores.reliability(np.arange(4), np.eye(4))
    assert found.error == 0
    assert found.images[-1] == 4


def test_the_most_confused_pairs_come_first_and_hits_are_none():
    matrix = np.array([[90, 3, 7], [0, 50, 0], [12, 0, 1]])
    assert scores.mixups(matrix, 2) == [scores.Mixup(2, 0, 12, 13), scores.Mixup(0, 2, 7, 100)]
    assert len(scores.mixups(matrix)) == 3
    assert scores.mixups(np.diag([5, 5])) == []
