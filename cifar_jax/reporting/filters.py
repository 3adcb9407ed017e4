"""What the first convolution of a network looks for."""

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
_LARGEST = 0.8  # inches: a few filters need not fill the width
_WORDS = 0.26


def draw(classifier: Classifier, image_shape: Sequence[int]) -> Picture:
    """Returns the kernels of the convolution that reads the (h, w, c) images, as tiles.

    Those of three channels are tiles in red, green and blue, of others the mean of their channels.
    """
    kernels = first_kernels(classifier, image_shape)
    if kernels is None:
        return panels.sentence(NAME, TITLE, 'This network has no convolution: it has no filters.')
    height, width, channels, count = kernels.shape
    columns = min(COLUMNS, count)
    cell = min(_LARGEST, (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns)
    rows = -(-count // columns)
    step = cell * height / width + GAP
    figure = panels.figure(_WORDS + MARGIN + rows * step + MARGIN)
    zero = 'grey is 0' if channels == 3 else 'red is below 0, white 0, blue above'
    panels.write(figure, MARGIN, MARGIN, f'Each filter has a scale of its own: {zero}.')
    for place in range(count):
        row, column = divmod(place, columns)
        left, top = MARGIN + column * (cell + GAP), _WORDS + MARGIN + row * step
        axes = panels.panel(figure, left, top, cell, step - GAP)
        _show(axes, kernels[..., place])
    largest = np.abs(kernels).max((0, 1, 2))
    weak, strong = largest.argmin(), largest.argmax()
    alt = (
        f'{count} filters of {height}x{width}x{channels}, the first convolution of the network. '
        f'Their largest absolute weights go from {largest[weak]:.3g} (filter {weak}) to '
        f'{largest[strong]:.3g} (filter {strong}).'
    )
    return Picture(NAME, TITLE, alt, figure)


def first_kernels(
    classifier: Classifier, image_shape: Sequence[int]
) -> Float32[np.ndarray, 'rows columns channels filters'] | None:
    """Returns the kernels of the convolution that is computed first; None without one."""
    _, modules = summary.trace(classifier.model, image_shape)
    path = next((row.path for row in modules if row.kind == 'Conv'), None)
    if path is None:
        return None
    own = classifier.variables['params']
    for name in path:
        own = own[name]
    return np.asarray(own['kernel'], np.float32)


def tile(
    kernel: Float32[np.ndarray, 'rows columns channels'],
) -> Float[np.ndarray, 'rows columns channels']:
    """Returns a filter in [0, 1], 0 at 0.5 and its largest absolute weight at 0 or 1.

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
