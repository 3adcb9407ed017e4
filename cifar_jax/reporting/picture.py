"""What every picture of a report is: a figure with its name, its title and its words."""

from typing import NamedTuple

from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A figure, and what is needed to put it in a page."""

    name: str  # of its files, without a suffix: 'confusion'
    title: str
    alt: str  # what it shows, with its main numbers, for someone who cannot see it
    figure: Figure
