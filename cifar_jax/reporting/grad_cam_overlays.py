"""Grad-CAM heat maps over images: which regions increase the scores of classes."""

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.grad_cam import Cams, cams
from cifar_jax.models import blocks
from cifar_jax.reporting import panels
from cifar_jax.reporting.images import show
from cifar_jax.reporting.panels import MARGIN
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.style import WIDTH, short

NAME, TITLE = 'grad_cam', 'Grad-CAM: regions that increase the score of a class'
_GAP = 0.1
_CELL = (WIDTH - 2 * MARGIN - 2 * _GAP) / 3
_HEADING = 0.2
_ROW = _HEADING + _CELL + 0.12
_LETTERS = 14  # of the name of a class
_POSITIONS = 4  # minimum width and height of a block's maps
_SMOOTH = 256  # pixels: smaller images are enlarged to about this size
_HEAT = (0.4, 0.8)  # the opacity of the colour for the lowest and highest values


def draw(
    classifier: Classifier,
    images: UInt8[np.ndarray, 'n height width channels'],
    labels: Int[np.ndarray, 'n'],
) -> Picture:
    """Draws Grad-CAM heat maps at the last block with maps of 4x4 or more, one row per image.

    The maps beside each image are for the most probable class and for the true class or, if the
    prediction is correct, for the second most probable one. Smaller maps do not localise anything;
    if all blocks have smaller maps, the last block is used.
    """
    convolving = [b for b in blocks.of(classifier.model, images.shape[1:]) if b.convolves]
    large = [block for block in convolving if min(block.output[:2]) >= _POSITIONS]
    if not convolving:
        return panels.sentence(NAME, TITLE, 'This network has no convolution: Grad-CAM needs one.')
    block = (large or convolving)[-1]
    heat_maps = cams(classifier, block, images, labels)
    rows, columns = block.output[:2]
    words = textwrap.wrap(
        'Left: the image and its true class. Middle: the most probable class. Right: the true '
        'class or, if the prediction is correct, the second most probable one. Yellow regions '
        'increase the score of the class, violet ones do not '
        f'(Grad-CAM at {block.name}, {rows}x{columns} positions; each map has its own scale).',
        68,
    )
    start = MARGIN + 0.17 * len(words) + 0.1
    figure = panels.figure(start + len(images) * _ROW)
    panels.write(figure, MARGIN, MARGIN, '\n'.join(words))
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        titles = [short(classifier.classes[label], _LETTERS)]
        pictures = [image]
        for place in range(2):
            titles.append(_title(classifier.classes, heat_maps, row, place, label))
            pictures.append(overlay(image, np.asarray(heat_maps.maps[row, place])))
        for column, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
            left, top = MARGIN + column * (_CELL + _GAP), start + row * _ROW
            panels.write(figure, left, top, title, fontweight='normal' if column else 'bold')
            axes = panels.panel(figure, left, top + _HEADING, _CELL, _CELL)
            show(axes, picture)
    return Picture(NAME, TITLE, _alt(classifier.classes, heat_maps, labels, block), figure)


def overlay(
    image: UInt8[np.ndarray, 'height width channels'],
    cam: Float32[np.ndarray, 'rows columns'],
) -> UInt8[np.ndarray, 'tall wide 3']:
    """Blends a grey image with a heat map, from violet (0) to yellow (its largest value).

    Small images are enlarged pixel by pixel; the map is interpolated linearly between positions.
    """
    height, width, _ = image.shape
    scale = max(1, _SMOOTH // max(height, width))
    heat = upsampled(cam / cam.max() if cam.max() > 0 else cam, (scale * height, scale * width))
    colour = matplotlib.colormaps['viridis'](heat)[..., :3]
    grey = image.mean(-1).repeat(scale, 0).repeat(scale, 1)[..., None]
    opacity = np.interp(heat, (0, 1), _HEAT)[..., None]
    return np.rint((1 - opacity) * grey + opacity * 255 * colour).astype(np.uint8)


def upsampled(
    cam: Float32[np.ndarray, 'rows columns'], size: tuple[int, int]
) -> Float[np.ndarray, 'height width']:
    """Resizes a map to (height, width), bilinearly between the centres of its positions."""
    return np.asarray(Image.fromarray(cam).resize(size[::-1], Image.Resampling.BILINEAR))


def _title(classes: Sequence[str], heat_maps: Cams, row: int, place: int, label: int) -> str:
    predicted = int(heat_maps.classes[row, place])
    probability = heat_maps.probabilities[row, place]
    mark = '' if place else (' ✓' if predicted == label else ' ✗')
    return f'{short(classes[predicted], _LETTERS)}: {probability:.0%}{mark}'


def _alt(classes: Sequence[str], heat_maps: Cams, labels: np.ndarray, block: blocks.Block) -> str:
    parts = []
    for label, (first, _), (probability, _), (cam, _) in zip(labels, *heat_maps, strict=True):
        parts.append(
            f'{classes[label]}, predicted as {classes[int(first)]} ({probability:.0%}), '
            f'{_where(cam)}'
        )
    size = 'x'.join(map(str, block.output[:2]))
    return (
        f'Grad-CAM heat maps at {block.name} ({size}) over {len(labels)} images: '
        f'{"; ".join(parts)}.'
    )


def _where(cam: Float32[np.ndarray, 'rows columns']) -> str:
    """Describes where a map has its largest value."""
    if cam.max() <= 0:
        return 'no region increases its score'
    row, column = np.unravel_index(cam.argmax(), cam.shape)
    vertical, horizontal = (
        names[3 * (2 * int(place) + 1) // (2 * size)]
        for names, place, size in zip(
            (('upper', 'middle', 'lower'), ('left', 'centre', 'right')),
            (row, column),
            cam.shape,
            strict=True,
        )
    )
    return f'strongest in the {vertical} {horizontal}'
