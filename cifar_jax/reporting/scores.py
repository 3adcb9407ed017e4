"""Scores of predictions: confusion matrix, per-class scores and calibration."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15  # of the expected calibration error, as in Guo et al.


class ByClass(NamedTuple):
    """Scores of each class; NaN where the denominator is 0."""

    images: Int[np.ndarray, 'classes']
    errors: Int[np.ndarray, 'classes']
    precision: Float[
        np.ndarray, 'classes'
    ]  # correct predictions of the class / all predictions of it
    recall: Float[np.ndarray, 'classes']  # correct predictions of the class / its images
    f1: Float[np.ndarray, 'classes']


class Reliability(NamedTuple):
    """Predictions in bins of equal width by confidence; NaN where a bin is empty."""

    edges: Float[np.ndarray, 'edges']
    images: Int[np.ndarray, 'bins']
    confidence: Float[np.ndarray, 'bins']  # mean of the predicted class's probability
    accuracy: Float[np.ndarray, 'bins']

    @property
    def error(self) -> float:
        r"""The expected calibration error.

        .. math:: \sum_b \frac{n_b}{n} |\text{accuracy}_b - \text{confidence}_b|

        References:
          Guo et al., 2017, On Calibration of Modern Neural Networks, equation 3.
        """
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.images * gaps).sum() / self.images.sum())


class ConfusedPair(NamedTuple):
    """The number of images of one class that are predicted as another."""

    true: int
    predicted: int
    errors: int
    images: int  # of the true class


def confusion(
    labels: Int[np.ndarray, 'n'], predicted: Int[np.ndarray, 'n'], classes: int
) -> Int[np.ndarray, 'classes classes']:
    """Returns the counts of images by true class (rows) and predicted class (columns)."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, predicted, labels=range(classes))


def by_class(
    labels: Int[np.ndarray, 'n'], predicted: Int[np.ndarray, 'n'], classes: int
) -> ByClass:
    """Returns the scores of each class."""
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, images = precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=np.nan
    )
    correct = confusion(labels, predicted, classes).diagonal()
    return ByClass(images, images - correct, precision, recall, f1)


def reliability(
    labels: Int[np.ndarray, 'n'], probabilities: Float[np.ndarray, 'n classes']
) -> Reliability:
    """Returns the accuracy of predictions by confidence; a bin includes its upper edge."""
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.searchsorted(edges[1:-1], confidence)
    images = np.bincount(bins, minlength=BINS)
    sums = (np.bincount(bins, weights=values, minlength=BINS) for values in (confidence, correct))
    means = (np.divide(total, images, np.full(BINS, np.nan), where=images > 0) for total in sums)
    return Reliability(edges, images, *means)


def most_confused(
    confusion: Int[np.ndarray, 'classes classes'], count: int = 10
) -> list[ConfusedPair]:
    """Returns the `count` pairs of classes with the most errors, most errors first."""
    images = confusion.sum(axis=1)
    errors = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-errors, axis=None, kind='stable')[:count]
    pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [
        ConfusedPair(int(true), int(predicted), int(errors[true, predicted]), int(images[true]))
        for true, predicted in pairs
        if errors[true, predicted]
    ]
