"""A sheet of images that shows the effect of each augmentation of a config."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from cifar_jax.data import augment, normalize, sources, splits
from cifar_jax.data.arrays import Dataset
from cifar_jax.data.augment import Batch
from cifar_jax.errors import UserError

IMAGES = 8


def draw(config: ConfigDict, path: pathlib.Path) -> None:
    """Writes a PNG of training images: unchanged, under each augmentation alone, and under all.

    Args:
      config: only its `data` and `seed` are used.
      path: the PNG file to write.

    Raises:
      UserError: there are no augmentations, the data are missing, or `path` cannot be written.
    """
    policy = config.data.augment
    if not policy:
        raise UserError(
            "This config has no augmentations: set config.data.augment=[{'name': ...}]."
        )
    data = sources.load(config.data)
    batch = _sample(data, config.seed)
    rows = [('original', batch)]
    key = jax.random.key(config.seed)
    for position, entry in enumerate(policy):
        entry_key = jax.random.fold_in(key, position)
        rows.append((caption(entry), augment.augment(entry_key, batch, [entry])))
    if len(policy) > 1:
        rows.append(('all together', augment.augment(key, batch, policy)))
    figure = _sheet(rows, data.classes)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f'--out {path} cannot be written: {error}') from None


def caption(entry: Mapping[str, Any] | ConfigDict) -> str:
    """Returns an augmentation's name and the options that are set, one per line."""
    options = {key: value for key, value in entry.items() if key != 'name'}
    return '\n'.join([entry['name'], *(f'{key} {value}' for key, value in options.items())])


def _sample(data: Dataset, seed: int) -> Batch:
    """Returns training images drawn over the classes."""
    chosen = splits.sample(data.train.labels, IMAGES, seed)
    return Batch(
        images=normalize.to_unit(jnp.asarray(data.train.images[chosen])),
        labels=jax.nn.one_hot(data.train.labels[chosen], len(data.classes)),
        indices=jnp.asarray(chosen, jnp.int32),
        epoch=jnp.zeros((), jnp.int32),
        run_key=jax.random.key(seed),
    )


def _sheet(rows: Sequence[tuple[str, Batch]], classes: Sequence[str]) -> Figure:
    columns = len(rows[0][1].images)
    figure = Figure(figsize=(1.9 + columns, 1.2 * len(rows) + 0.2), layout='constrained')
    grid = figure.subplots(
        len(rows), columns + 1, squeeze=False, width_ratios=[1.8, *[1] * columns]
    )
    for panels, (text, batch) in zip(grid, rows, strict=True):
        panels[0].text(0, 0.5, text, va='center', fontsize=9, transform=panels[0].transAxes)
        for panel, image, label in zip(panels[1:], batch.images, batch.labels, strict=True):
            panel.imshow(np.asarray(image), vmin=0, vmax=1)
            panel.set_title(_label(np.asarray(label), classes), fontsize=7, pad=2)
        for panel in panels:
            panel.set_axis_off()
    return figure


def _label(label: np.ndarray, classes: Sequence[str]) -> str:
    """Returns 'cat', or 'cat 70 % + dog 30 %' on two lines."""
    order = np.argsort(-label, kind='stable')
    if label[order[0]] > 0.995:
        return classes[order[0]]
    parts = [f'{classes[k]} {label[k]:.0%}' for k in order[:2] if label[k] >= 0.005]
    return '\n'.join(parts)
