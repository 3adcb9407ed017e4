"""The type of a report's pictures: a figure with a name, a title and a description."""

from typing import NamedTuple

from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A figure, with what a page needs to embed it."""

    name: str  # of its files, without a suffix, such as 'confusion'
    title: str
    alt: str  # description with the main numbers, for readers who cannot see it
    figure: Figure
