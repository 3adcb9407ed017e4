"""Pickles of Python 2 as data: arrays of numbers and plain values, and nothing that is executed."""

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np


def load(content: bytes) -> Any:
    """Returns the value of a pickle; strings of Python 2 become bytes.

    Raises:
      pickle.UnpicklingError: it asks for something other than data, which is not executed.
      Exception: any other, for a damaged pickle.
    """
    return _Unpickler(io.BytesIO(content), encoding='bytes').load()


class _Unpickler(pickle.Unpickler):
    """Makes arrays of numbers and plain values, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is not data')
        return _ALLOWED[module, name]


def _encode(text: str, encoding: str) -> bytes:
    """Decodes bytes as Python 3 pickles them for Python 2."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError('it asks for another encoding than latin1')
    return text.encode('latin1')


_reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
    ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
    ('numpy._core.multiarray', '_reconstruct'): _reconstruct,
    ('_codecs', 'encode'): _encode,
}
