"""Number of images of each class in each split."""

import numpy as np

from cifar_jax.data import splits
from cifar_jax.data.pipeline import Prepared
from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture


def draw(data: Prepared) -> Picture:
    """Draws a bar for each class, in each of training, validation and test."""
    splits_by_name = {'training': data.train, 'validation': data.validation, 'test': data.test}
    present = {name: part for name, part in splits_by_name.items() if part is not None}
    few = len(data.classes) <= style.MANY_CLASSES
    figure = style.figure(1.25 * len(present) + 0.2 + 0.7 * few)
    panels = figure.subplots(len(present), 1, sharex=True, squeeze=False)[:, 0]
    words = []
    for panel, (name, part) in zip(panels, present.items(), strict=True):
        counts = splits.class_counts(np.asarray(part.labels), len(data.classes))
        panel.bar(range(len(counts)), counts, width=0.8, color=style.SKY)
        counts_range = (
            f'{counts.min():,}' if np.ptp(counts) == 0 else f'{counts.min():,} to {counts.max():,}'
        )
        words.append(f'{name}: {counts.sum():,} images, {counts_range} per class')
        panel.set_title(words[-1], loc='left')
        panel.tick_params('x', length=0)
    panels[-1].set_xlim(-0.6, len(data.classes) - 0.4)
    if few:
        names = style.short_names(data.classes)
        panels[-1].set_xticks(range(len(names)), names, rotation=90)
    else:
        panels[-1].set_xticks([])
        panels[-1].set_xlabel(f'{len(data.classes)} classes')
    return Picture('class_counts', 'Images per class', f'{"; ".join(words)}.', figure)
