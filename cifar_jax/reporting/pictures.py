"""The sections and pictures of a report, in order; add new pictures here."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cifar_jax.data import splits
from cifar_jax.reporting import (
    architecture,
    calibration,
    class_counts,
    confusion,
    curves,
    errors,
    examples,
    feature_maps,
    filters,
    grad_cam_overlays,
    samples,
)
from cifar_jax.reporting.facts import Run
from cifar_jax.reporting.picture import Picture

SEED = 0  # fixed, so that every report of a split shows the same images
EXPLAINED = 5  # number of images with Grad-CAM


class Section(NamedTuple):
    """A heading of the page, and a function that draws the pictures below it."""

    title: str
    draw: Callable[[Run], Iterable[Picture]]


def _training(run: Run) -> Iterable[Picture]:
    yield from curves.draw(run.lines, run.config.train.monitor)


def _data(run: Run) -> Iterable[Picture]:
    yield samples.draw(run.evaluated.data.train, run.classes)
    yield class_counts.draw(run.evaluated.data)


def _accuracy(run: Run) -> Iterable[Picture]:
    yield errors.total(run.by_class)
    yield calibration.draw(run.reliability)


def _classes(run: Run) -> Iterable[Picture]:
    yield from errors.by_class(run.by_class, run.classes)


def _confusion(run: Run) -> Iterable[Picture]:
    yield from confusion.draw(run.confusion, run.classes)


def _examples(run: Run) -> Iterable[Picture]:
    yield examples.sample(run.evaluated.arrays, run.evaluated.predictions, run.classes)
    yield from examples.mistakes(run.evaluated.arrays, run.evaluated.predictions, run.classes)


def _network(run: Run) -> Iterable[Picture]:
    shape = run.evaluated.arrays.images.shape[1:]
    yield architecture.draw(run.evaluated.classifier, shape)
    yield filters.draw(run.evaluated.classifier, shape)


def _explanations(run: Run) -> Iterable[Picture]:
    classifier, arrays = run.evaluated.classifier, run.evaluated.arrays
    rows = splits.sample(arrays.labels, EXPLAINED, SEED)
    images, labels = arrays.take(rows)
    description = f'{run.evaluated.split} image {rows[0]}, {run.classes[labels[0]]}'
    yield feature_maps.draw(classifier, images[0], description)
    yield grad_cam_overlays.draw(classifier, images, labels)


SECTIONS: Sequence[Section] = (
    Section('Training', _training),
    Section('Data', _data),
    Section('Accuracy and calibration', _accuracy),
    Section('Classes', _classes),
    Section('Confusion', _confusion),
    Section('Examples', _examples),
    Section('Network', _network),
    Section('What the network looks at', _explanations),
)
