"""What a run's inputs and outputs mean, kept in its workdir: classes, image size, normalization."""

import math
from typing import NamedTuple

import numpy as np

from cifar_jax import files
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.files import FileError


class Preprocessing(NamedTuple):
    """What a model's inputs and outputs mean, apart from the data set."""

    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    normalizer: Normalizer


def write(workdir: Workdir, data: Prepared) -> None:
    """Keeps a model's preprocessing beside it; ZCA's matrix has a file of its own."""
    mean, std, whitening = data.normalizer
    if whitening is not None:
        files.write_arrays(workdir.whitening, {'whitening': whitening})
    value = {
        'classes': list(data.classes),
        'image_shape': list(data.train.images.shape[1:]),
        'mean': mean.tolist(),
        'std': std.tolist(),
        'whitened': whitening is not None,
    }
    files.write_json(workdir.preprocessing, value)


def read(workdir: Workdir) -> Preprocessing:
    """Returns what `write` wrote, to the bit.

    Raises:
      UserError: a file is missing or damaged.
    """
    stored = files.read_json(workdir.preprocessing)
    try:
        mean, std = (np.asarray(stored[key], np.float32) for key in ('mean', 'std'))
        shape = tuple(int(length) for length in stored['image_shape'])
        classes = tuple(str(name) for name in stored['classes'])
        for constants in (mean, std):
            np.broadcast_to(constants, shape)
        if len(shape) != 3 or not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ValueError(f'images {shape}, mean {mean.tolist()}, std {std.tolist()}')
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FileError(workdir.preprocessing, f'is damaged ({error!r})') from None
    # Runs from before ZCA whitening do not have this key.
    whitening = _read_whitening(workdir, math.prod(shape)) if stored.get('whitened') else None
    return Preprocessing(classes, shape, Normalizer(mean, std, whitening))


def _read_whitening(workdir: Workdir, pixels: int) -> np.ndarray:
    whitening = files.read_arrays(workdir.whitening).get('whitening', np.zeros(()))
    if whitening.shape != (pixels, pixels) or whitening.dtype != np.float32:
        raise FileError(
            workdir.whitening,
            f'holds {whitening.dtype} {whitening.shape} and no matrix for {pixels} pixels',
        )
    return whitening
