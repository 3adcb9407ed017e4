"""Where in some images a network finds what speaks for its answers."""

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

NAME, TITLE = 'grad_cam', 'What speaks for a class'
_GAP = 0.1
_CELL = (WIDTH - 2 * MARGIN - 2 * _GAP) / 3
_HEADING = 0.2
_ROW = _HEADING + _CELL + 0.12
_LETTERS = 14  # of a class's name
_POSITIONS = 4  # across, and down
_SMOOTH = 256  # pixels: smaller overlays are enlarged to about this
_HEAT = (0.4, 0.8)  # the share of the colour in an overlay, where it is lowest and highest


def draw(
    classifier: Classifier,
    images: UInt8[np.ndarray, 'n height width channels'],
    labels: Int[np.ndarray, 'n'],
) -> Picture:
    """Returns Grad-CAM's heat maps at the last block with maps of 4x4 or more, a row an image.

    Beside the image they are those of the most probable class, and of the true one, or of the next
    where the network is right. Fewer positions say nothing of where; if all blocks have fewer, it
    is the last one.
    """
    convolving = [b for b in blocks.of(classifier.model, images.shape[1:]) if b.convolves]
    large = [block for block in convolving if min(block.output[:2]) >= _POSITIONS]
    if not convolving:
        return panels.sentence(NAME, TITLE, 'This network has no convolution: Grad-CAM needs one.')
    block = (large or convolving)[-1]
    found = cams(classifier, block, images, labels)
    rows, columns = block.output[:2]
    words = textwrap.wrap(
        'Left: the image and its true class. Middle: the most probable class. Right: the true '
        'class or, if the network is right, the next. Yellow places raise the score of the class, '
        f'violet ones do not (Grad-CAM at {block.name}, {rows}x{columns} positions; each map has '
        'a scale of its own).',
        68,
    )
    start = MARGIN + 0.17 * len(words) + 0.1
    figure = panels.figure(start + len(images) * _ROW)
    panels.write(figure, MARGIN, MARGIN, '\n'.join(words))
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        titles = [short(classifier.classes[label], _LETTERS)]
        pictures = [image]
        for place in range(2):
            titles.append(_title(classifier.classes, found, row, place, label))
            pictures.append(overlay(image, np.asarray(found.maps[row, place])))
        for column, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
            left, top = MARGIN + column * (_CELL + _GAP), start + row * _ROW
            panels.write(figure, left, top, title, fontweight='normal' if column else 'bold')
            axes = panels.panel(figure, left, top + _HEADING, _CELL, _CELL)
            show(axes, picture)
    return Picture(NAME, TITLE, _alt(classifier.classes, found, labels, block), figure)


def overlay(
    image: UInt8[np.ndarray, 'height width channels'],
    cam: Float32[np.ndarray, 'rows columns'],
) -> UInt8[np.ndarray, 'tall wide 3']:
    """Returns a grey image under a heat map, from violet (0) to yellow (its largest value).

    Small images are enlarged pixel by pixel; the map is interpolated linearly between positions.
    """
    height, width, _ = image.shape
    times = max(1, _SMOOTH // max(height, width))
    heat = upsampled(cam / cam.max() if cam.max() > 0 else cam, (times * height, times * width))
    colour = matplotlib.colormaps['viridis'](heat)[..., :3]
    grey = image.mean(-1).repeat(times, 0).repeat(times, 1)[..., None]
    share = np.interp(heat, (0, 1), _HEAT)[..., None]
    return np.rint((1 - share) * grey + share * 255 * colour).astype(np.uint8)


def upsampled(
    cam: Float32[np.ndarray, 'rows columns'], size: tuple[int, int]
) -> Float[np.ndarray, 'height width']:
    """Returns a map of another (height, width), bilinear between the centres of its positions."""
    return np.asarray(Image.fromarray(cam).resize(size[::-1], Image.Resampling.BILINEAR))


def _title(classes: Sequence[str], found: Cams, row: int, place: int, label: int) -> str:
    shown, probability = int(found.classes[row, place]), found.probabilities[row, place]
    mark = '' if place else (' ✓' if shown == label else ' ✗')
    return f'{short(classes[shown], _LETTERS)}: {probability:.0%}{mark}'


def _alt(classes: Sequence[str], found: Cams, labels: np.ndarray, block: blocks.Block) -> str:
    parts = []
    for label, (first, _), (share, _), (cam, _) in zip(labels, *found, strict=True):
        parts.append(
            f'{classes[label]}, taken for {classes[int(first)]} ({share:.0%}) {_where(cam)}'
        )
    size = 'x'.join(map(str, block.output[:2]))
    return (
        f'Heat maps of Grad-CAM at {block.name} ({size}) over {len(labels)} images: '
        f'{"; ".join(parts)}.'
    )


def _where(cam: Float32[np.ndarray, 'rows columns']) -> str:
    """Returns in words where a map has its largest value."""
    if cam.max() <= 0:
        return 'by no place'
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
    return f'most by the {vertical} {horizontal}'
