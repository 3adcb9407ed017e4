"""Pictures for TensorBoard during training: a part of those in the report."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cifar_jax.data.arrays import Arrays
from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.predictions import Predictions, make_logits
from cifar_jax.reporting import (
    confusion,
    examples,
    feature_maps,
    filters,
    grad_cam_overlays,
    scores,
    style,
)
from cifar_jax.reporting.picture import Picture

IMAGES = 1000  # number of images that the pictures are computed from
EXPLAINED = 3  # number of images with Grad-CAM


def draw_parts(arrays: Arrays, **parts: Any) -> Iterator[Picture]:
    """Yields the pictures of `draw`, of a classifier that is given by its parts."""
    return draw(Classifier(**parts), arrays)


def draw(classifier: Classifier, arrays: Arrays) -> Iterator[Picture]:
    """Yields the confusion matrices, sample predictions, filters, feature maps and Grad-CAM.

    Args:
      arrays: images that the network is not trained on; the first `IMAGES` are used.
    """
    images, labels = (np.asarray(part[:IMAGES]) for part in arrays)
    predictions = Predictions(labels, make_logits(classifier)(images), '')
    classes = classifier.classes
    with style.applied():
        yield from confusion.draw(
            scores.confusion(labels, predictions.classes, len(classes)), classes
        )
        yield examples.sample(Arrays(images, labels), predictions, classes)
        yield filters.draw(classifier, images.shape[1:])
        yield feature_maps.draw(classifier, images[0], classes[labels[0]])
        yield grad_cam_overlays.draw(classifier, images[:EXPLAINED], labels[:EXPLAINED])
