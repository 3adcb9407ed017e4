"""Confusion matrix, per-class scores and calibration, compared with scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics
from sklearn.calibration import calibration_curve

from cifar_jax.reporting import scores


@pytest.fixture(params=[3, 10, 100])
def predictions(request):
    """Labels and probabilities of 2,000 images, mostly correct."""
    random = np.random.default_rng(request.param)
    labels = random.integers(request.param, size=2000)
    logits = 2 * random.normal(size=(2000, request.param))
    logits[np.arange(2000), labels] += 3
    return labels, softmax(logits, axis=-1)


def test_the_confusion_matrix_counts_every_pair(predictions):
    labels, probabilities = predictions
    classes = probabilities.shape[1]
    by_hand = np.zeros((classes, classes), int)
    for true, predicted in zip(labels, probabilities.argmax(-1), strict=True):
        by_hand[true, predicted] += 1
    matrix = scores.confusion(labels, probabilities.argmax(-1), classes)
    np.testing.assert_array_equal(matrix, by_hand)
    np.testing.assert_array_equal(
        matrix, metrics.confusion_matrix(labels, probabilities.argmax(-1), labels=range(classes))
    )


def test_per_class_scores_equal_those_of_scikit_learn(predictions):
    labels, probabilities = predictions
    predicted, classes = probabilities.argmax(-1), probabilities.shape[1]
    by_class = scores.by_class(labels, predicted, classes)
    expected = metrics.precision_recall_fscore_support(labels, predicted, labels=range(classes))
    for ours, theirs in zip(
        (by_class.precision, by_class.recall, by_class.f1, by_class.images), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert by_class.errors.sum() == (labels != predicted).sum()
    np.testing.assert_allclose(1 - by_class.errors / by_class.images, by_class.recall)


def test_a_class_without_images_has_no_recall():
    labels, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    by_class = scores.by_class(labels, predicted, 3)
    assert np.isnan(by_class.recall[2])
    assert np.isnan(by_class.precision[2])
    assert by_class.images.tolist() == [2, 1, 0]
    assert by_class.errors.tolist() == [1, 0, 0]


def test_the_bins_equal_those_of_scikit_learn(predictions):
    labels, probabilities = predictions
    reliability = scores.reliability(labels, probabilities)
    right, confidence = calibration_curve(
        probabilities.argmax(-1) == labels, probabilities.max(-1), n_bins=15
    )
    filled = reliability.images > 0
    np.testing.assert_allclose(reliability.accuracy[filled], right)
    np.testing.assert_allclose(reliability.confidence[filled], confidence)
    assert np.isnan(reliability.accuracy[~filled]).all()
    assert reliability.images.sum() == len(labels)


def test_the_calibration_error_is_the_mean_gap_of_the_bins(predictions):
    labels, probabilities = predictions
    gaps = []
    for low in range(15):
        in_bin = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if low / 15 < row.max() <= (low + 1) / 15
        ]
        if in_bin:
            confidence, right = np.mean(in_bin, axis=0)
            gaps.append(len(in_bin) / len(labels) * abs(confidence - right))
    assert scores.reliability(labels, probabilities).error == pytest.approx(sum(gaps))


def test_confident_correct_predictions_are_calibrated():
    reliability = scores.reliability(np.arange(4), np.eye(4))
    assert reliability.error == 0
    assert reliability.images[-1] == 4


def test_the_most_confused_pairs_come_first():
    matrix = np.array([[90, 3, 7], [0, 50, 0], [12, 0, 1]])
    assert scores.most_confused(matrix, 2) == [
        scores.ConfusedPair(2, 0, 12, 13),
        scores.ConfusedPair(0, 2, 7, 100),
    ]
    assert len(scores.most_confused(matrix)) == 3
    assert scores.most_confused(np.diag([5, 5])) == []
