"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

from cifar_jax.reporting import scores, style
from cifar_jax.reporting.picture import Picture


def draw(
    matrix: Int[np.ndarray, 'classes classes'], classes: Sequence[str]
) -> tuple[Picture, Picture]:
    """Returns the counts of true (columns) and predicted classes (rows), then the errors alone.

    Args:
      matrix: as `scores.confusion` has it: true classes are its rows.
    """
    images, hits = int(matrix.sum()), int(matrix.trace())
    alt = (
        f'Predicted against true class of {images:,} images in {len(classes)} classes: '
        f'{hits:,} on the diagonal, {images - hits:,} off it.'
    )
    whole = Picture('confusion', 'Confusion matrix', alt, _figure(matrix, matrix, classes))
    errors = matrix - np.diag(matrix.diagonal())
    alt = 'The same without the diagonal. '
    alt += '; '.join(sentences(scores.mixups(matrix, 3), classes)) or 'There is no error'
    return whole, Picture(
        'confusion_errors', 'Confusion matrix: errors', f'{alt}.', _figure(matrix, errors, classes)
    )


def sentences(mixups: Sequence[scores.Mixup], classes: Sequence[str]) -> list[str]:
    """Returns sentences such as 'cat taken for dog: 123 of 1,000'."""
    return [
        f'{classes[one.true]} taken for {classes[one.predicted]}: {one.errors:,} of {one.images:,}'
        for one in mixups
    ]


def _figure(matrix: np.ndarray, shown: np.ndarray, classes: Sequence[str]):
    size = len(classes)
    cell = 0.37 if size <= style.MANY_CLASSES else 0.145
    side = max(size * cell, 2.5) + 1.1
    figure = style.figure(side + 0.1, max(side, style.WIDTH))
    axes = figure.subplots()
    # The share of the true class, so that a rare class is as visible as a common one.
    shares = shown / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # A single cell of 0 would leave the colours without a scale.
    axes.imshow(shares.T, vmin=0, vmax=shares.max() or 1, interpolation='nearest')
    if size <= style.MANY_CLASSES:
        _count(axes, shown.T, shares.T)
    names = [style.short(name) for name in classes]
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


def _count(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Writes the counts that are not 0, white where the cell is dark."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = 'white' if shares[row, column] > 0.55 * shares.max() else style.INK
            axes.text(column, row, str(count), ha='center', va='center', fontsize=9, color=colour)
