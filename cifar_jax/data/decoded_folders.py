"""Reads the image files of a folder, and keeps the decoded images for later starts."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from cifar_jax.data import cache, image_files, progress, records
from cifar_jax.data.class_folders import Files
from cifar_jax.data.records import Images
from cifar_jax.errors import UserError, first_line
from cifar_jax.machine import cores

SIZE = 32  # default height and width of the images
FOLDERS = f'{cache.FOLDER}-folders'
LEAST = 4 * 2**20  # bytes of files that are worth a cache: decoding fewer takes less than a second
_AT_ONCE = 256  # images that are decoded before the first of them is used
_VERSION = 1  # to be raised when the same files give other pixels

log = logging.getLogger('cifar_jax')


def read(
    files: Files, config: ConfigDict, streamed: bool = False
) -> tuple[Images, Int[np.ndarray, ' damaged']]:
    """Returns the images of some files [n size size 3], and the rows of those that are damaged.

    Images that were decoded before are mapped into memory from a cache in `config.dir`:
    `cifar_jax-v1-folders/<name>-<digest of its path>-<size>`. The files are decoded again if the
    name, size or time of change of any of them differs, the way in which images are resized, or the
    version of a library that decodes them.

    Args:
      config: `config.data`, see `folders.load`.
      streamed: whether the images are not to be in memory; their cache ends in `-streamed`.

    Raises:
      UserError: an image cannot be read, and `config.damaged` is 'stop'; or the images cannot be
        written.
    """
    folder = _folder(files, config)
    identity, size = _identity(files, config)
    if streamed:
        return _streamed(folder.with_name(f'{folder.name}-streamed'), identity, files, config)
    kept = _kept(folder, identity, files.root)
    if kept is not None:
        images, damaged = kept
        # Files that could not be read are tried again, for the reasons.
        reasons = _problems(files.take(damaged), config)
        if len(reasons) == len(damaged):
            _warn(reasons, len(images))
            return images, damaged
    images, problems = _decode(files, config, records.in_memory)
    _warn(problems.values(), len(images))
    damaged = np.array([*problems], np.int64)
    # If a file was written meanwhile, either of its versions may have been read.
    if size >= LEAST and _identity(files, config)[0] == identity:
        _keep(folder, identity, images, damaged)
    return images, damaged


def _streamed(
    folder: Path, identity: str, files: Files, config: ConfigDict
) -> tuple[Images, Int[np.ndarray, ' damaged']]:
    def decode(collect: records.Collect) -> cache.Decoded:
        images, problems = _decode(files, config, collect)
        if _identity(files, config)[0] != identity:
            raise UserError(f'Files in {files.root} changed while they were decoded: start again.')
        return cache.Decoded({'images': images, 'damaged': np.array([*problems], np.int64)}, {})

    size = (config.image_size or SIZE) ** 2 * 3 * len(files.paths)
    arrays = cache.stream(folder, identity, size, decode).arrays
    damaged = np.asarray(arrays['damaged'])
    _warn(_problems(files.take(damaged), config), len(files.paths))
    return arrays['images'], damaged


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


def _kept(folder: Path, identity: str, root: Path) -> tuple[Images, Any] | None:
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


def _keep(folder: Path, identity: str, images: Images, damaged: np.ndarray) -> None:
    cache.remove(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning('The decoded images are not cached: %s.', error)
        return
    log.info('The decoded images are kept in %s (%.2f GB).', folder, images.nbytes / 2**30)
    cache.write(folder, cache.Decoded({'images': images, 'damaged': damaged}, {}), identity)


def _problems(files: Files, config: ConfigDict) -> Collection[UserError]:
    """Returns the reasons why files cannot be read; of some there may be none any more."""
    return _decode(files, config, records.in_memory)[1].values() if files.paths else ()


def _decode(
    files: Files, config: ConfigDict, collect: records.Collect
) -> tuple[Images, dict[int, UserError]]:
    """Returns the images, and the problems of the rows that could not be read, in order."""
    size = config.image_size or SIZE
    problems: dict[int, UserError] = {}

    def decode(row: int) -> np.ndarray:
        try:
            return image_files.read(files.paths[row], size, config.resize)
        except UserError as error:
            if config.damaged == 'stop':
                remedy = 'or skip such files with --config.data.damaged=skip.'
                raise UserError(f'{str(error).removesuffix(".")}, {remedy}') from error
            problems[row] = error
            return np.zeros((size, size, 3), np.uint8)

    count = len(files.paths)
    # Pillow releases Python's global lock while decoding. Images with warnings are read too.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(cores())) as pool:
        warnings.simplefilter('ignore')
        some = (range(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))
        decoded = (image for rows in some for image in pool.map(decode, rows))
        tracked = progress.track(decoded, count, 'reading images')
        images = collect('images', tracked, (count, size, size, 3))
    return images, dict(sorted(problems.items()))


def _warn(problems: Collection[UserError], count: int) -> None:
    for problem in problems:
        log.warning('Skipped: %s', problem)
    if problems:
        log.warning('%d of %d images were skipped.', len(problems), count)
