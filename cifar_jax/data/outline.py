"""The outline of a data set: its numbers and shapes, without its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.data import catalogue, folders, kept_features, metadata, normalize, sources
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError

PARTS = ('train', 'validation', 'test')


class Outline(NamedTuple):
    """The numbers of images and classes of a data set, and the shape of an image.

    image_shape: (height, width, channels). pixels: whether images are uint8, or else float32
      features in the place of pixels.
    """

    train: int
    validation: int
    test: int
    image_shape: tuple[int, int, int]
    classes: int
    pixels: bool = True

    @property
    def image_bytes(self) -> int:
        """The size of one image in memory."""
        return int(np.prod(self.image_shape)) * (1 if self.pixels else 4)


def read(config: ConfigDict) -> Outline:
    """Returns the outline of `config.data`, from names and metadata where these are enough.

    Of CIFAR nothing is read, of a folder the names of its files, of features their index, of a set
    of tensorflow-datasets what it says about itself; archives and digits are read in seconds.
    `classes`, `fraction` and a validation part that is drawn are taken as shares: exact for CIFAR,
    and a few images off for classes of different sizes.

    Raises:
      UserError: the set is not there, or a value is invalid.
    """
    sources.check(config)
    kind, _, name = config.source.partition(':')
    if kind in ('digits', 'archive'):
        return _of_loaded(config)
    if kind == 'folder':
        names, counts = folders.counts(Path(name).expanduser().resolve(), config)
        whole = _outline(counts, _square(config), len(names))
    elif kind == 'features':
        index = kept_features.read_index(kept_features.find(Path(name).expanduser()))
        whole = _outline(index.images, (1, 1, index.width), len(index.classes), pixels=False)
    elif kind == 'tfds':
        whole = _of_prepared(name, config)
    else:
        classes = {'cifar10': 10, 'cifar100': 20 if config.labels == 'coarse' else 100}[kind]
        whole = _outline({'train': 50_000, 'test': 10_000}, _square(config), classes)
    return _share(whole, config)


def assumed(images: int, classes: int, config: ConfigDict) -> Outline:
    """Returns the outline of a set that is not there: `images` for training and validation."""
    return _share(_outline({'train': images}, _square(config), classes), config)


def blank(outline: Outline, config: ConfigDict) -> Prepared:
    """Returns data with the numbers and shapes of an outline, all zeros, which take no memory."""
    dtype = np.uint8 if outline.pixels else np.float32

    def part(count: int) -> Arrays:
        images = np.broadcast_to(np.zeros((), dtype), (count, *outline.image_shape))
        return Arrays(images, np.broadcast_to(np.zeros((), np.int32), count))

    fitted = config.copy_and_resolve_references()
    fitted.normalize = 'center' if config.normalize == 'zca' else config.normalize
    normalizer = normalize.fit(part(2).images, fitted)
    if config.normalize == 'zca':
        pixels = int(np.prod(outline.image_shape))
        whitening = np.broadcast_to(np.zeros((), np.float32), (pixels, pixels))
        normalizer = normalizer._replace(whitening=whitening)
    validation = part(outline.validation) if outline.validation else None
    names = tuple(map(str, range(outline.classes)))
    return Prepared(part(outline.train), validation, part(outline.test), names, normalizer)


def _outline(
    counts: Mapping[str, int], shape: tuple[int, int, int], classes: int, pixels: bool = True
) -> Outline:
    train, validation, test = (counts.get(part, 0) for part in PARTS)
    return Outline(train, validation, test, shape, classes, pixels)


def _square(config: ConfigDict) -> tuple[int, int, int]:
    """Returns the shape of the images of a folder, or of CIFAR."""
    size = config.image_size or folders.SIZE
    return size, size, 3


def _of_loaded(config: ConfigDict) -> Outline:
    """Returns the outline of a set that is read, already reduced to its classes and fraction."""
    data = sources.load(config)
    train, test = len(data.train.labels), len(data.test.labels)
    height, width, channels = data.train.images.shape[1:]
    whole = Outline(train, 0, test, (height, width, channels), len(data.classes))
    return _draw(whole, config)


def _of_prepared(name: str, config: ConfigDict) -> Outline:
    version = catalogue.prepared(name, config.dir)
    if version is None:
        raise UserError(
            f"'{name}' is not prepared in {config.dir}: without its data, say how large it is, "
            'such as --images 50000 --classes 10.'
        )
    described = metadata.read(name, version)
    height, width = metadata.size(name, described.features.shape, config.image_size)
    counts = {part: count for part, (_, count) in described.splits.items()}
    try:
        specs = files.read_json(version / 'features.json')['featuresDict']['features']
        classes = int(specs[described.features.label]['classLabel']['numClasses'])
    except (*files.DAMAGE, files.FileError) as error:
        raise metadata.damaged(version, error) from error
    return _outline(counts, (height, width, 3), classes)


def _share(whole: Outline, config: ConfigDict) -> Outline:
    """Returns the outline of the chosen classes and fraction, with its validation images."""
    classes = config.classes or whole.classes
    if classes > whole.classes:
        raise UserError(
            f'config.data.classes={classes} must be at most {whole.classes}, the classes of '
            f'{config.source}, or 0 for all.'
        )
    share = classes / whole.classes * config.fraction
    train, validation, test = (round(share * getattr(whole, part)) for part in PARTS)
    reduced = whole._replace(train=train, validation=validation, test=test, classes=classes)
    return _draw(reduced, config)


def _draw(whole: Outline, config: ConfigDict) -> Outline:
    """Returns the outline after validation images are drawn from those for training."""
    if config.validation == 'none':
        return whole._replace(validation=0)
    if whole.validation:
        return whole
    drawn = round(whole.train * config.validation_fraction)
    return whole._replace(train=whole.train - drawn, validation=drawn)
