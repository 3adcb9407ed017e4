"""Training images and their labels."""

from collections.abc import Sequence

import numpy as np

from cifar_jax.data.arrays import Arrays
from cifar_jax.reporting import images, style
from cifar_jax.reporting.picture import Picture

DRAW = 0  # the seed: the same images in every report of a data set


def draw(train: Arrays, classes: Sequence[str]) -> Picture:
    """Returns 16 training images, drawn at random, with the names of their classes."""
    shown = min(images.ROWS * images.COLUMNS, len(train.labels))
    rows = np.random.default_rng(DRAW).choice(len(train.labels), shown, replace=False)
    names = [style.short(classes[label]) for label in train.labels[rows]]
    figure = images.grid([train.images[row] for row in rows], names)
    alt = f'{shown} training images and their classes: {", ".join(names)}.'
    return Picture('samples', 'Training images', alt, figure)
