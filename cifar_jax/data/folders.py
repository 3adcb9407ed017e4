"""A folder of class folders of images, as arrays."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cifar_jax.data import image_files, progress, splits
from cifar_jax.data.arrays import Arrays, Dataset, check_memory
from cifar_jax.errors import UserError
from cifar_jax.machine import cores

DAMAGED = ('stop', 'skip')
DRAWS = ('names', 'count')
PARTS = {  # of a data set -> how folders of them are called, in any case
    'train': ('train', 'training'),
    'validation': ('validation', 'valid', 'val'),
    'test': ('test', 'testing'),
}
SHARE, SEED = 0.2, 0  # of the images that become a test part, and of the draw by their count
SIZE = 32  # height and width of an image where none are given
FEWEST = 5  # images of a class that a fifth can be drawn from

log = logging.getLogger('cifar_jax')


class Files(NamedTuple):
    """The images of a part: their files, their names below it, and their labels int32[n]."""

    paths: list[Path]
    names: list[str]
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> 'Files':
        """Returns the files of some rows."""
        return Files(
            [self.paths[row] for row in rows],
            [self.names[row] for row in rows],
            self.labels[rows],
        )


def load(path: Path, config: ConfigDict) -> Dataset:
    """Returns the images of a folder, in the order of their names.

    Three layouts, with images at any depth below a class, and parts named as in `PARTS`:
    PATH/<class>/; PATH/train/<class>/ and PATH/test/<class>/; the same and PATH/val/<class>/. Of
    train and val alone, val is the test part. Classes are numbered in the order of their names.
    Without parts about a fifth of each class becomes the test part, the same in every run.

    Args:
      config: `config.data`, of which are used
        `image_size`, the height and width that every image gets (0: 32), see `image_files.pixels`;
        `damaged`: an image that cannot be read ends the run ('stop') or is left out ('skip');
        `memory_gb`, the most that the decoded images may take, in 2**30 bytes;
        `validation`: for 'none' a validation part is not read;
        `draw`: 'names' draws test and validation images by their names, so that new images move no
        others; 'count' is what runs did before the key existed: a draw that depends on the number
        of images, and a validation part beside train and test is not read.

    Raises:
      UserError: there is no such folder; classes without images, too few of them, or others in one
        part than in the other; a symbolic link; a damaged image; too much memory.
    """
    if not path.is_dir():
        raise UserError(f"There is no folder {path}: write --config.data.source='folder:PATH'.")
    classes, parts = _parts(path, config)
    count = sum(len(files.paths) for files in parts.values())
    check_memory(path.name, count * (config.image_size or SIZE) ** 2 * 3, config.memory_gb)
    images = {}
    for part, files in parts.items():
        parts[part], images[part] = _read(path, part, files, classes, config)
    return Dataset(
        path.name,
        images['train'],
        images['test'],
        tuple(classes),
        images.get('validation'),
        tuple(parts['train'].names) if config.draw == 'names' else None,
    )


def _parts(path: Path, config: ConfigDict) -> tuple[list[str], dict[str, Files]]:
    """Returns the names of the classes, and the files of each part."""
    names = _folders(path)
    of_part = {
        part: [name for name in names if name.lower() in known] for part, known in PARTS.items()
    }
    like_parts = [name for own in of_part.values() for name in own]
    if of_part['train'] and (of_part['validation'] or of_part['test']):
        return _separate(path, names, of_part, config)
    if like_parts and len(like_parts) == len(names):
        raise UserError(
            f'{path} holds only {" and ".join(names)}, named like parts of a data set and not like '
            'classes: it needs the folders train and test, with a folder for every class in each.'
        )
    classes, files = _classes(path)
    return classes, _drawn(path, classes, files, config.draw)


def _separate(
    path: Path, names: list[str], of_part: Mapping[str, list[str]], config: ConfigDict
) -> tuple[list[str], dict[str, Files]]:
    """Returns the names of the classes, and the files of parts that have a folder each."""
    for own in of_part.values():
        if len(own) > 1:
            raise UserError(
                f'{path} holds {" and ".join(own)}, which mean the same part of a data set: keep '
                'one of them.'
            )
    folders = {part: own[0] for part, own in of_part.items() if own}
    if 'test' not in folders:
        folders['test'] = folders.pop('validation')
    elif config.validation == 'none' or config.draw == 'count':
        folders.pop('validation', None)
    for name in {*names} - {*folders.values()}:
        log.warning('%s is not read: %s are.', path / name, ' and '.join(folders.values()))
    if 'validation' in folders:
        log.info('%s is the validation part: none is drawn.', path / folders['validation'])
    parts = {}
    for part, name in folders.items():
        classes, parts[part] = _classes(path / name)
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


def _classes(folder: Path) -> tuple[list[str], Files]:
    """Returns the names of the class folders in order, and their files."""
    names = _folders(folder)
    if len(names) < 2:
        held = f"the class folder '{names[0]}' alone" if names else 'no class folders'
        raise UserError(
            f'{folder} holds {held}: it needs a folder of images for each of two classes or more.'
        )
    paths: list[Path] = []
    labels: list[int] = []
    ignored = 0
    for label, name in enumerate(names):
        inside = sorted(_walk(folder / name), key=lambda path: _name(folder, path))
        own = [path for path in inside if _wanted(path)]
        if not own:
            raise UserError(
                f"The class '{name}' in {folder} has no image ({', '.join(image_files.SUFFIXES)}): "
                'add some, or remove its folder.'
            )
        paths += own
        labels += [label] * len(own)
        ignored += len(inside) - len(own)
    if ignored:
        log.info('%s: %d hidden files and files that are not images are ignored.', folder, ignored)
    return names, Files(paths, [_name(folder, path) for path in paths], np.array(labels, np.int32))


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _wanted(path: Path) -> bool:
    return not path.name.startswith('.') and image_files.is_image(path.name) and path.is_file()


def _folders(folder: Path) -> list[str]:
    names = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.')]
    for name in names:
        _refuse_link(folder / name)
    return sorted(names)


def _walk(folder: Path) -> Iterator[Path]:
    """Yields all files below a folder, except those in hidden folders."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in (*folders, *files):
            _refuse_link(Path(parent, name))
        yield from (Path(parent, name) for name in files)


