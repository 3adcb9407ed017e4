"""Filters of the first convolution of a network."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32
from matplotlib.axes import Axes

from cifar_jax.inference.classifier import Classifier
from cifar_jax.models import summary
from cifar_jax.reporting import panels
from cifar_jax.reporting.panels import GAP, MARGIN
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.style import WIDTH

NAME, TITLE = 'filters', 'Filters of the first convolution'
COLUMNS = 8
_MAX_CELL = 0.8  # inches: a few filters need not fill the width
_HEADING = 0.26


def draw(classifier: Classifier, image_shape: Sequence[int]) -> Picture:
    """Draws the kernels of the convolution that reads the (h, w, c) images.

    Kernels with three channels are drawn in red, green and blue; of others, the mean over channels.
    """
    kernels = first_kernels(classifier, image_shape)
    if kernels is None:
        return panels.sentence(NAME, TITLE, 'This network has no convolution: it has no filters.')
    height, width, channels, count = kernels.shape
    columns = min(COLUMNS, count)
    cell = min(_MAX_CELL, (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns)
    rows = -(-count // columns)
    step = cell * height / width + GAP
    figure = panels.figure(_HEADING + MARGIN + rows * step + MARGIN)
    zero = 'grey is 0' if channels == 3 else 'red is below 0, white is 0, blue is above'
    panels.write(figure, MARGIN, MARGIN, f'Each filter has its own scale: {zero}.')
    for index in range(count):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * (cell + GAP), _HEADING + MARGIN + row * step
        axes = panels.panel(figure, left, top, cell, step - GAP)
        _show(axes, kernels[..., index])
    largest = np.abs(kernels).max((0, 1, 2))
    weak, strong = largest.argmin(), largest.argmax()
    alt = (
        f'{count} filters of {height}x{width}x{channels}, the first convolution of the network. '
        f'Their largest absolute weights range from {largest[weak]:.3g} (filter {weak}) to '
        f'{largest[strong]:.3g} (filter {strong}).'
    )
    return Picture(NAME, TITLE, alt, figure)


def first_kernels(
    classifier: Classifier, image_shape: Sequence[int]
) -> Float32[np.ndarray, 'rows columns channels filters'] | None:
    """Returns the kernels of the first convolution, or None if there is none."""
    _, modules = summary.trace(classifier.model, image_shape)
    path = next((row.path for row in modules if row.kind == 'Conv'), None)
    if path is None:
        return None
    params = classifier.variables['params']
    for name in path:
        params = params[name]
    return np.asarray(params['kernel'], np.float32)


def tile(
    kernel: Float32[np.ndarray, 'rows columns channels'],
) -> Float[np.ndarray, 'rows columns channels']:
    """Scales a filter to [0, 1]: weight 0 becomes 0.5, the largest absolute weight 0 or 1.

    >>> tile(np.array([[[-2.0, 0.0, 1.0]]], np.float32)).tolist()
    [[[0.0, 0.5, 0.75]]]
    """
    limit = np.abs(kernel).max()
    return 0.5 + kernel / (2 * limit) if limit else np.full_like(kernel, 0.5)


def _show(axes: Axes, kernel: Float32[np.ndarray, 'rows columns channels']) -> None:
    if kernel.shape[-1] == 3:
        axes.imshow(tile(kernel), interpolation='nearest')
    else:
        mean = tile(kernel.mean(-1, keepdims=True))[..., 0]
        axes.imshow(mean, cmap='RdBu', vmin=0, vmax=1, interpolation='nearest')
