"""Reliability diagram: whether the accuracy of predictions equals their confidence."""

import numpy as np

from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.scores import Reliability


def draw(reliability: Reliability) -> Picture:
    """Draws accuracy against confidence, and the number of images per confidence bin.

    References:
      Guo et al., 2017, On Calibration of Modern Neural Networks, figure 1.
    """
    figure = style.figure(4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    left, width = reliability.edges[:-1], reliability.edges[1]
    style_of_bars = dict(align='edge', width=width, edgecolor='white', lw=0.8)
    above.bar(left, reliability.accuracy, color=style.BLUE, label='accuracy', **style_of_bars)
    gaps = reliability.confidence - reliability.accuracy
    above.bar(
        left,
        gaps,
        bottom=reliability.accuracy,
        color='none',
        label='gap to confidence',
        align='edge',
        width=width,
        edgecolor=style.RED,
        hatch='////',
        lw=0.8,
    )
    above.plot([0, 1], [0, 1], ':', color=style.GREY, label='perfect calibration')
    above.set_xlim(0, 1)
    above.set_ylim(0, 1)
    above.set_ylabel('accuracy')
    style.percent(above, 'y')
    above.text(0.03, 0.94, f'ECE {reliability.error:.2%}', va='top', fontsize=12, weight='bold')
    below.bar(left, reliability.images, color=style.SKY, **style_of_bars)
    below.set_ylabel('images')
    below.set_xlabel("confidence: the predicted class's probability")
    style.percent(below, 'x')
    figure.align_ylabels()
    figure.legend(loc='outside upper center', ncols=3, handlelength=1.2, columnspacing=1)
    mean_confidence, accuracy = (
        np.nansum(reliability.images * means) / reliability.images.sum()
        for means in (reliability.confidence, reliability.accuracy)
    )
    alt = (
        f'Accuracy against confidence in {len(left)} bins: expected calibration error '
        f'{reliability.error:.2%}; mean confidence {mean_confidence:.1%}, accuracy {accuracy:.1%}.'
    )
    return Picture('calibration', 'Calibration', alt, figure)
