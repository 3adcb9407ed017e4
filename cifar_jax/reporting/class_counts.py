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
    positions = np.arange(len(data.classes))
    figure = style.figure(0.7 + style.row_height(len(positions)) * len(positions))
    words = []
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for panel, (name, part) in zip(panels, parts.items(), strict=True):
        counts = splits.class_counts(np.asarray(part.labels), len(positions))
        panel.barh(positions, counts, height=0.72, color=style.SKY)
        for position, count in zip(positions, counts, strict=True):
            panel.text(0.04 * counts.max(), position, f'{count:,}', va='center', fontsize=9)
        panel.set_title(f'{name}\n{counts.sum():,} images')
        style.bare(panel)
        words.append(f'{name} {counts.sum():,} images, {counts.min():,} to {counts.max():,} each')
    panels[0].set_yticks(positions, [style.short(name) for name in data.classes])
    panels[0].tick_params(length=0)
    panels[0].set_ylim(len(positions) - 0.4, -0.6)
    return Picture('class_counts', 'Images a class', f'Images a class: {"; ".join(words)}.', figure)
