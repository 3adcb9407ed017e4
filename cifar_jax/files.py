"""Atomic writes, and reads that do not trust the content of files."""

import hashlib
import io
import json
import math
import os
import pathlib
import stat
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from cifar_jax.errors import UserError, first_line

if TYPE_CHECKING:  # NumPy is imported lazily, so that commands start fast.
    import numpy as np

_TEMPORARY = '.tmp'
_CHECKSUM = 'checksum'  # key of an object that has one
_LARGEST_JSON = 64 * 2**20  # bytes
# An .npz file of weights or logits is hardly compressible; more than this is a decompression bomb.
_LARGEST_RATIO = 100
_ENCRYPTED = 0x1  # zip's flag bits
# What reading a damaged file with NumPy, zipfile or json may raise.
DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, MemoryError),
    *(OverflowError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
    struct.error,
)


class FileError(UserError):
    """A file cannot be read; `reason` says why, and the message adds a remedy."""

    def __init__(self, path: pathlib.Path, reason: str) -> None:
        super().__init__(f'{path} {reason}: restore it from a copy, or train again.')
        self.path, self.reason = path, reason


class MissingFileError(FileError):
    """There is no such file."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path, 'is missing')


def write(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file atomically; creates its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False, suffix=_TEMPORARY) as file:
        temporary = pathlib.Path(file.name)
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # temporary files are private, results are not
            os.replace(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):  # a full disk does not name the file
                error.filename = str(path)
            raise


def remove_temporary(folder: pathlib.Path) -> None:
    """Removes temporary files that killed processes left in a folder."""
    for path in folder.glob(f'*{_TEMPORARY}'):
        if path.is_file():
            path.unlink(missing_ok=True)


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns standard JSON, without NaN and infinity.

    Raises:
      ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    return json.dumps(value, indent=indent, allow_nan=False)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes indented JSON atomically.

    Raises:
      ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    write(path, to_json(value, indent=2) + '\n')


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
      MissingFileError: there is no such file.
      FileError: the file is damaged, holds another kind of value, or is too large.
    """
    with _opened(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST_JSON:
            raise FileError(path, f'is damaged (larger than {_LARGEST_JSON // 2**20} MiB)')
        try:
            value = json.loads(file.read())
        except (ValueError, OSError, RecursionError) as error:
            raise FileError(path, f'is damaged ({first_line(error)})') from None
    if not isinstance(value, dict):
        raise FileError(path, f'is damaged (it holds a {type(value).__name__}, not an object)')
    return value


def with_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object for JSON with a checksum, which `without_checksum` compares."""
    return {**value, _CHECKSUM: _checksum(value)}


def without_checksum(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns an object from JSON without its checksum, or None if that does not match.

    Objects that older versions wrote have none, and are returned as they are.
    """
    checksum = _checksum(value)
    if value.get(_CHECKSUM, checksum) != checksum:
        return None
    return {key: item for key, item in value.items() if key != _CHECKSUM}


def read_checked_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file, without its checksum.

    Raises:
      MissingFileError: there is no such file.
      FileError: as for `read_json`, or the object does not match its checksum.
    """
    value = without_checksum(read_json(path))
    if value is None:
        raise FileError(path, 'does not match its own checksum')
    return value


def _checksum(value: Mapping[str, Any]) -> str:
    rest = {key: item for key, item in value.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def write_arrays(path: pathlib.Path, arrays: Mapping[str, Any], compressed: bool = False) -> None:
    """Writes an .npz file atomically."""
    import numpy as np

    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    save = np.savez_compressed if compressed else np.savez
    save(buffer, allow_pickle=False, **named)
    write(path, buffer.getvalue())


def read_arrays(path: pathlib.Path) -> dict[str, 'np.ndarray']:
    """Returns the arrays of an .npz file, without allocating more memory than the file can hold.

    Raises:
      MissingFileError: there is no such file.
      FileError: the file is damaged, encrypted, or claims to be far larger than it is.
    """
    with _opened(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if sum(member.file_size for member in members) > _LARGEST_RATIO * size:
                    raise ValueError('it claims to hold far more than its size')
                return {
                    member.filename.removesuffix('.npy'): _read_array(archive, member)
                    for member in members
                }
        except DAMAGE as error:
            raise FileError(path, f'is damaged ({first_line(error)})') from None


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> 'np.ndarray':
    import numpy as np

    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f'{member.filename} is encrypted')
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f'{member.filename} is compressed in an unknown way')
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = readers[version](stream)
        rest = member.file_size - stream.tell()
        if (
            dtype.hasobject
            or min(shape, default=0) < 0
            or math.prod(shape) * dtype.itemsize != rest
        ):
            raise ValueError(f'{member.filename} does not hold {dtype} {list(shape)}')
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _opened(path: pathlib.Path) -> IO[bytes]:
    """Opens a regular file; reading a pipe or a device might never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(path, 'is not a regular file')
        return path.open('rb')
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise FileError(path, f'cannot be read ({error.strerror})') from None
