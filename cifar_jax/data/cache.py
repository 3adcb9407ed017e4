"""A cache of decoded data sets: .npy files, or ArrayRecord files to stream; written atomically."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cifar_jax import files
from cifar_jax.data import records
from cifar_jax.data.records import Images, Records
from cifar_jax.errors import UserError, first_line

FOLDER = 'cifar_jax-v1'
STREAMED = f'{FOLDER}-streamed'
INDEX = 'index.json'
# The exceptions of `read` for a file that is missing, truncated or inconsistent with the index.
DAMAGED = (*files.DAMAGE, AttributeError)

log = logging.getLogger('cifar_jax')


class OtherError(ValueError):
    """A cache belongs to something else."""


class Decoded(NamedTuple):
    """A decoded data set.

    arrays: '{train,test}_images' uint8[n h w c], in memory or in files, and
      '{train,test}_{labels kind}' int32[n].
    classes: labels kind ('fine', 'coarse') -> the names of its classes, in label order.
    """

    arrays: Mapping[str, Images]
    classes: Mapping[str, list[str]]


def suffix(image_size: int, resize: str) -> str:
    """Returns the end of a cache's name, for images of a size that are resized in a way.

    >>> suffix(0, 'stretch'), suffix(64, 'stretch'), suffix(64, 'crop')
    ('', '-64', '-64-crop')
    """
    return f'-{image_size}' * bool(image_size) + f'-{resize}' * (resize != 'stretch')


def newest(root: Path, file: str) -> Path | None:
    """Returns the newest version folder of `root` that holds `file` (or a folder), or None.

    A version is a folder's name such as '3.0.2'; other folders are passed over.
    """
    versions = [path.parent for path in root.glob(f'*/{file}')]
    numbered = [path for path in versions if path.name.replace('.', '').isdigit()]
    return max(numbered, key=lambda path: [int(n) for n in path.name.split('.')], default=None)


def read(folder: Path, of: str = '') -> Decoded:
    """Maps a cache into memory without copying it; raises one of `DAMAGED` if it is damaged.

    Its checksums are compared, in 0.14 s of CPU for CIFAR-10; older caches have none. Of images to
    stream, only the size of the file is compared: a record is checked when it is read.

    Args:
      of: the set that the cache must belong to, as given to `write`; '' accepts any set. Older
        caches do not record theirs.
    """
    try:
        index = files.read_json(folder / INDEX)
    except files.FileError as error:
        raise ValueError(f'{INDEX} {error.reason}') from None
    if of and index.get('of', of) != of:
        raise OtherError(f'it is the cache of {index["of"]}')
    streamed = index.get('streamed', {})
    arrays: dict[str, Images] = {
        name: _open(_file(folder, name), spec[0], streamed[name])
        if name in streamed
        else _map(folder / f'{name}.npy', spec)
        for name, spec in index['arrays'].items()
    }
    decoded = Decoded(arrays, index['classes'])
    if index.keys() & {'of', 'sha256'}:
        for name, sha256 in _sha256(decoded).items():
            if sha256 != index['sha256'][name]:
                raise ValueError(f'{name} does not match its checksum')
    return decoded


def write(folder: Path, decoded: Decoded, of: str = '') -> None:
    """Writes a cache to `folder` atomically: readers see all of it or nothing.

    If another process was faster, its cache is kept. If writing fails (read-only or full disk), a
    warning is logged and the run continues without a cache.

    Args:
      of: the set that the cache belongs to, such as its name and version. `read` compares it.
    """
    try:
        with _replaced(folder) as temporary:
            _fill(temporary, decoded, of)
    except OSError as error:
        log.warning('The decoded images are not cached: %s.', error)


def stream(
    folder: Path, of: str, size: int, decode: Callable[[records.Collect], Decoded]
) -> Decoded:
    """Returns images to stream from a cache, which is written first if it does not exist.

    It is written again if it is damaged or of another set.

    Args:
      of: as for `write`.
      size: bytes of all images.
      decode: returns the decoded set, with images that were collected by the function that it is
        called with.

    Raises:
      UserError: the images cannot be written.
    """
    if folder.exists():
        try:
            return read(folder, of)
        except OtherError:
            log.info(
                '%s has changed since its images were decoded: they are decoded again.', folder
            )
        except DAMAGED as error:
            log.warning('The cache %s is damaged and created again: %s.', folder, first_line(error))
        remove(folder)
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(parent).free
        if size > free:
            raise OSError(f'{parent} has {free / 2**30:.3g} GB free')
        log.info('Decoding %.3g GB of images to %s, once: they are streamed.', size / 2**30, folder)
        with _replaced(folder) as temporary:

            def collect(name: str, images: Any, shape: Sequence[int]) -> Records:
                try:
                    return records.write(_file(temporary, name), images, shape)
                except OSError as error:
                    raise _unwritable(size, error) from error

            _fill(temporary, decode(collect), of)
    except OSError as error:
        raise _unwritable(size, error) from error
    return read(folder, of)


def _unwritable(size: int, error: OSError) -> UserError:
    return UserError(
        f'The images take {size / 2**30:.3g} GB decoded, more than config.data.memory_gb, and '
        f'cannot be written to files to stream them ({first_line(error)}): point '
        '--config.data.dir to another folder, or choose a smaller data set or '
        '--config.data.image_size.'
    )


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yields a new folder, which becomes `folder` in the end, unless that exists by then."""
    # In the same parent folder, since a rename is atomic only within one file system.
    temporary = folder.with_name(f'.{folder.name}-{os.getpid()}-{secrets.token_hex(4)}')
    try:
        temporary.mkdir()
        yield temporary
        try:
            temporary.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: Path, decoded: Decoded, of: str) -> None:
    streamed = {k: v for k, v in decoded.arrays.items() if isinstance(v, Records)}
    for name, array in decoded.arrays.items():
        if isinstance(array, np.ndarray):
            _save(folder / f'{name}.npy', array)
    index = {
        'of': of,
        'arrays': {k: [list(v.shape), str(v.dtype)] for k, v in decoded.arrays.items()},
        'classes': dict(decoded.classes),
        'sha256': _sha256(decoded),
        'streamed': {name: _file(folder, name).stat().st_size for name in streamed},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1))


