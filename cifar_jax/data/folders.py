"""Loads a folder of class folders of images."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cifar_jax.data import class_folders, decoded_folders, splits
from cifar_jax.data.arrays import Arrays, Dataset, joined, no_part, too_large
from cifar_jax.data.class_folders import Files
from cifar_jax.data.decoded_folders import SIZE
from cifar_jax.errors import UserError

DAMAGED = ('stop', 'skip')
DRAWS = ('names', 'count')
PARTS = {  # part of a data set -> names of its folder, in lower case
    'train': ('train', 'training'),
    'validation': ('validation', 'valid', 'val'),
    'test': ('test', 'testing'),
}
SHARE, SEED = 0.2, 0  # fraction of test images, and seed of the draw by count
FEWEST = 5  # minimum number of images per class, so that a fifth can be drawn

log = logging.getLogger('cifar_jax')


def load(path: Path, config: ConfigDict) -> Dataset:
    """Loads the images of a folder, in the order of their names.

    There are three layouts, with images at any depth below a class and parts named as in `PARTS`:
    PATH/<class>/; PATH/train/<class>/ and PATH/test/<class>/; the same with PATH/val/<class>/. If
    there are only train and val, val is the test part. Classes are numbered in the order of their
    names. Without parts, about a fifth of each class becomes the test part, the same in every run.

    Args:
      config: `config.data`, with these keys:
        `image_size`, `resize`: height and width of all images (0: 32), and the way of resizing, see
        `image_files.pixels`;
        `damaged`: an image that cannot be read ends the run ('stop') or is left out ('skip');
        `dir`: where decoded images are kept, see `decoded_folders.read`;
        `memory_gb`: memory in 2**30 bytes; if all images take more, they are streamed;
        `validation`: with 'none', a validation part is not read;
        `draw`: 'names' draws test and validation images by their names, so that new images do not
        move others; 'count' is the behaviour before this key existed: a draw that depends on the
        number of images, without reading a validation part.

    Raises:
      UserError: the folder does not exist; a class has too few images; the parts have different
        classes; there is a symbolic link or a damaged image.
    """
    _require_folder(path)
    classes, parts = _parts(path, config)
    count = sum(len(files.paths) for files in parts.values())
    streamed = _streamed(count, config)
    images = {}
    for part, files in parts.items():
        parts[part], images[part] = _read(path, part, files, classes, config, streamed)
    return Dataset(
        path.name,
        images['train'],
        images['test'],
        tuple(classes),
        images.get('validation'),
        tuple(parts['train'].names) if config.draw == 'names' else None,
    )


def counts(path: Path, config: ConfigDict) -> tuple[list[str], dict[str, int]]:
    """Returns the names of the classes, and the number of image files of each part.

    No image is opened, so those that cannot be read are counted, too. See `load` for the config.

    Raises:
      UserError: as for `load`.
    """
    _require_folder(path)
    classes, parts = _parts(path, config)
    return classes, {part: len(files.paths) for part, files in parts.items()}


def load_part(
    path: Path, config: ConfigDict, split: str | None
) -> tuple[str, tuple[str, ...], Arrays]:
    """Loads the images of one part of a folder, or of the whole folder; draws nothing.

    One class of one image is enough. See `load` for the layouts and the config.

    Args:
      split: 'train', 'validation', 'test' or 'all'. None is 'test', or 'all' if there are no parts.

    Returns:
      The split, the names of its classes, and its images.

    Raises:
      UserError: as for `load`; or the folder has no such part.
    """
    _require_folder(path)
    names = class_folders.subfolders(path)
    by_part = {part: aliases for part, aliases in _named_like_parts(names).items() if aliases}
    has_parts = 'train' in by_part and len(by_part) > 1
    if has_parts or sum(map(len, by_part.values())) == len(names) > 0:
        folders = _single(path, by_part)
        if 'test' not in folders and 'validation' in folders:
            folders['test'] = folders.pop('validation')
    else:
        folders = {'all': ''}
    split = split or ('all' if 'all' in folders else 'test')
    if split not in (*folders, 'all'):
        raise no_part(path.name, split, folders)
    chosen = list(folders.values()) if split == 'all' else [folders[split]]
    labelled = [class_folders.classes(path / name, fewest=1) for name in chosen]
    classes = sorted({name for names, _ in labelled for name in names})
    count = sum(len(files.paths) for _, files in labelled)
    streamed = _streamed(count, config)
    parts = []
    for names, files in labelled:
        _, (images, labels) = _read(path, split, files, names, config, streamed)
        numbers = np.array([classes.index(name) for name in names], np.int32)
        parts.append(Arrays(images, numbers[labels]))
    return split, tuple(classes), joined(parts)


def _streamed(count: int, config: ConfigDict) -> bool:
    """Returns whether so many decoded images are too large for `config.memory_gb`."""
    return too_large(count * (config.image_size or SIZE) ** 2 * 3, config.memory_gb)


def _require_folder(path: Path) -> None:
    if not path.is_dir():
        raise UserError(f"There is no folder {path}: write --config.data.source='folder:PATH'.")


def _parts(path: Path, config: ConfigDict) -> tuple[list[str], dict[str, Files]]:
    """Returns the names of the classes, and the files of each part."""
    names = class_folders.subfolders(path)
    by_part = _named_like_parts(names)
    named_like_parts = [name for folders in by_part.values() for name in folders]
    if by_part['train'] and (by_part['validation'] or by_part['test']):
        return _separate(path, names, by_part, config)
    if named_like_parts and len(named_like_parts) == len(names):
        raise UserError(
            f'{path} holds only {" and ".join(names)}, which are names of parts and not of '
            'classes: it needs the folders train and test, with a folder for every class in each.'
        )
    classes, files = class_folders.classes(path)
    return classes, _drawn(path, classes, files, config.draw)


def _separate(
    path: Path, names: list[str], by_part: Mapping[str, list[str]], config: ConfigDict
) -> tuple[list[str], dict[str, Files]]:
    """Returns the names of the classes, and the files of the parts, which have a folder each."""
    folders = _single(path, by_part)
    if 'test' not in folders:
        folders['test'] = folders.pop('validation')
    elif config.validation == 'none' or config.draw == 'count':
        folders.pop('validation', None)
    for name in {*names} - {*folders.values()}:
        log.warning('%s is not read: %s are.', path / name, ' and '.join(folders.values()))
    if 'validation' in folders:
        log.info('%s is the validation part, so none is drawn.', path / folders['validation'])
    parts = {}
    for part, name in folders.items():
        classes, parts[part] = class_folders.classes(path / name)
        if part == 'train':
            expected = classes
        elif classes != expected:
            differing = sorted({*classes} ^ {*expected})
            raise UserError(
                f"{path}: {folders['train']} and {name} have different classes ('{differing[0]}' "
                f'is in one of them only, as are {len(differing)} in all): give both a folder for '
                'every class.'
            )
    return expected, parts


def _single(path: Path, by_part: Mapping[str, list[str]]) -> dict[str, str]:
    """Returns the name of the folder of each existing part."""
    for aliases in by_part.values():
        if len(aliases) > 1:
            raise UserError(
                f'{path} holds {" and ".join(aliases)}, which mean the same part of a data set: '
                'keep one of them.'
            )
    return {part: aliases[0] for part, aliases in by_part.items() if aliases}


def _named_like_parts(names: list[str]) -> dict[str, list[str]]:
    return {
        part: [name for name in names if name.lower() in aliases] for part, aliases in PARTS.items()
    }


def _drawn(path: Path, classes: list[str], files: Files, draw: str) -> dict[str, Files]:
    counts = splits.class_counts(files.labels, len(classes))
    if counts.min() < FEWEST:
        images = f'{counts.min()} image{"s" if counts.min() != 1 else ""}'
        raise UserError(
            f"The class '{classes[counts.argmin()]}' in {path} has {images}, too few "
            f'to draw a fifth of them for the test set: give it {FEWEST}, or make two folders, '
            'train and test, with a folder for every class in each.'
        )
    if draw == 'names':
        train, test = splits.stratified_by_name(files.labels, files.names, SHARE, 'test')
    else:
        train, test = splits.stratified(files.labels, SHARE, SEED)
    log.info('%s has no train and test folders: a fixed fifth of the images is the test set.', path)
    return {
        part: files.take(rows)._replace(drawn=part)
        for part, rows in {'train': train, 'test': test}.items()
    }


def _read(
    path: Path, part: str, files: Files, classes: list[str], config: ConfigDict, streamed: bool
) -> tuple[Files, Arrays]:
    """Returns the readable files of a part, and their images."""
    images, damaged = decoded_folders.read(files, config, streamed)
    arrays = Arrays(images, files.labels)
    if len(damaged):
        readable = np.delete(np.arange(len(images)), damaged)
        arrays, files = arrays.take(readable), files.take(readable)
    for name, count in zip(classes, splits.class_counts(files.labels, len(classes)), strict=True):
        if not count:
            raise UserError(
                f"No {part} image of the class '{name}' in {path} could be read: repair them, or "
                'remove the class.'
            )
    return files, arrays
