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
from cifar_jax.reporting.facts import Report
from cifar_jax.reporting.picture import Picture

SEED = 0  # fixed, so that every report of a split shows the same images
EXPLAINED = 5  # number of images with Grad-CAM


class Section(NamedTuple):
    """A heading of the page, and a function that draws the pictures below it.

    A section without pictures is left out, as those of images are for runs on features.
    """

    title: str
    draw: Callable[[Report], Iterable[Picture]]


def _training(report: Report) -> Iterable[Picture]:
    yield from curves.draw(report.run.lines, report.config.train.monitor)


def _data(report: Report) -> Iterable[Picture]:
    if report.evaluated.arrays.are_pixels:
        yield samples.draw(report.evaluated.data.train, report.classes)
    yield class_counts.draw(report.evaluated.data)


def _accuracy(report: Report) -> Iterable[Picture]:
    yield errors.total(report.by_class)
    yield calibration.draw(report.reliability)


def _classes(report: Report) -> Iterable[Picture]:
    yield from errors.by_class(report.by_class, report.classes)


def _confusion(report: Report) -> Iterable[Picture]:
    yield from confusion.draw(report.confusion, report.classes)


def _examples(report: Report) -> Iterable[Picture]:
    if not report.evaluated.arrays.are_pixels:
        return
    yield examples.sample(report.evaluated.arrays, report.evaluated.predictions, report.classes)
    yield from examples.mistakes(
        report.evaluated.arrays, report.evaluated.predictions, report.classes
    )


def _network(report: Report) -> Iterable[Picture]:
    shape = report.evaluated.arrays.images.shape[1:]
    yield architecture.draw(report.evaluated.classifier, shape)
    if report.evaluated.arrays.are_pixels:
        yield filters.draw(report.evaluated.classifier, shape)


def _explanations(report: Report) -> Iterable[Picture]:
    classifier, arrays = report.evaluated.classifier, report.evaluated.arrays
    if not arrays.are_pixels:
        return
    rows = splits.sample(arrays.labels, EXPLAINED, SEED)
    images, labels = arrays.images[rows], arrays.labels[rows]
    description = f'{report.evaluated.split} image {rows[0]}, {report.classes[labels[0]]}'
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
