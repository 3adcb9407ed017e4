"""What predictions are worth, class by class and by how sure they are."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15  # of the expected calibration error, as Guo et al. have it


class ByClass(NamedTuple):
    """A number for each class; NaN where there is nothing to divide by."""

    images: Int[np.ndarray, 'classes']
    errors: Int[np.ndarray, 'classes']
    precision: Float[np.ndarray, 'classes']  # of what was taken for it, the share that is it
    recall: Float[np.ndarray, 'classes']  # of its images, the share that was found: its accuracy
    f1: Float[np.ndarray, 'classes']


class Reliability(NamedTuple):
    """Predictions in bins of equal width by their certainty; NaN where a bin is empty."""

    edges: Float[np.ndarray, 'edges']
    images: Int[np.ndarray, 'bins']
    certainty: Float[np.ndarray, 'bins']  # the mean of the highest probabilities
    accuracy: Float[np.ndarray, 'bins']

    @property
    def error(self) -> float:
        r"""The expected calibration error.

        .. math:: \sum_b \frac{n_b}{n} |\text{accuracy}_b - \text{certainty}_b|

        References:
          Guo et al., 2017, On Calibration of Modern Neural Networks, equation 3.
        """
        gaps = np.nan_to_num(np.abs(self.accuracy - self.certainty))
        return float((self.images * gaps).sum() / self.images.sum())


class Mixup(NamedTuple):
    """How often images of a class were taken for another one."""

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
    """Returns the numbers of each class."""
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, images = precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=np.nan
    )
    found = confusion(labels, predicted, classes).diagonal()
    return ByClass(images, images - found, precision, recall, f1)


def reliability(
    labels: Int[np.ndarray, 'n'], probabilities: Float[np.ndarray, 'n classes']
) -> Reliability:
    """Returns how often predictions of each certainty are right; a bin includes its upper edge."""
    certainty = probabilities.max(axis=-1)
    right = probabilities.argmax(axis=-1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    own = np.searchsorted(edges[1:-1], certainty)
    images = np.bincount(own, minlength=BINS)
    sums = (np.bincount(own, weights=values, minlength=BINS) for values in (certainty, right))
    means = (np.divide(total, images, np.full(BINS, np.nan), where=images > 0) for total in sums)
    return Reliability(edges, images, *means)


def mixups(confusion: Int[np.ndarray, 'classes classes'], most: int = 10) -> list[Mixup]:
    """Returns the pairs of classes with the most errors, the most first."""
    images = confusion.sum(axis=1)
    errors = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-errors, axis=None, kind='stable')[:most]
    pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [
        Mixup(int(true), int(predicted), int(errors[true, predicted]), int(images[true]))
        for true, predicted in pairs
        if errors[true, predicted]
    ]
