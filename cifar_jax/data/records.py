"""Images in ArrayRecord files, of which only those are in memory that are being used.

They take the place of an array of images that does not fit into memory: both have a shape and are
indexed by rows. grain reads them ahead of their use.
"""

import copy
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int, UInt8

from cifar_jax import files
from cifar_jax.errors import UserError, first_line
from cifar_jax.machine import cores

SUFFIX = '.array_record'
BUFFER = 2**28  # default bytes of images that are read ahead
_MOST_AHEAD = 64  # batches
_LARGEST_CHUNK = 2**26  # bytes
_MOST_THREADS = 4  # that read records, which takes a core 0.03 s for 20 MB
_REMEMBERED = 'remembered.json'


class Records:
    """Images of one shape, uint8 [n h w c], in files.

    Args:
      source: `source.__getitems__(numbers)` returns records; it can be pickled.
      shape: (n, h, w, c) of all records.
      file: its name tells these images from others in its folder, where `remember` keeps results.
      decode: returns the pixels of a record, uint8 [h w c], if it does not consist of them.
      damaged: returns the error for a reason why the files cannot be read.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        source: Any,
        shape: Sequence[int],
        file: Path,
        decode: Callable[[Any], UInt8[np.ndarray, 'h w c']] | None = None,
        damaged: Callable[[str], UserError] | None = None,
    ) -> None:
        self._source, self._image_shape, self._decode = source, tuple(shape[1:]), decode
        self._rows: Int[np.ndarray, ' n'] = np.arange(shape[0], dtype=np.int32)
        self._file, self._damaged = file, damaged or functools.partial(_damaged, file.parent)
        self._buffer = BUFFER

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""
        return (len(self._rows), *self._image_shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the images would take in memory."""
        return math.prod(self.shape)

    @property
    def encoded(self) -> bool:
        """Whether an image is decoded each time it is read."""
        return self._decode is not None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: int | np.integer | slice | Int[np.ndarray, ' some']) -> np.ndarray:
        """Reads an image by its number, or images by a slice or an array of numbers.

        Raises:
          UserError: the files are missing or damaged.
        """
        numbers = np.atleast_1d(self._rows[rows])
        try:
            records = self._source.__getitems__(numbers.tolist()) if len(numbers) else []
            if self._decode is None:
                images = np.frombuffer(b''.join(records), np.uint8)
            else:
                images = np.array([self._decode(record) for record in records], np.uint8)
            images = images.reshape(len(numbers), *self._image_shape)
        except MemoryError:
            raise
        except files.DAMAGE as error:
            raise self._damaged(first_line(error)) from None
        return images if np.ndim(self._rows[rows]) else images[0]

    def take(self, rows: Int[np.ndarray, ' some']) -> 'Records':
        """Returns the images of some rows without reading them."""
        taken = copy.copy(self)
        taken._rows = self._rows[rows]
        return taken

    def with_buffer(self, size: int | float) -> 'Records':
        """Returns the same images, of which `read` reads at most `size` bytes ahead."""
        same = copy.copy(self)
        same._buffer = int(size)
        return same

    def batches_ahead(self, batch_size: int) -> int:
        """Returns how many batches `read` may hold."""
        size = batch_size * math.prod(self._image_shape)
        return max(1, min(_MOST_AHEAD, self._buffer // size))

    def remember(self, key: str, compute: Callable[[], str]) -> str:
        """Returns `compute()`, a function of these images and `key`, of which one call is kept.

        It is computed again for other rows, or where the result cannot be written.
        """
        sha256 = hashlib.sha256(repr((self._file.name, self._image_shape, key)).encode())
        sha256.update(np.ascontiguousarray(self._rows).data)
        path = self._file.with_name(_REMEMBERED)
        kept = _read_json(path)
        name = sha256.hexdigest()
        if name not in kept:
            value = compute()
            kept = _read_json(path) | {name: value}
            try:
                files.write_json(path, files.with_checksum(kept))
            except OSError:
                return value
        return str(kept[name])


Images: TypeAlias = np.ndarray | Records
# Collects the named images, one after the other, of the shape (n, h, w, c).
Collect: TypeAlias = Callable[[str, Iterable[np.ndarray], Sequence[int]], Images]


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(
        f'The images in {folder} cannot be read ({why}): remove this folder, and they are decoded '
        'again.'
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return files.read_checked_json(path)
    except files.FileError:
        return {}


def opened(file: Path, shape: Sequence[int]) -> Records:
    """Returns the images that `write` wrote to a file."""
    import grain

    # The number of records in the path saves opening the file before it is read.
    source = grain.sources.ArrayRecordDataSource(f'{file}[0:{shape[0]}]')
    return Records(source, shape, file)


def in_memory(
    name: str, images: Iterable[UInt8[np.ndarray, 'h w c']], shape: Sequence[int]
) -> UInt8[np.ndarray, 'n h w c']:
    """Returns images as an array in memory; see `write`.

    Raises:
      ValueError: there are more or fewer images than n.
    """
    array = np.empty(shape, np.uint8)
    count = 0
    for count, image in enumerate(images, 1):
        array[count - 1] = image
    _check_count(count, shape[0])
    return array


def _check_count(count: int, expected: int) -> None:
    if count != expected:
        raise ValueError(f'there are {count} images and not {expected}')


def write(
    file: Path, images: Iterable[UInt8[np.ndarray, 'h w c']], shape: Sequence[int]
) -> Records:
    """Writes images to a file, one after the other.

    Args:
      shape: (n, h, w, c) of all images.

    Raises:
      ValueError: there are more or fewer images than n.
      OSError: the disk is full.
      UserError: there is no ArrayRecord for this machine.
    """
    try:
        from array_record.python.array_record_module import ArrayRecordWriter
    except ImportError as error:  # as on Windows
        raise UserError(
            f'Images cannot be streamed on this machine ({first_line(error)}): raise '
            '--config.data.memory_gb, or choose a smaller data set or --config.data.image_size.'
        ) from error
    # Groups of one record can be read in any order. Pixels compress little, and slowly.
    try:
        writer = ArrayRecordWriter(str(file), 'group_size:1,uncompressed')
        count = 0
        for count, image in enumerate(images, 1):
            if image.shape != tuple(shape[1:]):
                raise ValueError(f'image {count} is {image.shape} and not {tuple(shape[1:])}')
            writer.write(image.tobytes())
        writer.close()
        with file.open('rb') as stream:  # after a crash, no file must exist without its content
            os.fsync(stream.fileno())
    except RuntimeError as error:  # of the library, for whatever goes wrong on the disk
        raise OSError(first_line(error)) from error
    _check_count(count, shape[0])
    return opened(file, shape)


def read(
    images: Images, batches: Sequence[np.ndarray] | Int[np.ndarray, 'batches size']
) -> Iterator[np.ndarray]:
    """Yields the images of each batch of rows, in order.

    Images in files are read ahead of their use: by threads, or, if they are to be decoded, by a
    process for each core. A batch is a function of its rows alone.

    Args:
      batches: the rows of each batch, int[size].

    Raises:
      UserError: the files are missing or damaged.
    """
    if isinstance(images, np.ndarray):
        yield from (images[rows] for rows in batches)
        return
    if not len(batches):
        return
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # grain has flags, for programs of absl's
        flags.FLAGS.mark_as_parsed()
    ahead = images.batches_ahead(len(batches[0]))
    dataset = grain.MapDataset.source(batches).map(images.__getitem__)
    if images.encoded:
        workers = min(len(cores()), ahead, len(batches))
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=ahead // workers)
        alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        iterator = iter(dataset.to_iter_dataset(alone).mp_prefetch(options))
    else:
        threads = min(_MOST_THREADS, ahead)
        iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(threads, ahead)))
    try:
        # Processes share memory for the batches, which is free for the next ones when it is copied.
        yield from map(np.array, iterator) if images.encoded else iterator
    finally:
        iterator.close()


def one_by_one(images: Images) -> Iterator[UInt8[np.ndarray, 'h w c']]:
    """Yields each image, in order; those in files are read in chunks."""
    return (image for chunk in chunks(images, 256) for image in chunk)


def chunks(images: Images, size: int) -> Iterator[np.ndarray]:
    """Yields all images in order, at most `size` of them at a time."""
    if isinstance(images, Records):
        size = min(size, max(1, _LARGEST_CHUNK // math.prod(images.shape[1:])))
    starts = range(0, len(images), size)
    if isinstance(images, np.ndarray):
        yield from (images[start : start + size] for start in starts)
    else:
        yield from read(
            images, [np.arange(start, min(start + size, len(images))) for start in starts]
        )
