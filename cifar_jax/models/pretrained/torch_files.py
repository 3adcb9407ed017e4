"""Reads PyTorch's files of weights as data, without PyTorch: nothing in them is executed.

`torch.save` writes a pickle that describes tensors, and their values beside it: in a zip archive,
or, before PyTorch 1.6, one after the other behind the pickle. The unpickler here knows the few
names that a dictionary of tensors needs, and refuses every other.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: Mapping[str, np.dtype] = {
    'DoubleStorage': np.dtype('<f8'),
    'FloatStorage': np.dtype('<f4'),
    'HalfStorage': np.dtype('<f2'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
}


class RefusedError(Exception):
    """A file asks for something other than tensors; the message says for what."""


class _Storage(NamedTuple):
    """The values that tensors share, which stand outside of the pickle."""

    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in values


def read(content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict, from the content of its file, by their names.

    Raises:
      RefusedError: the file asks for something other than tensors, which is not executed.
      Exception: any other, for a damaged file, or one that is not of PyTorch.
    """
    if zipfile.is_zipfile(io.BytesIO(content)):
        return _read_archive(zipfile.ZipFile(io.BytesIO(content)))
    return _read_legacy(io.BytesIO(content))


def _read_archive(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Reads 'NAME/data.pkl', and the storages 'NAME/data/KEY'."""
    root = next(
        name.removesuffix('data.pkl') for name in archive.namelist() if name.endswith('/data.pkl')
    )
    order = f'{root}byteorder'
    if order in archive.namelist() and _member(archive, order) != b'little':
        raise ValueError('it was written on a big-endian machine')
    state = _load(io.BytesIO(_member(archive, f'{root}data.pkl')))
    contents: dict[str, bytes] = {}
    for tensor in state.values():
        key = tensor.storage.key
        if key not in contents:
            contents[key] = _member(archive, f'{root}data/{key}')
    return _arrays(state, contents)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f'{name} is compressed, as PyTorch never does')
    return archive.read(name)


def _read_legacy(stream: io.BytesIO) -> dict[str, np.ndarray]:
    """Reads five pickles (a number, a version, the machine, the tensors, the keys of storages),
    and then the length and the values of each storage.
    """
    if _plain(stream) != _MAGIC:
        raise ValueError('it is not a file of PyTorch')
    _plain(stream)
    if not _plain(stream)['little_endian']:
        raise ValueError('it was written on a big-endian machine')
    state = _load(stream)
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    contents: dict[str, bytes] = {}
    for key in _plain(stream):
        if key not in storages:
            raise ValueError(f'no tensor needs its storage {key}')
        length = int.from_bytes(stream.read(8), 'little')
        if length != storages[key].length:
            raise ValueError(f'storage {key} has {length} values')
        contents[key] = stream.read(length * storages[key].dtype.itemsize)
    return _arrays(state, contents)


def _plain(stream: io.BytesIO) -> Any:
    return _Unpickler(stream).load()


def _load(stream: io.BytesIO) -> dict[str, _Tensor]:
    state = _Unpickler(stream).load()
    if not isinstance(state, Mapping) or not state:
        raise ValueError('it holds no tensors by name')
    for name, tensor in state.items():
        if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
            raise ValueError(f'its {name!r} is not a tensor')
    return dict(state)


def _arrays(state: Mapping[str, _Tensor], contents: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    return {name: _array(tensor, contents[tensor.storage.key]) for name, tensor in state.items()}


def _array(tensor: _Tensor, content: bytes) -> np.ndarray:
    """Returns a copy of a view, after checking that it lies within its storage."""
    storage, offset, shape, strides = tensor
    values = np.frombuffer(content, storage.dtype)
    ends = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    numbers = (offset, *shape, *strides)
    if len(values) != storage.length or min(numbers) < 0:
        raise ValueError(f'storage {storage.key} does not hold what it says')
    if math.prod(shape) > len(values) or (0 not in shape and offset + sum(ends) >= len(values)):
        raise ValueError(f'a tensor reaches beyond storage {storage.key}')
    steps = [stride * storage.dtype.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy()


class _Unpickler(pickle.Unpickler):
    """Makes dictionaries, plain values and descriptions of tensors, and refuses all other names."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding='utf-8')

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) in _REBUILT:
            # A new function each time, since a pickle can set attributes of what it is given.
            return _fresh(_REBUILT[module, name])
        if module == 'torch' and name in _DTYPES:
            return name
        raise RefusedError(f'it asks for {module}.{name}, which is not a tensor')

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the description of a storage."""
        kind, storage, key, _, length, *_ = pid
        if kind != 'storage' or storage not in _DTYPES:
            raise RefusedError(f'it asks for {kind!r}, which is not a tensor')
        return _Storage(str(key), _DTYPES[storage], int(length))


def _fresh(function: Callable) -> Callable:
    return lambda *arguments: function(*arguments)


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise RefusedError('it has a tensor without values')
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


_REBUILT: Mapping[tuple[str, str], Callable] = {
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch._utils', '_rebuild_parameter'): _parameter,
}
