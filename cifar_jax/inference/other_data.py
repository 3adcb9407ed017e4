"""Images of another source than a run's own, labelled with the classes of the run."""

import hashlib
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cifar_jax.data import folders, sources
from cifar_jax.data.arrays import Arrays, joined, no_part
from cifar_jax.errors import UserError, nearest
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment.workdir import Workdir


class OtherData(NamedTuple):
    """Images of another source, at the size of a run's images and with its labels.

    source: the source, with an absolute path. split: 'train', 'validation', 'test' or 'all'.
    """

    source: str
    split: str
    arrays: Arrays

    @property
    def name(self) -> str:
        """The name of its predictions in the workdir."""
        readable = re.sub(r'[^\w.-]+', '_', self.source.rpartition('/')[2])[-40:]
        digest = hashlib.sha256(os.fsencode(self.source)).hexdigest()[:8]
        return f'other-{readable}-{digest}-{self.split}'


def load(
    workdir: Workdir,
    config: ConfigDict,
    split: str | None,
    image_shape: tuple[int, ...] | None = None,
) -> OtherData:
    """Loads a split of another source for a run; classes are matched by name.

    Args:
      config: `config.data` of the run, with the other source.
      split: 'train', 'validation' or 'test', or 'all' for the images of all parts. None is the test
        part, or all images of a folder without parts.
      image_shape: (h, w, c) of the images; None is that of the run's own.

    Raises:
      UserError: the source has a class that the run does not have, or no such part, or cannot be
        read.
    """
    stored = preprocessing.read(workdir)
    image_shape = image_shape or stored.image_shape
    split, classes, (images, labels) = _part(config, image_shape, split)
    unknown = [name for name in classes if name not in stored.classes]
    if unknown:
        others = f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''
        raise UserError(
            f"{config.source} has the class '{unknown[0]}'{others}, which the run in "
            f'{workdir.path} was not trained on: {nearest(unknown[0], stored.classes)}'
        )
    if images.shape[1:] != image_shape:
        raise UserError(
            f'The images of {config.source} are {images.shape[1:]} and those of the run in '
            f'{workdir.path} {image_shape}: give a source of this shape.'
        )
    numbers = np.array([stored.classes.index(name) for name in classes], np.int32)
    return OtherData(config.source, split, Arrays(images, numbers[labels]))


def _part(
    config: ConfigDict, image_shape: tuple[int, ...], split: str | None
) -> tuple[str, tuple[str, ...], Arrays]:
    """Returns the split, the names of the classes, and the images."""
    height, width, _ = image_shape
    kind, _, path = config.source.partition(':')
    config = config.copy_and_resolve_references()
    config.classes, config.fraction = 0, 1.0
    config.image_size = height if height == width else 0
    own_size = config.source in ('cifar10', 'cifar100') and height == width == 32
    if own_size and config.resize == 'stretch':
        config.image_size = 0  # which is cached
    if config.source != 'cifar100' and kind != 'archive':
        config.labels = 'fine'
    sources.check(config)
    if kind == 'folder':
        return folders.load_part(pathlib.Path(path).expanduser().resolve(), config, split)
    existing, classes = sources.load_parts(config)
    split = split or 'test'
    if split not in (*existing, 'all'):
        raise no_part(config.source, split, existing)
    chosen = list(existing.values()) if split == 'all' else [existing[split]]
    return split, classes, joined(chosen)
