"""The pictures that TensorBoard shows of a run under way: some of those of its report."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cifar_jax.data.arrays import Arrays
from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.predictions import Predictions, make_logits
from cifar_jax.reporting import (
    confusion,
    feature_maps,
    filters,
    grad_cam_overlays,
    guesses,
    scores,
    style,
)
from cifar_jax.reporting.picture import Picture

IMAGES = 1000  # of the split that are looked at
EXPLAINED = 3


def draw_parts(arrays: Arrays, **parts: Any) -> Iterator[Picture]:
    """Yields the pictures of `draw`, of a classifier that is given by its parts."""
    return draw(Classifier(**parts), arrays)


def draw(classifier: Classifier, arrays: Arrays) -> Iterator[Picture]:
    """Yields the confusion matrices, sample predictions, filters, feature maps and Grad-CAM.

    Args:
      arrays: images that the network is not trained on, of which the first `IMAGES` are taken.
    """
    images, labels = (np.asarray(part[:IMAGES]) for part in arrays)
    found = Predictions(labels, make_logits(classifier)(images), '')
    classes = classifier.classes
    with style.applied():
        yield from confusion.draw(scores.confusion(labels, found.classes, len(classes)), classes)
        yield guesses.sample(Arrays(images, labels), found, classes)
        yield filters.draw(classifier, images.shape[1:])
        yield feature_maps.draw(classifier, images[0], classes[labels[0]])
        yield grad_cam_overlays.draw(classifier, images[:EXPLAINED], labels[:EXPLAINED])
