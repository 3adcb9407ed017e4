"""One HTML page that needs no other file and no network."""

import base64
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from cifar_jax.reporting import confusion, facts, scores, style
from cifar_jax.reporting.facts import Run
from cifar_jax.reporting.picture import Picture

PIXELS_PER_INCH = 72  # at least: so a point of text is a pixel
WIDE = 400  # pixels, from which a picture keeps its width and scrolls on a phone


class Shown(NamedTuple):
    """A picture as the page has it."""

    title: str
    alt: str
    source: str  # a data: address
    width: int  # pixels
    height: int

    @property
    def wide(self) -> bool:
        """Whether it would be too small in the width of a phone."""
        return self.width > WIDE


class Section(NamedTuple):
    """A heading and the pictures below it."""

    title: str
    pictures: Sequence[Shown]


def shown(picture: Picture, svg: bytes) -> Shown:
    """Returns a picture as the page has it, as the bytes of an SVG."""
    source = f'data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'
    width, height = (round(PIXELS_PER_INCH * inches) for inches in picture.figure.get_size_inches())
    return Shown(picture.title, picture.alt, source, width, height)


def template(name: str) -> jinja2.Template:
    """Returns a template of this room; whatever it is filled with is data and is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('cifar_jax', 'reporting'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(run: Run, sections: Sequence[Section]) -> str:
    """Returns the page of a run."""
    differing, others = facts.settings(run)
    evaluated = run.evaluated
    words = ['python', '-m', 'cifar_jax.report', '--workdir', str(evaluated.workdir.path)]
    words += ['--split', evaluated.split]
    return template('page.html').render(
        model=run.config.model.name,
        name=evaluated.workdir.path.resolve().name,
        split=evaluated.split,
        images=len(evaluated.predictions.labels),
        epochs=len(run.lines),
        headline=facts.headline(run),
        particulars=facts.particulars(run),
        mixups=confusion.sentences(scores.mixups(run.confusion), run.classes),
        sections=sections,
        share=style.share,
        by_class=zip(run.classes, *run.by_class, strict=True),
        differing=differing,
        others=others,
        environment=run.environment,
        command=run.command,
        report=shlex.join(words),
    )
