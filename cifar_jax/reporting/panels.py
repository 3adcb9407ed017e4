"""Figures of the width of a phone, with panels placed in inches."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.style import INK, WIDTH

MARGIN = 0.08
GAP = 0.06


def figure(height: float) -> Figure:
    """Returns an empty figure, `height` inches high."""
    return Figure(figsize=(WIDTH, height), facecolor='white')


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Returns axes without ticks and frame, in inches from the figure's left and upper edges."""
    figure_width, figure_height = figure.get_size_inches()
    bottom = figure_height - top - height
    axes = figure.add_axes(
        (left / figure_width, bottom / figure_height, width / figure_width, height / figure_height)
    )
    axes.set_axis_off()
    return axes


def write(figure: Figure, left: float, top: float, text: str, **style: Any) -> Text:
    """Writes text below a point, given in inches from the figure's left and upper edges."""
    figure_width, figure_height = figure.get_size_inches()
    style = {'fontsize': 9, 'va': 'top', 'color': INK, 'parse_math': False, **style}
    return figure.text(left / figure_width, 1 - top / figure_height, text, **style)


def sentence(name: str, title: str, text: str) -> Picture:
    """Returns a picture with a sentence that says why there is nothing to draw."""
    empty = figure(0.5)
    write(empty, MARGIN, 0.15, text)
    return Picture(name, title, text, empty)
