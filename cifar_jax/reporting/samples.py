"""Sample training images and their labels."""

from collections.abc import Sequence

import numpy as np

from cifar_jax.data.arrays import Arrays
from cifar_jax.reporting import images, style
from cifar_jax.reporting.picture import Picture

SEED = 0  # fixed, so that every report of a data set shows the same images


def draw(train: Arrays, classes: Sequence[str]) -> Picture:
    """Draws 16 random training images with the names of their classes."""
    count = min(images.ROWS * images.COLUMNS, len(train.labels))
    rows = np.random.default_rng(SEED).choice(len(train.labels), count, replace=False)
    names = [style.short(classes[label]) for label in train.labels[rows]]
    figure = images.grid([train.images[row] for row in rows], names)
    alt = f'{count} training images and their classes: {", ".join(names)}.'
    return Picture('samples', 'Training images', alt, figure)
