"""The official CIFAR archives, or the folders in them: read in memory, never extracted.

Layouts: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import hashlib
import io
import logging
import lzma
import pickle
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from cifar_jax.data import pickles, tarballs
from cifar_jax.data.cache import Decoded
from cifar_jax.errors import UserError

PAGE = 'https://www.cs.toronto.edu/~kriz/cifar.html'
MD5 = {  # of the archives, as that page has them
    'cifar-10-binary.tar.gz': 'c32a1d4ab5d03f1284b67883e8d87530',
    'cifar-10-python.tar.gz': 'c58f30108f718f92721af3b95e74349a',
    'cifar-100-binary.tar.gz': '03b5dce01913d631647c71ecec9e9cb8',
    'cifar-100-python.tar.gz': 'eb9058c3a382ffc7106e4002c42a8d85',
}
PIXELS = 32 * 32 * 3
LARGEST = 2**28  # bytes; CIFAR's largest file has 155 million

log = logging.getLogger('cifar_jax')

_BATCHES = tuple(f'data_batch_{number}' for number in range(1, 6))
_DAMAGED = (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError)


class Layout(NamedTuple):
    """One of the four archives.

    labels: our kind of labels -> where they are: a byte's place in a record, or a pickle's key.
    names: kind -> the names of its classes: a text file's name, or the key in `meta`.
    counts: kind -> how many classes there are.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: Mapping[str, Any]
    names: Mapping[str, str]
    counts: Mapping[str, int]
    meta: str = ''  # the pickle with the names of the classes; '' in the binary layout

    def files(self) -> tuple[str, ...]:
        """Returns the names of all files that the layout needs."""
        return (*self.train, *self.test, *([self.meta] if self.meta else self.names.values()))


_TEN, _HUNDRED = {'fine': 10}, {'fine': 100, 'coarse': 20}
LAYOUTS = (
    Layout(
        tuple(f'{name}.bin' for name in _BATCHES),
        ('test_batch.bin',),
        {'fine': 0},
        {'fine': 'batches.meta.txt'},
        _TEN,
    ),
    Layout(
        ('train.bin',),
        ('test.bin',),
        {'coarse': 0, 'fine': 1},
        {'fine': 'fine_label_names.txt', 'coarse': 'coarse_label_names.txt'},
        _HUNDRED,
    ),
    Layout(
        _BATCHES, ('test_batch',), {'fine': 'labels'}, {'fine': 'label_names'}, _TEN, 'batches.meta'
    ),
    Layout(
        ('train',),
        ('test',),
        {'fine': 'fine_labels', 'coarse': 'coarse_labels'},
        {'fine': 'fine_label_names', 'coarse': 'coarse_label_names'},
        _HUNDRED,
        'meta',
    ),
)


def load(path: Path) -> Decoded:
    """Returns the arrays of an archive, in the order of its records.

    It is not cached: reading it takes seconds, and a cache would take as much room again. An
    archive of an official name whose MD5 is not the published one is read with a warning: copies
    that are packed again are common.

    Args:
      path: cifar-10-binary.tar.gz, cifar-100-binary.tar.gz, cifar-10-python.tar.gz,
        cifar-100-python.tar.gz, the same without compression or by bzip2 or xz, or a folder with
        the files of one of them.

    Raises:
      UserError: the file does not exist, is damaged or unsafe, or is not one of these archives.
    """
    path = path.expanduser()
    if path.is_dir():
        folder = next((p for p in (path, *sorted(path.iterdir())) if _layouts(_listed(p))), path)
        return _decoded(path, {file: (folder / file).read_bytes for file in _listed(folder)})
    if not path.is_file():
        raise UserError(f"There is no archive {path}: write --config.data.source='archive:PATH'.")
    try:
        with (
            tarballs.opened(path) as stream,
            tarfile.open(fileobj=stream, mode='r:', tarinfo=tarballs.Member) as archive,
        ):
            members = _members(path, archive)
            _read_to_the_end(path, stream)
            _compare_with_published(path)
            return _decoded(path, members)
    except _DAMAGED as error:
        raise _broken(path, f'{error or type(error).__name__}') from error


def _read_to_the_end(path: Path, stream: io.BufferedIOBase) -> None:
    """Reads what follows the last file: the checksum of all that was read comes at the very end."""
    total = 0
    while chunk := stream.read(2**20):
        total += len(chunk)
        if total > LARGEST:
            raise _unsafe(path, 'much follows its last file')


def _compare_with_published(path: Path) -> None:
    if path.name in MD5:
        with path.open('rb') as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != MD5[path.name]:
            log.warning(
                '%s is not the archive that %s publishes (its MD5 is %s, not %s): its images or '
                'their order may be others.',
                *(path, PAGE, md5, MD5[path.name]),
            )


def _listed(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.is_file()] if folder.is_dir() else []


