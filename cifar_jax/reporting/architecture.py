"""Diagram of a network's blocks, from input to output."""

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_jax.inference.classifier import Classifier
from cifar_jax.models import blocks
from cifar_jax.models.blocks import Block
from cifar_jax.reporting import panels
from cifar_jax.reporting.panels import MARGIN
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.style import GREY, WIDTH

_BLUE, _ORANGE, _PALE = '#0072B2', '#E69F00', '#BBBBBB'  # Okabe and Ito, 2008
_BOXES = 1.35  # inches, the width of the box of the input image
_TEXT = MARGIN + _BOXES + 0.2
_LINE = 0.165
_ARROW = 0.24


def draw(classifier: Classifier, image_shape: Sequence[int]) -> Picture:
    """Draws the blocks of a network for (h, w, c) images, from top to bottom.

    `blocks.of` returns the same numbers.
    """
    network = blocks.of(classifier.model, image_shape)
    name = classifier.config.model.name
    total = totals(network)
    head = textwrap.wrap(f'{total} for one {_size(image_shape)} image.', 68)
    foot = textwrap.wrap(
        'The width of a box is the width of the feature map; its height is the logarithm of the '
        'number of channels. Blue: convolutions; orange: dense layers. Pooling, flattening and '
        'activations between blocks have no box: the shape beside an arrow is their output.',
        68,
    )
    heights = [_height(block) for block in network]
    first = max(0.3, _thickness(image_shape))  # features have hundreds of channels
    start = MARGIN + 0.25 + _LINE * len(head) + 0.1
    height_of_figure = (
        start + first + sum(heights) + _ARROW * len(network) + _LINE * len(foot) + 0.2
    )
    figure = panels.figure(height_of_figure)
    panels.write(figure, MARGIN, MARGIN, name, fontsize=12, fontweight='bold')
    panels.write(figure, MARGIN, MARGIN + 0.25, '\n'.join(head))
    axes = panels.panel(figure, 0.0, 0.0, WIDTH, height_of_figure)
    axes.set(xlim=(0, WIDTH), ylim=(height_of_figure, 0))
    # Images may be resized before the first block.
    inputs = network[0].input if len(network[0].input) == 3 else image_shape
    _box(axes, start, first, image_shape, inputs, _PALE)
    _heading(figure, start + 0.07, 'image', image_shape)
    top, previous = start + first, tuple(image_shape)
    for block, height in zip(network, heights, strict=True):
        _arrow(figure, top, _size(block.input) if block.input != previous else '')
        _draw(figure, top + _ARROW, height, block, inputs)
        top, previous = top + _ARROW + height, block.output
    panels.write(figure, MARGIN, top + 0.12, '\n'.join(foot), color=GREY)
    title = f'Architecture: {name}, {total}'
    alt = f'{name} for {_size(image_shape)} images: {total}. From input to output: '
    return Picture('architecture', title, f'{alt}{"; ".join(map(_words, network))}.', figure)


def totals(network: Sequence[Block]) -> str:
    """Returns the parameters, statistics and FLOPs of all blocks as text."""
    parameters, statistics, flops = (
        sum(getattr(block, field) for block in network)
        for field in ('parameters', 'statistics', 'flops')
    )
    moving = f' and {statistics:,} statistics' if statistics else ''
    return f'{parameters:,} trainable parameters{moving}, {rounded(flops)} FLOPs'


def rounded(number: int) -> str:
    """Returns a large number as text, with three significant digits.

    >>> rounded(1_226_600), rounded(999_900_000), rounded(40_000)
    ('1.23 million', '1.00 billion', '40,000')
    """
    for unit, word in ((10**9, 'billion'), (10**6, 'million')):
        if number >= 0.9995 * unit:
            return f'{number / unit:#.3g} {word}'.replace('. ', ' ')
    return f'{number:,}'


def _draw(figure: Figure, top: float, height: float, block: Block, inputs: Sequence[int]) -> None:
    colour = _BLUE if block.convolves else _ORANGE
    _box(figure.axes[0], top, height, block.output, inputs, colour)
    _heading(figure, top, block.name, block.output)
    lines = _contents(block)
    panels.write(figure, _TEXT, top + _LINE, '\n'.join(lines))
    panels.write(figure, _TEXT, top + _LINE * (1 + len(lines)), _cost(block), color=GREY)


def _heading(figure: Figure, top: float, name: str, shape: Sequence[int]) -> None:
    panels.write(figure, _TEXT, top, name, fontweight='bold')
    panels.write(figure, WIDTH - MARGIN, top, _size(shape), ha='right')


def _box(
    axes: Axes,
    top: float,
    height: float,
    shape: Sequence[int],
    inputs: Sequence[int],
    colour: str,
) -> None:
    relative_width = shape[1] / inputs[1] if len(shape) == 3 else 0
    width, thick = max(_BOXES * relative_width, 0.07), _thickness(shape)
    corner = MARGIN + (_BOXES - width) / 2, top + (height - thick) / 2
    axes.add_patch(Rectangle(corner, width, thick, facecolor=colour, edgecolor='none'))


def _arrow(figure: Figure, top: float, shape: str) -> None:
    middle = MARGIN + _BOXES / 2
    figure.axes[0].annotate(
        '',
        (middle, top + _ARROW - 0.02),
        (middle, top + 0.02),
        arrowprops=dict(arrowstyle='-|>', color=GREY, shrinkA=0, shrinkB=0, mutation_scale=8),
    )
    panels.write(figure, middle + 0.09, top + _ARROW / 2, shape, va='center', color=GREY)


def _height(block: Block) -> float:
    return max(_LINE * (2 + len(_contents(block))), _thickness(block.output))


def _thickness(shape: Sequence[int]) -> float:
    return 0.06 + 0.045 * math.log2(max(shape[-1], 1))


def _contents(block: Block) -> list[str]:
    # Break lines only after commas, and not between '3' and 'Conv 3x3'.
    text = block.contents.replace(' ', '\N{NO-BREAK SPACE}').replace(',\N{NO-BREAK SPACE}', ', ')
    return textwrap.wrap(text, 46)


def _size(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def _cost(block: Block) -> str:
    return f'{block.parameters:,} parameters, {rounded(block.flops)} FLOPs'


def _words(block: Block) -> str:
    return f'{block.name} ({block.contents}) to {_size(block.output)}, {_cost(block)}'
