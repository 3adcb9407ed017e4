"""Features that a network has computed of a data set: their files, and a source that reads them.

A folder holds `index.json`, with a checksum, and for each part of the data set arrays of at most
`CHUNK` images, train-00000.npz and so on. The index is written last.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.data.arrays import Arrays, Dataset, check_memory, digest
from cifar_jax.errors import UserError

INDEX = 'index.json'
CHUNK = 512  # images in a file, of which an interrupted computation loses at most one


class Index(NamedTuple):
    """What a folder of features holds.

    facts: all that the features depend on. classes: their names, in label order. width: the number
    of features. images, sha256: the number of images and the digest of each part. names: those of
    the training images, where validation images are drawn by name. network: what computes the
    features of other images, see `experiment.feature_runs`; empty in folders of older versions.
    """

    facts: Mapping[str, Any]
    classes: tuple[str, ...]
    width: int
    images: Mapping[str, int]
    sha256: Mapping[str, str]
    names: tuple[str, ...] | None
    network: Mapping[str, Any] = {}


def are_source(source: str) -> bool:
    """Returns whether a `config.data.source` names features.

    >>> are_source('features:features/birds'), are_source('folder:birds')
    (True, False)
    """
    return source.startswith('features:')


def load(path: Path, config: ConfigDict) -> Dataset:
    """Returns features as images of 1x1 with a channel for each feature, float32 [n 1 1 features].

    Args:
      path: a folder of features, or a folder that holds a single one.
      config: `config.data`: with a `validation` of 'none', a validation part is not read.

    Raises:
      UserError: the folder holds no features or several, or they are damaged, or need more memory
        than `config.memory_gb`.
    """
    folder = find(path)
    index = read_index(folder)
    check_memory(path.name, 4 * index.width * sum(index.images.values()), config.memory_gb)
    parts = {part: read_part(folder, part, count) for part, count in index.images.items()}
    for part, arrays in parts.items():
        if digest(arrays) != index.sha256[part]:
            error = files.FileError(folder, f'has {part} features that are not those of its index')
            raise _with_remedy(error)
    validation = None if config.validation == 'none' else parts.get('validation')
    names = index.names if config.draw == 'names' else None
    return Dataset(
        path.name,
        parts['train'],
        parts['test'],
        index.classes,
        validation=validation,
        names=names,
        network=index.network,
    )


def find(path: Path) -> Path:
    """Returns the folder of features that a path names.

    Raises:
      UserError: there is none, or there are several.
    """
    inside = sorted(file.parent for file in path.glob(f'*/{INDEX}'))
    folders = [path] if (path / INDEX).exists() else inside
    if not folders:
        raise UserError(
            f'{path} holds no features: compute them with python -m cifar_jax.features, or write '
            "--config.data.source='features:PATH'."
        )
    if len(folders) > 1:
        raise UserError(
            f'{path} holds {len(folders)} sets of features, of different weights, images or sizes: '
            f'name one of them, such as features:{folders[0]}, or remove the others.'
        )
    return folders[0]


def chunks(images: int) -> list[slice]:
    """Returns the images of each file of a part.

    >>> chunks(600)
    [slice(0, 512, None), slice(512, 600, None)]
    """
    return [
        slice(start, min(start + CHUNK, images))
        for start in range(0, CHUNK * math.ceil(images / CHUNK), CHUNK)
    ]


def write_chunk(
    folder: Path, part: str, number: int, features: Float32[np.ndarray, 'n width'], labels: Any
) -> None:
    """Writes the features and labels of one file of a part, atomically."""
    arrays = {'features': features, 'labels': np.asarray(labels, np.int32)}
    files.write_arrays(_chunk(folder, part, number), arrays)


def read_chunk(folder: Path, part: str, number: int, images: int) -> Arrays:
    """Returns what `write_chunk` wrote, as images [n 1 1 width].

    Raises:
      UserError: the file is missing or damaged, or does not have so many images.
    """
    path = _chunk(folder, part, number)
    try:
        arrays = files.read_arrays(path)
        features, labels = arrays['features'], arrays['labels']
        as_written = (features.ndim, str(features.dtype), len(features), str(labels.dtype))
        if as_written != (2, 'float32', images, 'int32') or labels.shape != (images,):
            raise files.FileError(path, f'is damaged (it does not hold {images} float32 features)')
    except KeyError as error:
        raise _with_remedy(files.FileError(path, f'is damaged (it lacks {error})')) from None
    except files.FileError as error:
        raise _with_remedy(error) from None
    return Arrays(features[:, None, None], labels)


def read_part(folder: Path, part: str, images: int) -> Arrays:
    """Returns all files of a part, as `read_chunk` does."""
    read = [
        read_chunk(folder, part, number, rows.stop - rows.start)
        for number, rows in enumerate(chunks(images))
    ]
    return Arrays(*(np.concatenate(arrays) for arrays in zip(*read, strict=True)))


def write_index(folder: Path, index: Index) -> None:
    """Writes the index, which makes a folder complete."""
    files.write_json(folder / INDEX, files.with_checksum(index._asdict()))


def read_index(folder: Path) -> Index:
    """Returns the index of a folder.

    Raises:
      UserError: it is missing or damaged.
    """
    path = folder / INDEX
    try:
        index = Index(**files.read_checked_json(path))
        names = None if index.names is None else tuple(map(str, index.names))
        return index._replace(classes=tuple(map(str, index.classes)), names=names)
    except files.FileError as error:
        raise _with_remedy(error) from None
    except TypeError:
        raise _with_remedy(files.FileError(path, 'is of another version, or damaged')) from None


def _chunk(folder: Path, part: str, number: int) -> Path:
    return folder / f'{part}-{number:05}.npz'


def _with_remedy(error: files.FileError) -> UserError:
    remove = '' if isinstance(error, files.MissingFileError) else 'remove it, and '
    return UserError(
        f'{error.path} {error.reason}: {remove}run python -m cifar_jax.features again.'
    )
