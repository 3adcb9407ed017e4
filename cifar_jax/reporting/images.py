"""Grids of images with captions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_jax.reporting import style

ROWS = COLUMNS = 4


def show(axes: Axes, image: UInt8[np.ndarray, 'h w c']) -> None:
    """Draws an image without interpolation, axes or frame."""
    axes.imshow(image.squeeze(), cmap='gray', vmin=0, vmax=255, interpolation='nearest')
    style.bare(axes)


def grid(images: Sequence[np.ndarray], captions: Sequence[str]) -> Figure:
    """Draws at most 16 images, four per row, with a caption above each."""
    rows = -(-len(images) // COLUMNS)
    lines = max(text.count('\n') for text in captions) + 1
    figure = style.figure(rows * (1.15 + 0.16 * lines))
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, image, text in zip(panels[: len(images)], images, captions, strict=True):
        show(panel, image)
        panel.set_title(text, fontsize=9, pad=3)
    for panel in panels[len(images) :]:
        panel.set_axis_off()
    return figure
