"""Reads Keras' files of weights: .h5 of Keras 1 and 2, .weights.h5 and .keras of Keras 3."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

WEIGHTS = 'model.weights.h5'  # in a .keras archive
# Keras 3 numbers the weights of a layer; this is how many a layer has, and what they are.
_ORDER = {
    1: ('kernel',),
    2: ('kernel', 'bias'),
    3: ('mean', 'variance', 'count'),
    4: ('gamma', 'beta', 'moving_mean', 'moving_variance'),
}
# Weights are hardly compressible; more than this is a decompression bomb.
_LARGEST_RATIO = 100


def read(content: bytes) -> dict[str, np.ndarray]:
    """Returns the weights as 'LAYER/WEIGHT', such as 'conv1_bn/gamma', from a file's content.

    Raises:
      Exception: the file is damaged, or is not of Keras.
    """
    import h5py

    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.getinfo(WEIGHTS).file_size > _LARGEST_RATIO * len(content):
                raise ValueError('it claims to hold far more than its size')
            content = archive.read(WEIGHTS)
    with h5py.File(io.BytesIO(content), 'r') as root:
        datasets = dict(_by_name(root) if 'layers' in root else _by_attributes(root))
        if not datasets:
            raise ValueError('it holds no layers')
        if sum(dataset.nbytes for dataset in datasets.values()) > _LARGEST_RATIO * len(content):
            raise ValueError('it claims to hold far more than its size')
        return {name: np.asarray(dataset) for name, dataset in datasets.items()}


def _by_attributes(root: Any) -> Iterator[tuple[str, Any]]:
    """Reads the layout of Keras 1 and 2: attributes list the layers, and the weights of each."""
    model = root.get('model_weights', root)
    for layer in map(_text, model.attrs['layer_names']):
        for path in map(_text, model[layer].attrs['weight_names']):
            weight = path.rpartition('/')[2].removesuffix(':0')
            yield f'{layer}/{weight}', model[layer][path]


def _by_name(root: Any) -> Iterator[tuple[str, Any]]:
    """Reads the layout of Keras 3: 'layers/conv2d_3/vars/0', with the layer's name beside it."""
    for group, layer in root['layers'].items():
        variables = layer.get('vars', {})
        if len(variables):
            name = _text(variables.attrs.get('name', group))
            for number, weight in enumerate(_ORDER[len(variables)]):
                yield f'{name}/{weight}', variables[str(number)]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
