"""Sources of data sets: one function each, and an entry in `SOURCES`."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from cifar_jax.checks import require, require_choice, require_home
from cifar_jax.data import (
    archives,
    cache,
    catalogue,
    folders,
    image_files,
    kept_features,
    records,
    splits,
)
from cifar_jax.data.arrays import Arrays, Dataset, digest, too_large
from cifar_jax.data.records import Images, Records
from cifar_jax.errors import UserError

LARGEST_SIZE = 16_384  # height and width: such an image takes 0.75 GiB
DRAW = 0  # seed of the fixed draws below, which are the same in every run


def cifar10(config: ConfigDict) -> Dataset:
    """CIFAR-10: 50,000 and 10,000 images of 32x32x3 in 10 classes (Krizhevsky, 2009)."""
    return _prepared(CIFAR10, config)


def cifar100(config: ConfigDict) -> Dataset:
    """CIFAR-100: 50,000 and 10,000 images of 32x32x3, 100 fine or 20 coarse classes."""
    return _prepared(CIFAR100, config)


def digits(config: ConfigDict) -> Dataset:
    """scikit-learn's digits: 1,797 real images, resized from 8x8 to 32x32x3; no download.

    A fixed stratified draw gives 1,437 training and 360 test images. If `config.image_size` is not
    0, it replaces 32.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    parts = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=DRAW
    )
    train, test = (Arrays(images[rows], labels[rows]) for rows in map(np.sort, parts))
    dataset = Dataset('digits', train, test, tuple(map(str, range(10))))
    return _resized(dataset, config.image_size or 32, config)


def archive(path: str, config: ConfigDict) -> Dataset:
    """An official CIFAR archive, or the folder in it: see `archives.load`."""
    decoded = archives.load(Path(path))
    if config.labels not in decoded.classes:
        raise UserError(f'{path} has no {config.labels} labels: use --config.data.labels=fine.')
    dataset = _dataset(Path(path).name, decoded, config.labels)
    return _resized(dataset, config.image_size, config) if config.image_size else dataset


def folder(path: str, config: ConfigDict) -> Dataset:
    """A folder of class folders of images: see `folders.load`; 32x32 by default."""
    return folders.load(Path(path).expanduser().resolve(), config)


def tfds(name: str, config: ConfigDict) -> Dataset:
    """Any set of images with one class each in tensorflow-datasets: see `catalogue.load`."""
    return _prepared(_recipe(name), config)


def features(path: str, config: ConfigDict) -> Dataset:
    """Features that `python -m cifar_jax.features` keeps: see `kept_features.load`."""
    return kept_features.load(Path(path).expanduser(), config)


CIFAR10 = catalogue.Recipe(
    'cifar10', 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz', {'fine': 'label'}
)
CIFAR100 = catalogue.Recipe(
    'cifar100',
    'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    {'fine': 'label', 'coarse': 'coarse_label'},
)
SOURCES: Mapping[str, Callable[[ConfigDict], Dataset]] = MappingProxyType(
    {'cifar10': cifar10, 'cifar100': cifar100, 'digits': digits}
)
# Sources with an argument, by the prefix before the colon.
PREFIXES: Mapping[str, Callable[[str, ConfigDict], Dataset]] = MappingProxyType(
    {'archive': archive, 'features': features, 'folder': folder, 'tfds': tfds}
)
WRITTEN = ('archive:PATH', 'features:PATH', 'folder:PATH', 'tfds:NAME')


