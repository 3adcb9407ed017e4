"""Panels placed by the inch, in figures that a phone shows whole."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.style import INK, WIDTH

MARGIN = 0.08
GAP = 0.06


def figure(height: float) -> Figure:
    """Returns an empty figure of a height in inches."""
    return Figure(figsize=(WIDTH, height), facecolor='white')


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Returns bare axes, placed in inches from the figure's left and upper edge."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    axes = figure.add_axes(
        (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    )
    axes.set_axis_off()
    return axes


def write(figure: Figure, left: float, top: float, text: str, **style: Any) -> Text:
    """Writes text below a point, in inches from the figure's left and upper edge."""
    whole_width, whole_height = figure.get_size_inches()
    style = {'fontsize': 9, 'va': 'top', 'color': INK, 'parse_math': False, **style}
    return figure.text(left / whole_width, 1 - top / whole_height, text, **style)


def sentence(name: str, title: str, text: str) -> Picture:
    """Returns a picture that says why there is nothing to see."""
    empty = figure(0.5)
    write(empty, MARGIN, 0.15, text)
    return Picture(name, title, text, empty)
