"""Correct predictions and errors, in total and by class."""

from collections.abc import Sequence

import numpy as np

from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.scores import ByClass


def total(scores: ByClass) -> Picture:
    """Draws the numbers of correct predictions and errors."""
    images, errors = int(scores.images.sum()), int(scores.errors.sum())
    correct = images - errors
    figure = style.figure(1.5)
    axes = figure.subplots()
    for row, (name, count, colour) in enumerate(
        (('correct', correct, style.BLUE), ('errors', errors, style.RED))
    ):
        axes.barh(row, count, color=colour, height=0.7)
        axes.text(0.02 * images + count, row, f'{count:,}\n{count / images:.2%}', va='center')
        axes.text(-0.02 * images, row, name, va='center', ha='right')
    style.bare(axes)
    axes.set_xlim(-0.16 * images, 1.22 * images)
    axes.set_ylim(1.5, -0.5)
    alt = f'{correct:,} of {images:,} images are classified correctly ({correct / images:.2%}), '
    alt += f'{errors:,} are not.'
    return Picture('hits', 'Correct predictions and errors', alt, figure)


def by_class(scores: ByClass, classes: Sequence[str]) -> tuple[Picture, Picture]:
    """Draws the errors, and the precision and recall, of each class."""
    return _errors(scores, classes), _precision_and_recall(scores, classes)


def _errors(scores: ByClass, classes: Sequence[str]) -> Picture:
    order = np.argsort(-scores.errors, kind='stable')
    positions = np.arange(len(order))
    figure = style.figure(0.8 + style.row_height(len(order)) * len(order))
    axes = figure.subplots()
    correct = scores.images - scores.errors
    axes.barh(positions, scores.errors[order], color=style.RED, height=0.72, label='errors')
    axes.barh(
        positions,
        correct[order],
        left=scores.errors[order],
        color=style.SKY,
        height=0.72,
        label='correct',
    )
    for row, kind in enumerate(order):
        text = f'{scores.errors[kind]:,}  ({style.percentage(scores.recall[kind])} correct)'
        axes.text(0.015 * scores.images.max(), row, text, va='center', fontsize=9, color=style.INK)
    _label_rows(axes, [classes[kind] for kind in order])
    axes.set_xticks([])
    axes.spines['bottom'].set_visible(False)
    figure.legend(loc='outside upper center', ncols=2, handlelength=1, handleheight=0.8)
    first, last = order[0], order[-1]
    alt = (
        f'Errors of each class, most errors first: {classes[first]} {scores.errors[first]:,} of '
        f'{scores.images[first]:,} images, ... {classes[last]} {scores.errors[last]:,} of '
        f'{scores.images[last]:,}.'
    )
    return Picture('errors_by_class', 'Errors by class', alt, figure)


def _precision_and_recall(scores: ByClass, classes: Sequence[str]) -> Picture:
    order = np.argsort(np.nan_to_num(scores.f1), kind='stable')
    positions = np.arange(len(order))
    figure = style.figure(1.1 + style.row_height(len(order)) * len(order))
    axes = figure.subplots()
    precision, recall = scores.precision[order], scores.recall[order]
    axes.hlines(positions, precision, recall, color=style.PALE, lw=3)
    axes.plot(precision, positions, 's', color=style.RED, ms=6, label='precision')
    axes.plot(recall, positions, 'o', color=style.BLUE, ms=6, label='recall (accuracy)')
    _label_rows(axes, [classes[kind] for kind in order])
    axes.set_xlim(-0.02, 1.02)
    style.percent(axes, 'x')
    axes.grid(axis='x')
    figure.legend(loc='outside upper center', ncols=2, handletextpad=0.3)
    lowest, highest = (
        f'{classes[kind]} {style.percentage(scores.precision[kind])} and '
        f'{style.percentage(scores.recall[kind])}'
        for kind in (order[0], order[-1])
    )
    alt = f'Precision and recall by class, lowest F1 first: {lowest}, ... {highest}.'
    return Picture('precision_recall', 'Precision and recall', alt, figure)


def _label_rows(axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), style.short_names(names))
    axes.tick_params('y', length=0)
    axes.spines['left'].set_visible(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
