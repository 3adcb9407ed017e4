"""Renders the report as a single HTML page without external resources."""

import base64
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from cifar_jax.reporting import confusion, facts, scores, style
from cifar_jax.reporting.facts import Report
from cifar_jax.reporting.picture import Picture

PIXELS_PER_INCH = 72  # so that a point of text is at least a pixel
WIDE = 400  # pixels: wider pictures keep their width and scroll on a phone


class EmbeddedPicture(NamedTuple):
    """A picture as it is embedded in the page."""

    title: str
    alt: str
    source: str  # a data: URL
    width: int  # pixels
    height: int

    @property
    def wide(self) -> bool:
        """Whether it would be too small at the width of a phone."""
        return self.width > WIDE


class Section(NamedTuple):
    """A heading and the pictures below it."""

    title: str
    pictures: Sequence[EmbeddedPicture]


def embed(picture: Picture, svg: bytes) -> EmbeddedPicture:
    """Returns a picture with its SVG embedded as a data URL."""
    source = f'data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'
    width, height = (round(PIXELS_PER_INCH * inches) for inches in picture.figure.get_size_inches())
    return EmbeddedPicture(picture.title, picture.alt, source, width, height)


def template(name: str) -> jinja2.Template:
    """Returns a template of this package; all values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('cifar_jax', 'reporting'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(report: Report, sections: Sequence[Section]) -> str:
    """Returns the HTML page of a run."""
    differing, others = facts.settings(report)
    evaluated = report.evaluated
    report_command = ['python', '-m', 'cifar_jax.report', '--workdir', str(evaluated.workdir.path)]
    report_command += ['--split', evaluated.split]
    return template('page.html').render(
        model=report.config.model.name,
        name=evaluated.workdir.path.resolve().name,
        split=evaluated.split,
        images=len(evaluated.predictions.labels),
        epochs=len(report.run.lines),
        headline=facts.headline(report),
        details=facts.details(report),
        confused_pairs=confusion.sentences(scores.most_confused(report.confusion), report.classes),
        sections=sections,
        percentage=style.percentage,
        by_class=zip(report.classes, *report.by_class, strict=True),
        differing=differing,
        others=others,
        environment=report.run.environment,
        command=report.run.command,
        report=shlex.join(report_command),
    )