def remove(folder: Path) -> None:
    """Removes a cache atomically for other processes, if permissions allow."""
    temporary = folder.with_name(f'.{folder.name}-old-{secrets.token_hex(4)}')
    try:
        folder.rename(temporary)
    except OSError:
        return
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)


def _sha256(decoded: Decoded) -> dict[str, str]:
    """Returns the checksums of the files and of the names of the classes."""
    checksums = {
        f'{name}.npy': hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for name, array in decoded.arrays.items()
        if isinstance(array, np.ndarray)
    }
    names = json.dumps(dict(decoded.classes)).encode()
    return checksums | {'classes': hashlib.sha256(names).hexdigest()}


def _file(folder: Path, name: str) -> Path:
    return folder / f'{name}{records.SUFFIX}'


def _open(file: Path, shape: list[int], size: int) -> Records:
    found = file.stat().st_size
    if found != size:
        raise ValueError(f'{file.name} has {found} bytes and not {size}')
    return records.opened(file, shape)


def _map(file: Path, spec: list) -> np.ndarray:
    if not file.is_file():  # Opening a pipe would wait for whoever writes to it.
        raise ValueError(f'{file.name} is missing or not a file')
    try:
        array = np.load(file, mmap_mode='r', allow_pickle=False)
    except DAMAGED as error:
        raise ValueError(f'{file.name}: {error}') from error
    if [list(array.shape), str(array.dtype)] != spec:
        raise ValueError(f'{file.name} holds {array.dtype}{list(array.shape)}, not {spec}')
    return array


def _save(file: Path, array: np.ndarray) -> None:
    with file.open('wb') as stream:
        np.save(stream, array, allow_pickle=False)
        # After a crash of the machine, the file must not exist without its content.
        stream.flush()
        os.fsync(stream.fileno())
