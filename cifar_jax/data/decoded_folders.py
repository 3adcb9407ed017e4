"""Reads the image files of a folder, and keeps the decoded images for later starts."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from cifar_jax.data import cache, image_files, progress
from cifar_jax.data.class_folders import Files
from cifar_jax.errors import UserError, first_line
from cifar_jax.machine import cores

SIZE = 32  # default height and width of the images
FOLDERS = f'{cache.FOLDER}-folders'
LEAST = 4 * 2**20  # bytes of files that are worth a cache: decoding fewer takes less than a second
_VERSION = 1  # to be raised when the same files give other pixels

log = logging.getLogger('cifar_jax')


def read(
    files: Files, config: ConfigDict
) -> tuple[UInt8[np.ndarray, 'n size size 3'], Int[np.ndarray, ' damaged']]:
    """Returns the images of some files, and the rows of those that could not be read.

    Images that were decoded before are mapped into memory from a cache in `config.dir`:
    `cifar_jax-v1-folders/<name>-<digest of its path>-<size>`. The files are decoded again if the
    name, size or time of change of any of them differs, the way in which images are resized, or the
    version of a library that decodes them.

    Args:
      config: `config.data`, see `folders.load`.

    Raises:
      UserError: an image cannot be read, and `config.damaged` is 'stop'.
    """
    folder = _folder(files, config)
    identity, size = _identity(files, config)
    kept = _kept(folder, identity, files.root)
    if kept is not None:
        images, damaged = kept
        # Files that could not be read are tried again, for the reasons.
        problems = _decode(files.take(damaged), config)[1] if len(damaged) else {}
        if len(problems) == len(damaged):
            _warn(problems.values(), len(images))
            return images, damaged
    images, problems = _decode(files, config)
    _warn(problems.values(), len(images))
    damaged = np.array([*problems], np.int64)
    # If a file was written meanwhile, either of its versions may have been read.
    if size >= LEAST and _identity(files, config)[0] == identity:
        _keep(folder, identity, images, damaged)
    return images, damaged


def _folder(files: Files, config: ConfigDict) -> Path:
    place = f'{files.root}\0{files.drawn}'
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
    end = cache.suffix(config.image_size or SIZE, config.resize)
    name = os.fsencode(files.root.name).decode(errors='replace')[-40:]
    return Path(config.dir).expanduser() / FOLDERS / f'{name}-{digest}{end}'


def _identity(files: Files, config: ConfigDict) -> tuple[str, int]:
    """Returns a digest of all that the images depend on, and the size of the files in bytes."""
    facts: list[tuple[str | int, ...]] = []
    size = 0
    for path, name in zip(files.paths, files.names, strict=True):
        try:
            stat = path.stat()
        except OSError:  # decoding reports the problem
            facts.append((name,))
            continue
        facts.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        size += stat.st_size
    by = [_VERSION, image_files.LARGEST, *image_files.decoders()]
    text = json.dumps([by, config.image_size or SIZE, config.resize, facts])
    return hashlib.sha256(text.encode()).hexdigest(), size


def _kept(folder: Path, identity: str, root: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the images of a cache and the rows of damaged ones, or None if it has others."""
    if not folder.exists():
        return None
    try:
        arrays = cache.read(folder, identity).arrays
        return arrays['images'], arrays['damaged']
    except cache.OtherError:
        log.info('%s has changed since its images were decoded: they are decoded again.', root)
    except cache.DAMAGED as error:
        log.warning('The cache %s is damaged and created again: %s.', folder, first_line(error))
    cache.remove(folder)
    return None


def _keep(folder: Path, identity: str, images: np.ndarray, damaged: np.ndarray) -> None:
    cache.remove(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning('The decoded images are not cached: %s.', error)
        return
    log.info('The decoded images are kept in %s (%.2f GB).', folder, images.nbytes / 2**30)
    cache.write(folder, cache.Decoded({'images': images, 'damaged': damaged}, {}), identity)


def _decode(files: Files, config: ConfigDict) -> tuple[np.ndarray, dict[int, UserError]]:
    """Returns the images, and the problems of the rows that could not be read, in order."""
    size = config.image_size or SIZE
    images = np.zeros((len(files.paths), size, size, 3), np.uint8)
    problems: dict[int, UserError] = {}

    def decode(row: int) -> None:
        try:
            images[row] = image_files.read(files.paths[row], size, config.resize)
        except UserError as error:
            if config.damaged == 'stop':
                remedy = 'or skip such files with --config.data.damaged=skip.'
                raise UserError(f'{str(error).removesuffix(".")}, {remedy}') from error
            problems[row] = error

    # Pillow releases Python's global lock while decoding. Images with warnings are read too.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(cores())) as pool:
        warnings.simplefilter('ignore')
        rows = range(len(files.paths))
        for _ in progress.track(pool.map(decode, rows), len(rows), 'reading images'):
            pass
    return images, dict(sorted(problems.items()))


def _warn(problems: Collection[UserError], count: int) -> None:
    for problem in problems:
        log.warning('Skipped: %s', problem)
    if problems:
        log.warning('%d of %d images were skipped.', len(problems), count)