def load(config: ConfigDict) -> Dataset:
    """Loads the data set of `config.data`, reduced to the requested classes and fraction.

    classes: the first k classes are kept, so labels do not change; 0 keeps all.
    fraction: a stratified fraction of the training and test sets, the same in every run.
    memory_gb: memory for all images in 2**30 bytes; if they take more, they are streamed.

    Raises:
      UserError: the source is unknown or missing, or a value is invalid.
    """
    check(config)
    prefix, colon, rest = config.source.partition(':')
    data = PREFIXES[prefix](rest, config) if colon else SOURCES[prefix](config)
    parts = {'train': data.train, 'validation': data.validation, 'test': data.test}
    fitting: dict[str, Any] = _within_memory({k: v for k, v in parts.items() if v}, config)
    data = data._replace(**fitting)
    if len(data.classes) < 2:
        raise UserError(f'{data.name} has fewer than two classes: choose another data set.')
    keep = config.classes or len(data.classes)
    if not 2 <= keep <= len(data.classes):
        raise UserError(
            f'config.data.classes={config.classes} must be from 2 to {len(data.classes)}, the '
            f'classes of {data.name}, or 0 for all.'
        )
    if keep == len(data.classes) and config.fraction == 1:
        return data
    train = _selected(data.train.labels, 'training', data.classes, keep, config.fraction)
    test = _selected(data.test.labels, 'test', data.classes, keep, config.fraction)
    validation = data.validation and data.validation.take(
        _selected(data.validation.labels, 'validation', data.classes, keep, config.fraction)
    )
    return data._replace(
        train=data.train.take(train),
        test=data.test.take(test),
        classes=data.classes[:keep],
        validation=validation,
        names=data.names and tuple(data.names[row] for row in train),
    )


