"""Sample training images and their labels."""

from collections.abc import Sequence

from cifar_jax.data import splits
from cifar_jax.data.arrays import Arrays
from cifar_jax.reporting import images, style
from cifar_jax.reporting.picture import Picture

SEED = 0  # fixed, so that every report of a data set shows the same images


def draw(train: Arrays, classes: Sequence[str]) -> Picture:
    """Draws 16 training images at random over the classes, with the names of their classes."""
    rows = splits.sample(train.labels, images.ROWS * images.COLUMNS, SEED)
    names = [style.short(classes[label]) for label in train.labels[rows]]
    figure = images.grid([train.images[row] for row in rows], names)
    alt = f'{len(rows)} training images and their classes: {", ".join(names)}.'
    return Picture('samples', 'Training images', alt, figure)