def _refuse_link(path: Path) -> None:
    """A link could lead out of the folder, in a circle, or to an image of the other part."""
    if path.is_symlink():
        raise UserError(
            f'{path} is a symbolic link, which is not followed: put a copy of what it leads to in '
            'its place (cp -rL copies a folder so).'
        )


def _raise(error: OSError) -> None:
    raise error


def _drawn(path: Path, classes: list[str], files: Files, draw: str) -> dict[str, Files]:
    counts = splits.class_counts(files.labels, len(classes))
    if counts.min() < FEWEST:
        raise UserError(
            f"The class '{classes[counts.argmin()]}' in {path} has {counts.min()} images, too few "
            f'to draw a fifth of them for the test set: give it {FEWEST}, or make two folders, '
            'train and test, with a folder for every class in each.'
        )
    if draw == 'names':
        train, test = splits.stratified_by_name(files.labels, files.names, SHARE, 'test')
    else:
        train, test = splits.stratified(files.labels, SHARE, SEED)
    log.info('%s has no train and test folders: a fixed fifth is the test set.', path)
    return {'train': files.take(train), 'test': files.take(test)}


def _read(
    path: Path, part: str, files: Files, classes: list[str], config: ConfigDict
) -> tuple[Files, Arrays]:
    """Returns the files of a part that can be read, and their images."""
    images, damaged = _decoded(files, config.image_size or SIZE, config.damaged)
    if damaged:
        kept = np.delete(np.arange(len(images)), damaged)
        images, files = images[kept], files.take(kept)
    for name, left in zip(classes, splits.class_counts(files.labels, len(classes)), strict=True):
        if not left:
            raise UserError(
                f"No {part} image of the class '{name}' in {path} could be read: repair them, or "
                'remove the class.'
            )
    return files, Arrays(images, files.labels)


def _decoded(files: Files, size: int, damaged: str) -> tuple[np.ndarray, list[int]]:
    """Returns the images, and the rows of those that could not be read."""
    images = np.empty((len(files.paths), size, size, 3), np.uint8)
    problems: dict[int, UserError] = {}

    def read(row: int) -> None:
        try:
            images[row] = image_files.read(files.paths[row], size)
        except UserError as error:
            if damaged == 'stop':
                remedy = 'or skip such files with --config.data.damaged=skip.'
                raise UserError(f'{str(error).removesuffix(".")}, {remedy}') from error
            problems[row] = error

    # Pillow decodes without Python's lock; an image that it warns of is read all the same.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(cores())) as pool:
        warnings.simplefilter('ignore')
        rows = range(len(files.paths))
        for _ in progress.shown(pool.map(read, rows), len(rows), 'reading images'):
            pass
    for row in sorted(problems):
        log.warning('Skipped: %s', problems[row])
    if problems:
        log.warning('%d of %d images are skipped.', len(problems), len(files.paths))
    return images, sorted(problems)
