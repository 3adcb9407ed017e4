"""A folder of class folders of images, as arrays."""

import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifar_jax.data import image_files, progress, splits
from cifar_jax.data.arrays import check_memory
from cifar_jax.data.cache import Decoded
from cifar_jax.errors import UserError

DAMAGED = ('stop', 'skip')
HELD_OUT = ('test', 'validation', 'val')  # beside 'train': the first that there is, is the test set
SHARE, DRAW = 0.2, 0  # of the images and the seed, where a test set has to be drawn
FEWEST = 5  # images of a class that a fifth can be drawn from

log = logging.getLogger('cifar_jax')


class Files(NamedTuple):
    """The images of a part: their files, and int32[n] the places of their classes."""

    paths: list[Path]
    labels: np.ndarray


def load(path: Path, image_size: int, damaged: str, memory_gb: float) -> Decoded:
    """Returns the images of a folder, in the order of their names.

    PATH/<class>/ or PATH/train/<class>/ and PATH/test/<class>/ (or validation, or val); images may
    lie deeper. Classes are numbered in the order of their names. Without a test folder a stratified
    fifth becomes the test part, the same in every run.

    Args:
      image_size: the height and width that every image gets: see `image_files.pixels`.
      damaged: of an image that cannot be read: 'stop', or 'skip' it and say so.
      memory_gb: the most that the decoded images may take, of 2**30 bytes.

    Raises:
      UserError: there is no such folder; classes without images, too few of them, or others in one
        part than in the other; a symbolic link; a damaged image; too large a whole.
    """
    if not path.is_dir():
        raise UserError(f"There is no folder {path}: write --config.data.source='folder:PATH'.")
    classes, parts = _parts(path)
    count = sum(len(files.paths) for files in parts.values())
    check_memory(path.name, count * image_size**2 * 3, memory_gb)
    arrays: dict[str, np.ndarray] = {}
    for part, files in parts.items():
        images, labels = _decoded(files, image_size, damaged)
        for name, left in zip(classes, splits.class_counts(labels, len(classes)), strict=True):
            if not left:
                raise UserError(
                    f"No {part} image of the class '{name}' in {path} could be read: mend them, or "
                    'remove the class.'
                )
        arrays |= {f'{part}_images': images, f'{part}_fine': labels}
    return Decoded(arrays, {'fine': classes})


def _parts(path: Path) -> tuple[list[str], dict[str, Files]]:
    """Returns the names of the classes, and the files of 'train' and 'test'."""
    names = _folders(path)
    held_out = next((name for name in HELD_OUT if name in names), None)
    if 'train' not in names or held_out is None:
        classes, files = _classes(path)
        return classes, _drawn(path, classes, files)
    for name in {*names} - {'train', held_out}:
        log.warning('%s is not read: train and %s are.', path / name, held_out)
    classes, train = _classes(path / 'train')
    others, test = _classes(path / held_out)
    if classes != others:
        differing = sorted({*classes} ^ {*others})
        raise UserError(
            f"{path}: train and {held_out} have different classes ('{differing[0]}' is in one of "
            f'them only, as are {len(differing)} in all): give both a folder for every class.'
        )
    return classes, {'train': train, 'test': test}


def _classes(folder: Path) -> tuple[list[str], Files]:
    """Returns the names of the class folders in order, and their files."""
    names = _folders(folder)
    if len(names) < 2:
        found = f"the class folder '{names[0]}' alone" if names else 'no class folders'
        raise UserError(
            f'{folder} holds {found}: it needs a folder of images for each of two classes or more.'
        )
    paths: list[Path] = []
    labels: list[int] = []
    passed = 0
    for label, name in enumerate(names):
        inside = sorted(_walk(folder / name), key=lambda p: p.relative_to(folder).as_posix())
        own = [path for path in inside if _wanted(path)]
        if not own:
            raise UserError(
                f"The class '{name}' in {folder} has no image ({', '.join(image_files.SUFFIXES)}): "
                'add some, or remove its folder.'
            )
        paths += own
        labels += [label] * len(own)
        passed += len(inside) - len(own)
    if passed:
        log.info(
            '%s: %d hidden files and files that are no images are passed over.', folder, passed
        )
    return names, Files(paths, np.array(labels, np.int32))


def _wanted(path: Path) -> bool:
    return not path.name.startswith('.') and image_files.is_image(path.name) and path.is_file()


def _folders(folder: Path) -> list[str]:
    names = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.')]
    for name in names:
        _refuse_link(folder / name)
    return sorted(names)


def _walk(folder: Path) -> Iterator[Path]:
    """Yields all files below a folder but those in hidden folders."""
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


def _drawn(path: Path, classes: list[str], files: Files) -> dict[str, Files]:
    counts = splits.class_counts(files.labels, len(classes))
    if counts.min() < FEWEST:
        raise UserError(
            f"The class '{classes[counts.argmin()]}' in {path} has {counts.min()} images, too few "
            f'to draw a fifth of them for the test set: give it {FEWEST}, or make two folders, '
            'train and test, with a folder for every class in each.'
        )
    train, test = splits.stratified(files.labels, SHARE, DRAW)
    log.info('%s has no train and test folders: a fixed fifth is the test set.', path)
    return {
        part: Files([files.paths[row] for row in rows], files.labels[rows])
        for part, rows in (('train', train), ('test', test))
    }


def _decoded(files: Files, size: int, damaged: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of the files that can be read."""
    images = np.empty((len(files.paths), size, size, 3), np.uint8)
    problems: dict[int, UserError] = {}

    def read(row: int) -> None:
        try:
            images[row] = image_files.read(files.paths[row], size)
        except UserError as error:
            if damaged == 'stop':
                remedy = 'or pass over such files with --config.data.damaged=skip.'
                raise UserError(f'{str(error).removesuffix(".")}, {remedy}') from error
            problems[row] = error

    # Pillow decodes without Python's lock; what it warns of is read all the same.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter('ignore')
        rows = range(len(files.paths))
        for _ in progress.shown(pool.map(read, rows), len(rows), 'reading images'):
            pass
    if not problems:
        return images, files.labels
    for row in sorted(problems):
        log.warning('Skipped: %s', problems[row])
    log.warning('%d of %d images are skipped.', len(problems), len(files.paths))
    return np.delete(images, [*problems], axis=0), np.delete(files.labels, [*problems])
