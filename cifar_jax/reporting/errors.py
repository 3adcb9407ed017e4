"""Hits and errors, in all and class by class."""

from collections.abc import Sequence

import numpy as np

from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.scores import ByClass


def in_all(found: ByClass) -> Picture:
    """Returns hits against errors."""
    images, errors = int(found.images.sum()), int(found.errors.sum())
    hits = images - errors
    figure = style.figure(1.5)
    axes = figure.subplots()
    for row, (name, count, colour) in enumerate(
        (('hits', hits, style.BLUE), ('errors', errors, style.RED))
    ):
        axes.barh(row, count, color=colour, height=0.7)
        axes.text(0.02 * images + count, row, f'{count:,}\n{count / images:.2%}', va='center')
        axes.text(-0.02 * images, row, name, va='center', ha='right')
    style.bare(axes)
    axes.set_xlim(-0.16 * images, 1.22 * images)
    axes.set_ylim(1.5, -0.5)
    alt = f'{hits:,} of {images:,} images are hits, {hits / images:.2%}, and {errors:,} errors.'
    return Picture('hits', 'Hits and errors', alt, figure)


def by_class(found: ByClass, classes: Sequence[str]) -> tuple[Picture, Picture]:
    """Returns errors, then precision and recall, of each class."""
    return _errors(found, classes), _precision_and_recall(found, classes)


def _errors(found: ByClass, classes: Sequence[str]) -> Picture:
    order = np.argsort(-found.errors, kind='stable')
    positions = np.arange(len(order))
    figure = style.figure(0.8 + style.row_height(len(order)) * len(order))
    axes = figure.subplots()
    hits = found.images - found.errors
    axes.barh(positions, found.errors[order], color=style.RED, height=0.72, label='errors')
    axes.barh(
        positions, hits[order], left=found.errors[order], color=style.SKY, height=0.72, label='hits'
    )
    for row, kind in enumerate(order):
        text = f'{found.errors[kind]:,}  ({style.share(found.recall[kind])} right)'
        axes.text(0.015 * found.images.max(), row, text, va='center', fontsize=9, color=style.INK)
    _name_rows(axes, [classes[kind] for kind in order])
    axes.set_xticks([])
    axes.spines['bottom'].set_visible(False)
    figure.legend(loc='outside upper center', ncols=2, handlelength=1, handleheight=0.8)
    first, last = order[0], order[-1]
    alt = (
        f'Errors of each class, the most first: {classes[first]} {found.errors[first]:,} of '
        f'{found.images[first]:,} images, ... {classes[last]} {found.errors[last]:,} of '
        f'{found.images[last]:,}.'
    )
    return Picture('errors_by_class', 'Errors by class', alt, figure)


def _precision_and_recall(found: ByClass, classes: Sequence[str]) -> Picture:
    order = np.argsort(np.nan_to_num(found.f1), kind='stable')
    positions = np.arange(len(order))
    figure = style.figure(1.1 + style.row_height(len(order)) * len(order))
    axes = figure.subplots()
    precision, recall = found.precision[order], found.recall[order]
    axes.hlines(positions, precision, recall, color=style.PALE, lw=3)
    axes.plot(precision, positions, 's', color=style.RED, ms=6, label='precision')
    axes.plot(recall, positions, 'o', color=style.BLUE, ms=6, label='recall (accuracy)')
    _name_rows(axes, [classes[kind] for kind in order])
    axes.set_xlim(-0.02, 1.02)
    style.percent(axes, 'x')
    axes.grid(axis='x')
    figure.legend(loc='outside upper center', ncols=2, handletextpad=0.3)
    first, last = (
        f'{classes[order[row]]} {style.share(precision[row])} and {style.share(recall[row])}'
        for row in (0, -1)
    )
    alt = f'Precision and recall of each class, the lowest F1 first: {first}, ... {last}.'
    return Picture('precision_recall', 'Precision and recall', alt, figure)


def _name_rows(axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [style.short(name) for name in names])
    axes.tick_params('y', length=0)
    axes.spines['left'].set_visible(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
