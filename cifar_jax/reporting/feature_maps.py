"""Feature maps of each block of a network, for one image."""

import textwrap

import numpy as np
from jaxtyping import Float32, Int, UInt8
from matplotlib.axes import Axes

from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.feature_maps import feature_maps
from cifar_jax.reporting import images, panels
from cifar_jax.reporting.panels import GAP, MARGIN
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.style import GREY, WIDTH

NAME = 'feature_maps'
COLUMNS = 8
_CELL = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
_HEADING = 0.2
_ROW = _HEADING + _CELL + 0.1
_IMAGE = 1.2
_WORDS = (
    'Each row: the channels of a block with the largest mean absolute values, strongest first. '
    'Each map has its own scale, from violet (lowest value) to yellow (highest value)'
)
_SIGNED = '; maps with negative values: red below 0, white at 0, blue above'


def draw(
    classifier: Classifier, image: UInt8[np.ndarray, 'height width channels'], description: str
) -> Picture:
    """Draws the strongest channels of each block for an image, one row per block.

    Args:
      description: of the image, such as 'test image 7, cat'.
    """
    title = f'Feature maps of {description}'
    maps = {name: batch[0] for name, batch in feature_maps(classifier, image[None]).items()}
    if not maps:
        return panels.sentence(
            NAME, title, 'This network has no convolution: it has no feature maps.'
        )
    figure = panels.figure(_IMAGE + 2 * MARGIN + len(maps) * _ROW)
    images.show(panels.panel(figure, MARGIN, MARGIN, _IMAGE, _IMAGE), image)
    signed = any(block.min() < 0 for block in maps.values())
    words = _WORDS + (_SIGNED if signed else '') + '.'
    panels.write(figure, _IMAGE + 2.5 * MARGIN, MARGIN, textwrap.fill(words, 47))
    for row, (name, block) in enumerate(maps.items()):
        top = _IMAGE + 2 * MARGIN + row * _ROW
        size = 'x'.join(map(str, block.shape))
        panels.write(figure, MARGIN, top, name, fontweight='bold')
        panels.write(figure, WIDTH - MARGIN, top, size, ha='right', color=GREY)
        for column, channel in enumerate(strongest(block)):
            left = MARGIN + column * (_CELL + GAP)
            axes = panels.panel(figure, left, top + _HEADING, _CELL, _CELL)
            _show_map(axes, block[..., channel])
    return Picture(NAME, title, _alt(maps, description), figure)


def strongest(maps: Float32[np.ndarray, 'rows columns features']) -> Int[np.ndarray, 'top']:
    """Returns the channels with the largest mean absolute values, at most `COLUMNS`."""
    return np.argsort(-np.abs(maps).mean((0, 1)), kind='stable')[:COLUMNS]


def _show_map(axes: Axes, values: Float32[np.ndarray, 'rows columns']) -> None:
    if values.min() < 0:
        limit = np.abs(values).max()
        axes.imshow(values, cmap='RdBu', vmin=-limit, vmax=limit, interpolation='nearest')
    else:
        axes.imshow(values, cmap='viridis', interpolation='nearest')


def _alt(maps: dict[str, np.ndarray], description: str) -> str:
    parts = []
    for name, block in maps.items():
        first = strongest(block)[0]
        size = 'x'.join(map(str, block.shape))
        mean = np.abs(block[..., first]).mean()
        parts.append(f'{name}, {size}, strongest channel {first} (mean absolute value {mean:.3g})')
    return f'The strongest feature maps of each block for {description}: {"; ".join(parts)}.'
