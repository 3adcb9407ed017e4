"""Files of weights of several libraries, whose format is recognised by their content."""

import io
import pathlib
import zipfile
from collections.abc import Callable

import numpy as np

from cifar_jax.errors import UserError, first_line
from cifar_jax.models.pretrained import keras_files, safetensors_files, torch_files

SUFFIXES = ('.safetensors', '.h5', '.hdf5', '.keras', '.pt', '.pth', '.bin')
_HDF5 = b'\x89HDF\r\n\x1a\n'
_PICKLE = b'\x80'


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by the names that they have in it; floats become float32.

    The file is of safetensors, Keras or PyTorch, whatever its suffix.

    Raises:
      UserError: there is no such file, it is damaged, or it has another format.
    """
    if not path.is_file():
        raise UserError(f'There is no file {path}: check its name and folder.')
    try:
        content = path.read_bytes()
        arrays = _reader(content)(content)
    except MemoryError:
        raise
    except torch_files.RefusedError as error:
        raise UserError(
            f'{path} is not read, because {first_line(error)}: save a state dict alone, or convert '
            'it to safetensors.'
        ) from None
    except Exception as error:  # a damaged file raises anything
        raise UserError(
            f'{path} cannot be read as weights of safetensors, Keras or PyTorch '
            f'({first_line(error)}): get it again, or name another file.'
        ) from None
    return {name: _float32(array) for name, array in arrays.items()}


def _reader(content: bytes) -> Callable[[bytes], dict[str, np.ndarray]]:
    if content.startswith(_HDF5):
        return keras_files.read
    if zipfile.is_zipfile(io.BytesIO(content)):
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        return keras_files.read if keras_files.WEIGHTS in names else torch_files.read
    return torch_files.read if content.startswith(_PICKLE) else safetensors_files.read


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False) if array.dtype.kind == 'f' else array
