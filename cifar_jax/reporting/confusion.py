"""Confusion matrices."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

from cifar_jax.reporting import scores, style
from cifar_jax.reporting.picture import Picture


def draw(
    matrix: Int[np.ndarray, 'classes classes'], classes: Sequence[str]
) -> tuple[Picture, Picture]:
    """Draws the confusion matrix with true classes as columns, and again without the diagonal.

    Args:
      matrix: from `scores.confusion`, with true classes as rows.
    """
    images, correct = int(matrix.sum()), int(matrix.trace())
    alt = (
        f'Predicted against true class of {images:,} images in {len(classes)} classes: '
        f'{correct:,} on the diagonal, {images - correct:,} off the diagonal.'
    )
    full = Picture('confusion', 'Confusion matrix', alt, _figure(matrix, matrix, classes))
    errors = matrix - np.diag(matrix.diagonal())
    alt = 'The confusion matrix without its diagonal. '
    alt += '; '.join(sentences(scores.most_confused(matrix, 3), classes)) or 'There are no errors'
    return full, Picture(
        'confusion_errors', 'Confusion matrix: errors', f'{alt}.', _figure(matrix, errors, classes)
    )


def sentences(pairs: Sequence[scores.ConfusedPair], classes: Sequence[str]) -> list[str]:
    """Returns lines such as 'cat predicted as dog: 123 of 1,000'."""
    return [
        f'{classes[p.true]} predicted as {classes[p.predicted]}: {p.errors:,} of {p.images:,}'
        for p in pairs
    ]


def _figure(matrix: np.ndarray, counts: np.ndarray, classes: Sequence[str]):
    size = len(classes)
    cell = 0.37 if size <= style.MANY_CLASSES else 0.145
    side = max(size * cell, 2.5) + 1.1
    figure = style.figure(side + 0.1, max(side, style.WIDTH))
    axes = figure.subplots()
    # Fractions of the true class, so that a rare class is as visible as a common one.
    fractions = counts / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # A matrix of zeros would give the colours no scale.
    axes.imshow(fractions.T, vmin=0, vmax=fractions.max() or 1, interpolation='nearest')
    if size <= style.MANY_CLASSES:
        _write_counts(axes, counts.T, fractions.T)
    names = style.short_names(classes)
    axes.set_xticks(range(size), names, rotation=90)
    axes.set_yticks(range(size), names)
    axes.set_xlabel('true class')
    axes.set_ylabel('predicted class')
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which='minor', color='white', lw=0.8)
    axes.tick_params(which='minor', length=0)
    return figure


def _write_counts(axes: Axes, counts: np.ndarray, fractions: np.ndarray) -> None:
    """Writes the counts that are not 0, in white on dark cells."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = 'white' if fractions[row, column] > 0.55 * fractions.max() else style.INK
            axes.text(column, row, str(count), ha='center', va='center', fontsize=9, color=colour)
