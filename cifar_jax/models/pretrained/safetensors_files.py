"""Files of weights in the format safetensors, with a checksum of their own."""

import hashlib
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from cifar_jax import files

_CHECKSUM = 'sha256'  # its key in the metadata


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], **metadata: str) -> str:
    """Writes arrays with texts as metadata; returns the SHA-256 of the arrays, also written there.

    The file is written atomically.
    """
    from safetensors import numpy

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    checksum = digest(contiguous)
    files.write(path, numpy.save(contiguous, {**metadata, _CHECKSUM: checksum}))
    return checksum


def read(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a file's content. Files of other programs may have no checksum.

    Raises:
      Exception: the file is damaged, or is not of this format.
    """
    from safetensors import numpy

    arrays = numpy.load(content)
    checksum = metadata(content).get(_CHECKSUM)
    if checksum not in (None, digest(arrays)):
        raise ValueError('its tensors do not match its checksum')
    return arrays


def metadata(content: bytes) -> dict[str, str]:
    """Returns the texts that a file's content has besides its arrays.

    Raises:
      Exception: the file is damaged, or is not of this format.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], 'little')])
    return header.get('__metadata__', {})


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the names, dtypes, shapes and values of arrays, in hexadecimal."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha256.update(f'{name} {array.dtype} {list(array.shape)}\n'.encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()
