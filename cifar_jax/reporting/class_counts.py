"""How many images of each class the parts of the data have."""

import numpy as np

from cifar_jax.data import splits
from cifar_jax.data.pipeline import Prepared
from cifar_jax.reporting import style
from cifar_jax.reporting.picture import Picture


def draw(data: Prepared) -> Picture:
    """Returns a bar for each class in each of training, validation and test."""
    named = {'training': data.train, 'validation': data.validation, 'test': data.test}
    parts = {name: part for name, part in named.items() if part is not None}
    few = len(data.classes) <= style.MANY_CLASSES
    figure = style.figure(1.25 * len(parts) + 0.2 + 0.7 * few)
    panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    words = []
    for panel, (name, part) in zip(panels, parts.items(), strict=True):
        counts = splits.class_counts(np.asarray(part.labels), len(data.classes))
        panel.bar(range(len(counts)), counts, width=0.8, color=style.SKY)
        spread = (
            f'{counts.min():,}' if np.ptp(counts) == 0 else f'{counts.min():,} to {counts.max():,}'
        )
        words.append(f'{name}: {counts.sum():,} images, {spread} a class')
        panel.set_title(words[-1], loc='left')
        panel.tick_params('x', length=0)
    panels[-1].set_xlim(-0.6, len(data.classes) - 0.4)
    if few:
        names = [style.short(name) for name in data.classes]
        panels[-1].set_xticks(range(len(names)), names, rotation=90)
    else:
        panels[-1].set_xticks([])
        panels[-1].set_xlabel(f'{len(data.classes)} classes')
    return Picture('class_counts', 'Images a class', f'{"; ".join(words)}.', figure)
