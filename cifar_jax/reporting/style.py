"""Style of the pictures in a report: the width of a phone, and colours for any colour vision."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

WIDTH = 4.8  # inches: at 72 pixels per inch or more, a point is at least a pixel on a phone
DPI = 150
MANY_CLASSES = 30  # with more classes, pictures use less space per class

# Okabe and Ito, 2008, Color Universal Design: distinguishable with any colour vision, and in grey.
BLUE, RED, GREEN, SKY = '#0072B2', '#D55E00', '#009E73', '#56B4E9'
GREY, PALE, INK = '#6E6E6E', '#D9D9D9', '#1A1A1A'
SHADES = 'Blues'  # for counts

_RC: dict[Any, Any] = {
    'font.family': 'DejaVu Sans',  # comes with matplotlib
    'font.size': 10,
    'axes.titlesize': 10,
    'axes.labelsize': 10,
    'xtick.labelsize': 9,
    'ytick.labelsize': 9,
    'legend.fontsize': 9,
    'legend.frameon': False,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.edgecolor': GREY,
    'axes.labelcolor': INK,
    'text.color': INK,
    'xtick.color': INK,
    'ytick.color': INK,
    'axes.grid': False,
    'grid.color': '#E6E6E6',
    'axes.axisbelow': True,
    'lines.linewidth': 1.8,
    'figure.facecolor': 'white',
    'savefig.facecolor': 'white',
    'image.cmap': SHADES,
    'text.parse_math': False,  # the name of a class may contain a dollar sign
    'svg.fonttype': 'path',
    'svg.hashsalt': 'cifar_jax',  # makes the bytes reproducible
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Sets matplotlib's parameters to the style of a report within the context."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        # Names of classes may use any script; missing glyphs are drawn as boxes.
        warnings.filterwarnings('ignore', 'Glyph .* missing from font')
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure of a size in inches, whose layout keeps texts apart."""
    return Figure(figsize=(width, height), layout='constrained')


def files(figure: Figure) -> dict[str, bytes]:
    """Returns a figure as the contents of a PNG and an SVG file, with reproducible bytes."""
    # Compute the layout once for both files: it takes as long as drawing.
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    return {'png': _file(figure, 'png', {}), 'svg': _file(figure, 'svg', {'Date': None})}


def _file(figure: Figure, suffix: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def short(name: str, length: int = 16) -> str:
    """Returns the name of a class on one line, truncated to `length` letters.

    >>> short('aquarium_fish'), short('pneumonoultramicroscopic')
    ('aquarium_fish', 'pneumonoultrami…')
    """
    name = ' '.join(name.split())
    return name if len(name) <= length else f'{name[: length - 1]}…'


def short_names(names: Sequence[str], length: int = 16) -> list[str]:
    """Returns `short` of each name; names that would look the same keep their ends, or get numbers.

    >>> short_names(['Great_Crested_Flycatcher', 'Great_Crested_Flamingo', 'Wren'])
    ['Great_C…ycatcher', 'Great_C…Flamingo', 'Wren']
    >>> short_names(['a' * 20, 'a' * 21])
    ['1 aaaaaaaaaaa…', '2 aaaaaaaaaaa…']
    """
    end = length // 2
    shortened = [short(name, length) for name in names]
    shortened = [
        f'{name[: length - 1 - end]}…{name[-end:]}' if shortened.count(text) > 1 else text
        for name, text in zip(names, shortened, strict=True)
    ]
    return [
        f'{number} {short(name, length - 4)}' if shortened.count(text) > 1 else text
        for number, (name, text) in enumerate(zip(names, shortened, strict=True), 1)
    ]


def percent(axis: Axes, which: str) -> None:
    """Formats the fractions along an axis, 'x' or 'y', as percentages."""
    getattr(axis, f'{which}axis').set_major_formatter(PercentFormatter(1))


def percentage(value: float) -> str:
    """Formats a fraction as a percentage, and NaN as 'none'.

    >>> percentage(0.1234), percentage(float('nan'))
    ('12.3%', 'none')
    """
    return 'none' if value != value else f'{value:.1%}'


def bare(axes: Axes) -> None:
    """Removes ticks and frame from axes."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def row_height(classes: int) -> float:
    """Returns the height, in inches, of each class in a vertical list."""
    return 0.26 if classes <= MANY_CLASSES else 0.17
