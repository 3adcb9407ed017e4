"""Example images with their predictions, and the most confident mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cifar_jax.data import splits
from cifar_jax.data.arrays import Arrays
from cifar_jax.inference.predictions import Predictions
from cifar_jax.reporting import images, style
from cifar_jax.reporting.picture import Picture

SEED = 0  # fixed, so that every report of a split shows the same images
SAMPLES = 5
MAX_CLASSES = 10  # up to so many classes, all of them get a bar
TOP_CLASSES = 5  # number of bars otherwise


def sample(arrays: Arrays, predictions: Predictions, classes: Sequence[str]) -> Picture:
    """Draws images at random over the classes, each beside the probabilities of the classes.

    With more than ten classes, only the five most probable ones are shown.
    """
    rows = splits.sample(predictions.labels, SAMPLES, SEED)
    count = len(rows)
    bars = len(classes) if len(classes) <= MAX_CLASSES else TOP_CLASSES
    figure = style.figure(count * (0.45 + 0.165 * bars))
    grid = figure.subplots(count, 2, width_ratios=[1, 1.7], squeeze=False)
    probabilities, classes_predicted = predictions.probabilities, predictions.classes
    words = []
    for (left, right), row in zip(grid, rows, strict=True):
        true, predicted = int(predictions.labels[row]), int(classes_predicted[row])
        images.show(left, arrays.images[row])
        left.set_anchor('N')
        left.set_title(f'true: {style.short_names(classes)[true]}', fontsize=9, pad=4)
        _bars(right, probabilities[row], true, predicted, bars, classes)
        words.append(
            f'{classes[true]} predicted as {classes[predicted]} with '
            f'{probabilities[row, predicted]:.0%}'
        )
    alt = f'{count} images beside the probabilities of their classes: {"; ".join(words)}.'
    return Picture('predictions', 'Sample predictions', alt, figure)


def _bars(
    axes: Axes,
    probabilities: np.ndarray,
    true: int,
    predicted: int,
    bars: int,
    classes: Sequence[str],
) -> None:
    top = np.argsort(-probabilities, kind='stable')[:bars]
    order = np.sort(top) if bars == len(classes) else top
    names = style.short_names(classes)
    colours = [
        style.BLUE if kind == true else style.RED if kind == predicted else style.GREY
        for kind in order
    ]
    axes.barh(range(bars), probabilities[order], color=colours, height=0.75)
    axes.set_yticks(range(bars), [names[kind] for kind in order])
    axes.set_ylim(bars - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params('y', length=0)
    axes.spines['bottom'].set_visible(False)
    verdict = 'correct' if predicted == true else 'wrong'
    text = f'{names[predicted]} {probabilities[predicted]:.1%}: {verdict}'
    colour = style.BLUE if predicted == true else style.RED
    axes.set_title(text, fontsize=9, pad=4, loc='left', color=colour, weight='bold')


def mistakes(
    arrays: Arrays, predictions: Predictions, classes: Sequence[str]
) -> tuple[Picture, ...]:
    """Draws the 16 most confident mistakes; returns () if there are none."""
    predicted = predictions.classes
    wrong = np.flatnonzero(predicted != predictions.labels)
    if not len(wrong):
        return ()
    confidence = predictions.probabilities.max(axis=-1)
    rows = wrong[np.argsort(-confidence[wrong], kind='stable')][: images.ROWS * images.COLUMNS]
    words = [
        f'{style.short(classes[predicted[row]])}\n{confidence[row]:.1%}, true:\n'
        f'{style.short(classes[predictions.labels[row]])}'
        for row in rows
    ]
    figure = images.grid([arrays.images[row] for row in rows], words)
    alt = f'The {len(rows)} mistakes with the highest probability: ' + '; '.join(
        f'{classes[predictions.labels[row]]} predicted as {classes[predicted[row]]} '
        f'with {confidence[row]:.1%}'
        for row in rows
    )
    return (Picture('mistakes', 'The most confident mistakes', f'{alt}.', figure),)
