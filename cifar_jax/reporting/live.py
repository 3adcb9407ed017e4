"""Pictures for TensorBoard during training: a part of those in the report."""

from collections.abc import Iterator

from cifar_jax.data import splits
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
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
from cifar_jax.training import parallel
from cifar_jax.training.trainer import Plan, Variables

SEED = 0  # fixed, so that the pictures of all epochs show the same images
IMAGES = 1000  # number of images that the pictures are computed from
EXPLAINED = 3  # number of images with Grad-CAM


def draw_run(plan: Plan, data: Prepared, step: int, variables: Variables) -> Iterator[Picture]:
    """Yields the pictures of a run at a step, of validation images where there are any.

    The test images are never shown, since a choice could then rest on them.
    """
    # Only one process draws.
    mesh = parallel.of_process(plan.mesh)
    rest = data.normalizer, data.classes, plan.dtype, mesh, step
    classifier = Classifier(plan.config, plan.model, variables, *rest)
    return draw(classifier, data.validation or data.train)


def draw(classifier: Classifier, arrays: Arrays) -> Iterator[Picture]:
    """Yields the confusion matrices, sample predictions, filters, feature maps and Grad-CAM.

    For features in the place of images, the confusion matrices alone.

    Args:
      arrays: images that the network is not trained on, of which `IMAGES` are drawn over the
        classes.
    """
    rows = splits.sample(arrays.labels, IMAGES, SEED)
    images, labels = arrays.images[rows], arrays.labels[rows]
    predictions = Predictions(labels, make_logits(classifier, len(labels))(images), '')
    classes = classifier.classes
    with style.applied():
        yield from confusion.draw(
            scores.confusion(labels, predictions.classes, len(classes)), classes
        )
        if not arrays.are_pixels:
            return
        yield examples.sample(Arrays(images, labels), predictions, classes)
        yield filters.draw(classifier, images.shape[1:])
        yield feature_maps.draw(classifier, images[0], classes[labels[0]])
        yield grad_cam_overlays.draw(classifier, images[:EXPLAINED], labels[:EXPLAINED])