def _members(path: Path, archive: tarfile.TarFile) -> dict[str, Callable[[], bytes]]:
    """Returns how to read each file of an archive, by its name without folders."""
    readers: dict[str, Callable[[], bytes]] = {}
    for member in archive:
        name = PurePosixPath(member.name)
        if name.is_absolute() or '..' in name.parts:
            raise _unsafe(path, f'{member.name} points out of its folder')
        if not (member.isfile() or member.isdir()):
            raise _unsafe(path, f'{member.name} is a link or a device')
        if member.size > LARGEST:
            raise _unsafe(path, f'{member.name} claims {member.size:,} bytes')
        if member.isfile():
            readers[name.name] = _reader(archive, member)
    return readers


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        file = archive.extractfile(member)
        assert file is not None  # a regular file
        return file.read()

    return read


def _layouts(files: Any) -> list[Layout]:
    return [layout for layout in LAYOUTS if {*layout.train, *layout.test} & {*files}]


def _decoded(path: Path, readers: Mapping[str, Callable[[], bytes]]) -> Decoded:
    layouts = _layouts(readers)
    if not layouts:
        raise UserError(
            f'{path} holds no CIFAR: give it one of the four official archives '
            '(cifar-10-binary.tar.gz, cifar-100-python.tar.gz...) or the folder in it.'
        )
    if len(layouts) > 1:
        raise UserError(f'{path} holds several CIFAR archives: keep each in a folder of its own.')
    (layout,) = layouts
    missing = [name for name in layout.files() if name not in readers]
    if missing:
        raise _broken(path, f'{", ".join(missing)} is missing')
    read = _pickled if layout.meta else _binary
    arrays = {}
    for split in ('train', 'test'):
        parts = [read(path, name, readers[name](), layout) for name in getattr(layout, split)]
        for key in parts[0]:
            arrays[f'{split}_{key}'] = np.concatenate([part[key] for part in parts])
    return Decoded(arrays, _names(path, layout, readers))


def _names(
    path: Path, layout: Layout, readers: Mapping[str, Callable[[], bytes]]
) -> dict[str, list[str]]:
    """Returns the names of the classes of each kind."""
    meta = _unpickled(path, layout.meta, readers[layout.meta]()) if layout.meta else {}
    names = {}
    for kind, place in layout.names.items():
        kind_names = meta.get(place) if layout.meta else readers[place]().split()
        if not isinstance(kind_names, list) or len(kind_names) != layout.counts[kind]:
            raise _broken(path, f'it does not name {layout.counts[kind]} {kind} classes')
        names[kind] = [_text(name) for name in kind_names]
    return names


def _binary(path: Path, name: str, content: bytes, layout: Layout) -> dict[str, np.ndarray]:
    """Records of a byte for each kind of labels and the pixels, channel by channel."""
    size = len(layout.labels) + PIXELS
    if not content or len(content) % size:
        raise _broken(path, f'{name} has {len(content):,} bytes, not whole records of {size:,}')
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = {kind: records[:, place].astype(np.int32) for kind, place in layout.labels.items()}
    return _part(path, name, records[:, -PIXELS:], labels, layout)


def _pickled(path: Path, name: str, content: bytes, layout: Layout) -> dict[str, np.ndarray]:
    """A dictionary of the pixels, channel by channel, and a list for each kind of labels."""
    value = _unpickled(path, name, content)
    pixels = value.get('data')
    if not (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 2
        and pixels.shape[1] == PIXELS
        and len(pixels)
    ):
        raise _broken(path, f'{name} has no uint8 array of 32x32x3 images')
    labels = {}
    for kind, key in layout.labels.items():
        kind_labels = value.get(key)
        if not isinstance(kind_labels, list) or not all(
            isinstance(label, int) for label in kind_labels
        ):
            raise _broken(path, f'{name} has no list of {key}')
        if len(kind_labels) != len(pixels):
            raise _broken(path, f'{name} has {len(pixels)} images and {len(kind_labels)} {key}')
        labels[kind] = np.clip(np.array(kind_labels), -1, 2**30).astype(np.int32)
    return _part(path, name, pixels, labels, layout)


def _part(
    path: Path, name: str, pixels: np.ndarray, labels: dict[str, np.ndarray], layout: Layout
) -> dict[str, np.ndarray]:
    for kind, kind_labels in labels.items():
        if kind_labels.min() < 0 or kind_labels.max() >= layout.counts[kind]:
            raise _broken(path, f'{name} has {kind} labels beyond 0 to {layout.counts[kind] - 1}')
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {'images': np.ascontiguousarray(images), **labels}


def _unpickled(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        value = pickles.load(content)
    except pickle.UnpicklingError as error:
        raise _unsafe(path, f'{name}: {error}') from error
    except Exception as error:  # a damaged pickle raises anything
        raise _broken(path, f'{name}: {type(error).__name__}') from error
    if not isinstance(value, dict):
        raise _broken(path, f'{name} is not a dictionary')
    return {_text(key): item for key, item in value.items()}


def _text(value: Any) -> str:
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)


def _broken(path: Path, problem: str) -> UserError:
    return UserError(f'{path} is damaged ({problem}): download it again.')


def _unsafe(path: Path, problem: str) -> UserError:
    return UserError(
        f'{path} is damaged or not the official archive ({problem}), and is not read: download it '
        f'from {PAGE}.'
    )
