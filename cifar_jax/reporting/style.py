"""How the pictures of a report look: one column of a phone wide, and colours for every eye."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

WIDTH = 4.8  # inches: shown at 72 pixels an inch or more, a point is at least a pixel on a phone
DPI = 150
MANY_CLASSES = 30  # from here on a class gets a line of text and no more

# Okabe and Ito, 2008, Color Universal Design: told apart with any colour vision, and in grey.
BLUE, RED, GREEN, SKY = '#0072B2', '#D55E00', '#009E73', '#56B4E9'
GREY, PALE, INK = '#6E6E6E', '#D9D9D9', '#1A1A1A'
SHADES = 'Blues'  # of counts

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
    'text.parse_math': False,  # a class may have a dollar in its name
    'svg.fonttype': 'path',
    'svg.hashsalt': 'cifar_jax',  # the same picture, the same bytes
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draws and writes in the style of a report; what was set before comes back after it."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        # A class may be named in any script: boxes then stand for its letters.
        warnings.filterwarnings('ignore', 'Glyph .* missing from font')
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure of a size in inches, which keeps its texts apart."""
    return Figure(figsize=(width, height), layout='constrained')


def files(figure: Figure) -> dict[str, bytes]:
    """Returns a figure as the content of a PNG and an SVG file: the same bytes every time."""
    # Once for both: placing texts takes as long as drawing them.
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    return {'png': _file(figure, 'png', {}), 'svg': _file(figure, 'svg', {'Date': None})}


def _file(figure: Figure, suffix: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def short(name: str, length: int = 16) -> str:
    """Returns a class's name on one line, cut where it is too long for a picture.

    >>> short('aquarium_fish'), short('pneumonoultramicroscopic')
    ('aquarium_fish', 'pneumonoultrami…')
    """
    name = ' '.join(name.split())
    return name if len(name) <= length else f'{name[: length - 1]}…'


def percent(axis: Axes, which: str) -> None:
    """Writes the shares along an axis, 'x' or 'y', as percentages."""
    getattr(axis, f'{which}axis').set_major_formatter(PercentFormatter(1))


def share(value: float) -> str:
    """Returns a share as text, for a NaN 'none': nothing to be a share of.

    >>> share(0.1234), share(float('nan'))
    ('12.3%', 'none')
    """
    return 'none' if value != value else f'{value:.1%}'


def bare(axes: Axes) -> None:
    """Leaves of some axes what is drawn in them."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def row_height(classes: int) -> float:
    """Returns the inches of a class where classes are below each other."""
    return 0.26 if classes <= MANY_CLASSES else 0.17
