"""Whether predictions are as often right as they are sure."""

import numpy as np

from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture
from cifar_jax.reporting.scores import Reliability


def draw(found: Reliability) -> Picture:
    """Returns the reliability diagram: accuracy against certainty, and how many are how sure.

    References:
      Guo et al., 2017, On Calibration of Modern Neural Networks, figure 1.
    """
    figure = style.figure(4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    left, width = found.edges[:-1], found.edges[1]
    kinds = dict(align='edge', width=width, edgecolor='white', lw=0.8)
    above.bar(left, found.accuracy, color=style.BLUE, label='accuracy', **kinds)
    gaps = found.certainty - found.accuracy
    above.bar(
        left,
        gaps,
        bottom=found.accuracy,
        color='none',
        label='gap to certainty',
        align='edge',
        width=width,
        edgecolor=style.RED,
        hatch='////',
        lw=0.8,
    )
    above.plot([0, 1], [0, 1], ':', color=style.GREY, label='as right as sure')
    above.set_xlim(0, 1)
    above.set_ylim(0, 1)
    above.set_ylabel('accuracy')
    style.percent(above, 'y')
    above.text(0.03, 0.94, f'ECE {found.error:.2%}', va='top', fontsize=12, weight='bold')
    below.bar(left, found.images, color=style.SKY, **kinds)
    below.set_ylabel('images')
    below.set_xlabel("certainty: the predicted class's probability")
    style.percent(below, 'x')
    figure.align_ylabels()
    figure.legend(loc='outside upper center', ncols=3, handlelength=1.2, columnspacing=1)
    sure, right = (
        np.nansum(found.images * means) / found.images.sum()
        for means in (found.certainty, found.accuracy)
    )
    alt = (
        f'Accuracy against certainty in {len(left)} bins: expected calibration error '
        f'{found.error:.2%}; mean certainty {sure:.1%}, accuracy {right:.1%}.'
    )
    return Picture('calibration', 'Calibration', alt, figure)