def load_parts(config: ConfigDict) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Returns the parts of a data set by name, and the names of its classes, for evaluation.

    Unlike in `load`, a set of tensorflow-datasets may lack its training or its test part.

    Raises:
      UserError: as for `load`.
    """
    prefix, _, name = config.source.partition(':')
    if prefix != 'tfds':
        data = load(config)
        loaded = {'train': data.train, 'validation': data.validation, 'test': data.test}
        return {part: arrays for part, arrays in loaded.items() if arrays is not None}, data.classes
    check(config)
    decoded = catalogue.load(
        _recipe(name), config.dir, config.memory_gb, config.image_size, config.resize, whole=False
    )
    parts = _within_memory(_parts(decoded, config.labels), config)
    return parts, tuple(decoded.classes[config.labels])


def check(config: ConfigDict) -> None:
    """Checks the values of `config.data` for the source, before anything is loaded.

    Raises:
      UserError: a value is invalid.
    """
    prefix, _, rest = config.source.partition(':')
    if not (prefix in PREFIXES and rest):
        require_choice('data.source', config.source, [*SOURCES, *WRITTEN])
    if prefix == 'tfds':
        catalogue.check_name(rest)
    if prefix == 'features':
        require(not config.augment, 'data.augment', config.augment, 'be () for features')
    require_home('data.source', rest)
    require_home('data.dir', config.dir)
    require_choice('data.labels', config.labels, ('fine', 'coarse'))
    if config.labels == 'coarse' and config.source != 'cifar100' and prefix != 'archive':
        raise UserError(f"'{config.source}' has no coarse labels: use --config.data.labels=fine.")
    size, classes = config.image_size, config.classes
    rule = f"be from 1 to {LARGEST_SIZE}, or 0 for the set's own size"
    require(0 <= size <= LARGEST_SIZE, 'data.image_size', size, rule)
    require_choice('data.resize', config.resize, image_files.RESIZES)
    if config.resize != 'stretch' and not size:
        raise UserError(
            f"config.data.resize='{config.resize}' crops images to a size: set "
            '--config.data.image_size, such as 224.'
        )
    require_choice('data.damaged', config.damaged, folders.DAMAGED)
    require_choice('data.draw', config.draw, folders.DRAWS)
    require(0 < config.fraction <= 1, 'data.fraction', config.fraction, 'be above 0 and at most 1')
    rule = 'be 2 or more, or 0 for all classes'
    require(classes == 0 or classes >= 2, 'data.classes', classes, rule)
    for key in ('memory_gb', 'buffer_gb'):
        require(config[key] > 0, f'data.{key}', config[key], 'be above 0')


def _recipe(name: str) -> catalogue.Recipe:
    recipes = {recipe.name: recipe for recipe in (CIFAR10, CIFAR100)}
    return recipes.get(name, catalogue.Recipe(name))


def _prepared(recipe: catalogue.Recipe, config: ConfigDict) -> Dataset:
    decoded = catalogue.load(recipe, config.dir, config.memory_gb, config.image_size, config.resize)
    return _dataset(recipe.name, decoded, config.labels)


def _dataset(name: str, decoded: cache.Decoded, labels: str) -> Dataset:
    parts = _parts(decoded, labels)
    return Dataset(name, parts['train'], parts['test'], tuple(decoded.classes[labels]))


def _parts(decoded: cache.Decoded, labels: str) -> dict[str, Arrays]:
    """Returns the parts that a decoded set has, 'train' first."""
    arrays = decoded.arrays
    return {
        split: Arrays(arrays[f'{split}_images'], np.asarray(arrays[f'{split}_{labels}']))
        for split in catalogue.SPLITS
        if f'{split}_images' in arrays
    }


def _resized(dataset: Dataset, size: int, config: ConfigDict) -> Dataset:
    """Makes the images of a set RGB of a size."""
    shape = (size, size, 3)
    if config.resize == 'stretch' and shape == dataset.train.images.shape[1:]:
        return dataset
    parts: dict[str, Any] = {'train': dataset.train, 'test': dataset.test}
    count = sum(len(part.labels) for part in parts.values())
    streamed = too_large(count * math.prod(shape), config.memory_gb)
    for name, part in parts.items():
        own = records.one_by_one(part.images)
        images = (image_files.from_array(x, (size, size), config.resize) for x in own)
        if streamed:
            of = f'{digest(part)} {size} {config.resize}'
            resized: Images = _streamed(images, (len(part.labels), *shape), of, config)
        else:
            resized = records.in_memory(name, images, (len(part.labels), *shape))
        parts[name] = Arrays(resized, part.labels)
    return dataset._replace(**parts)


def _within_memory(parts: Mapping[str, Arrays], config: ConfigDict) -> dict[str, Arrays]:
    """Returns the parts of a set, which are streamed if their images exceed the memory together."""
    if not too_large(sum(part.images.nbytes for part in parts.values()), config.memory_gb):
        return dict(parts)
    streamed = {}
    for name, (images, labels) in parts.items():
        if not isinstance(images, Records):
            of = digest(Arrays(images, labels))
            images = _streamed(images, images.shape, of, config)
        streamed[name] = Arrays(images.with_buffer(config.buffer_gb * 2**30), labels)
    return streamed


def _streamed(
    images: Iterable[np.ndarray], shape: Sequence[int], of: str, config: ConfigDict
) -> Records:
    """Returns images in files in `config.dir`, which are written unless they are there.

    Args:
      of: all that the images depend on.
    """

    def decode(collect: records.Collect) -> cache.Decoded:
        return cache.Decoded({'images': collect('images', images, shape)}, {})

    name = hashlib.sha256(of.encode()).hexdigest()[:32]
    folder = Path(config.dir).expanduser() / cache.STREAMED / name
    stored = cache.stream(folder, of, math.prod(shape), decode).arrays['images']
    assert isinstance(stored, Records)
    return stored


def _selected(
    labels: Int[np.ndarray, ' n'], part: str, names: Sequence[str], classes: int, fraction: float
) -> Int[np.ndarray, ' selected']:
    """Returns the indices of the first classes' images, or of a stratified fraction of them."""
    rows = np.flatnonzero(labels < classes)
    if fraction == 1:
        return rows
    otherwise = 'keep all images (--config.data.fraction=1)'
    splits.refuse_single_images(labels[rows], names, part, otherwise)
    drawn, _ = splits.stratified(labels[rows], 1 - fraction, DRAW)
    return rows[drawn]
