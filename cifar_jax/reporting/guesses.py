"""Images with what the network says of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cifar_jax.data.arrays import Arrays
from cifar_jax.inference.predictions import Predictions
from cifar_jax.reporting import images, style
from cifar_jax.reporting.picture import Picture

DRAW = 0  # the seed: the same images in every report of a split
SHOWN = 5
ALL_CLASSES = 10  # up to here every class has its bar
MOST_PROBABLE = 5


def sample(arrays: Arrays, found: Predictions, classes: Sequence[str]) -> Picture:
    """Returns images, drawn at random, each beside the probabilities of the classes.

    All classes where they are ten at most, else the five most probable ones.
    """
    shown = min(SHOWN, len(found.labels))
    rows = np.random.default_rng(DRAW).choice(len(found.labels), shown, replace=False)
    bars = len(classes) if len(classes) <= ALL_CLASSES else MOST_PROBABLE
    figure = style.figure(shown * (0.45 + 0.165 * bars))
    grid = figure.subplots(shown, 2, width_ratios=[1, 1.7], squeeze=False)
    probabilities, guesses = found.probabilities, found.classes
    words = []
    for (left, right), row in zip(grid, rows, strict=True):
        true, predicted = int(found.labels[row]), int(guesses[row])
        images.show(left, arrays.images[row])
        left.set_anchor('N')
        left.set_title(f'true: {style.short(classes[true])}', fontsize=9, pad=4)
        _bars(right, probabilities[row], true, predicted, bars, classes)
        words.append(
            f'{classes[true]} taken for {classes[predicted]} with '
            f'{probabilities[row, predicted]:.0%}'
        )
    alt = f'{shown} images beside the probabilities of their classes: {"; ".join(words)}.'
    return Picture('predictions', 'Sample predictions', alt, figure)


def _bars(
    axes: Axes,
    probabilities: np.ndarray,
    true: int,
    predicted: int,
    bars: int,
    classes: Sequence[str],
) -> None:
    most = np.argsort(-probabilities, kind='stable')[:bars]
    kinds = np.sort(most) if bars == len(classes) else most
    colours = [
        style.BLUE if kind == true else style.RED if kind == predicted else style.GREY
        for kind in kinds
    ]
    axes.barh(range(bars), probabilities[kinds], color=colours, height=0.75)
    axes.set_yticks(range(bars), [style.short(classes[kind]) for kind in kinds])
    axes.set_ylim(bars - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params('y', length=0)
    axes.spines['bottom'].set_visible(False)
    verdict = 'right' if predicted == true else 'wrong'
    text = f'{style.short(classes[predicted])} {probabilities[predicted]:.1%}: {verdict}'
    colour = style.BLUE if predicted == true else style.RED
    axes.set_title(text, fontsize=9, pad=4, loc='left', color=colour, weight='bold')


def mistakes(arrays: Arrays, found: Predictions, classes: Sequence[str]) -> tuple[Picture, ...]:
    """Returns the 16 mistakes that the network is most certain of; nothing where it makes none."""
    guesses = found.classes
    wrong = np.flatnonzero(guesses != found.labels)
    if not len(wrong):
        return ()
    certainty = found.probabilities.max(axis=-1)
    rows = wrong[np.argsort(-certainty[wrong], kind='stable')][: images.ROWS * images.COLUMNS]
    words = [
        f'{style.short(classes[guesses[row]])}\n{certainty[row]:.1%}, is\n'
        f'{style.short(classes[found.labels[row]])}'
        for row in rows
    ]
    figure = images.grid([arrays.images[row] for row in rows], words)
    alt = f'The {len(rows)} mistakes with the highest probability: ' + '; '.join(
        f'{classes[found.labels[row]]} taken for {classes[guesses[row]]} with {certainty[row]:.1%}'
        for row in rows
    )
    return (Picture('mistakes', 'The most confident mistakes', f'{alt}.', figure),)
