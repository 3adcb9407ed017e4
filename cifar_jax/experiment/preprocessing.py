"""The preprocessing of a run and digests of its data, stored in its workdir."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cifar_jax import files
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.files import FileError


class Preprocessing(NamedTuple):
    """A model's classes, the shape and normalization of its inputs, and digests of its data.

    network: of a run on features, what computed them, see `feature_runs`; empty in older runs.
    """

    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    normalizer: Normalizer
    digests: Mapping[str, str]  # of 'train', 'validation' and 'test'; empty in older runs
    network: Mapping[str, Any] = {}


def of(data: Prepared) -> Preprocessing:
    """Returns the preprocessing and the digests of some data."""
    shape = tuple(data.train.images.shape[1:])
    return Preprocessing(data.classes, shape, data.normalizer, data.digests(), data.network)


def write(workdir: Workdir, preprocessing: Preprocessing) -> None:
    """Stores the preprocessing in the workdir; the matrix of ZCA has its own file."""
    classes, shape, normalizer, digests, network = preprocessing
    if normalizer.whitening is not None:
        files.write_arrays(workdir.whitening, {'whitening': normalizer.whitening})
    value = {
        'classes': list(classes),
        'image_shape': list(shape),
        'mean': normalizer.mean.tolist(),
        'std': normalizer.std.tolist(),
        'whitened': normalizer.whitening is not None,
        'digests': dict(digests),
    }
    if network:
        value['network'] = dict(network)
    files.write_json(workdir.preprocessing, value | {'sha256': _checksum(value, normalizer)})


def read(workdir: Workdir) -> Preprocessing:
    """Reads the preprocessing exactly as written.

    Raises:
      UserError: a file is missing or damaged.
    """
    stored = files.read_json(workdir.preprocessing)
    checksum = stored.pop('sha256', None)
    parsed = _parse(workdir, stored)
    mean, std, _ = parsed.normalizer
    # Runs from before ZCA whitening do not have this key.
    whitening = (
        _read_whitening(workdir, math.prod(parsed.image_shape)) if stored.get('whitened') else None
    )
    normalizer = Normalizer(mean, std, whitening)
    if checksum not in (None, _checksum(stored, normalizer)):
        raise FileError(workdir.preprocessing, 'does not match its own checksum')
    return parsed._replace(normalizer=normalizer)


def read_without_whitening(workdir: Workdir) -> Preprocessing:
    """Reads preprocessing.json alone: results/ do not keep the matrix of ZCA.

    Raises:
      UserError: the file is missing or damaged.
    """
    return _parse(workdir, files.read_json(workdir.preprocessing))


def _parse(workdir: Workdir, stored: Mapping[str, Any]) -> Preprocessing:
    try:
        mean, std = (np.asarray(stored[key], np.float32) for key in ('mean', 'std'))
        shape = tuple(int(length) for length in stored['image_shape'])
        classes = tuple(str(name) for name in stored['classes'])
        for constants in (mean, std):
            np.broadcast_to(constants, shape)
        if len(shape) != 3 or not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ValueError(f'images {shape}, mean {mean.tolist()}, std {std.tolist()}')
        digests = {str(part): str(sha256) for part, sha256 in stored.get('digests', {}).items()}
        network = dict(stored.get('network', {}))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileError(workdir.preprocessing, f'is damaged ({error!r})') from None
    return Preprocessing(classes, shape, Normalizer(mean, std, None), digests, network)


def _read_whitening(workdir: Workdir, pixels: int) -> np.ndarray:
    whitening = files.read_arrays(workdir.whitening).get('whitening', np.zeros(()))
    if whitening.shape != (pixels, pixels) or whitening.dtype != np.float32:
        raise FileError(
            workdir.whitening,
            f'holds {whitening.dtype} {whitening.shape} and no matrix for {pixels} pixels',
        )
    return whitening


def _checksum(stored: Mapping[str, Any], normalizer: Normalizer) -> str:
    text = files.to_json(dict(sorted(stored.items())))
    return hashlib.sha256((text + normalizer_digest(normalizer)).encode()).hexdigest()


def normalizer_digest(normalizer: Normalizer) -> str:
    """Returns the SHA-256 of a normalizer's constants, in hexadecimal."""
    sha256 = hashlib.sha256()
    for constants in normalizer:
        if constants is not None:
            sha256.update(repr(constants.shape).encode())
            sha256.update(np.ascontiguousarray(constants, '<f4').data)
    return sha256.hexdigest()


def refuse_differences(workdir: Workdir, stored: Preprocessing, data: Preprocessing) -> None:
    """Checks that a run can resume with its data as they are now.

    Raises:
      UserError: the classes, images or labels differ from those at the start of the run.
    """
    refuse_other_classes(workdir, stored, data.classes)
    parts = differing(stored, data.digests)
    constants = zip(stored.normalizer[:2], data.normalizer[:2], strict=True)
    if stored.image_shape != data.image_shape or not all(
        np.array_equal(before, after) for before, after in constants
    ):
        parts = parts or ['train']
    if parts:
        raise UserError(
            f'The {" and ".join(parts)} images or labels are not those that the run in '
            f'{workdir.path} began with: restore the data, or choose another --workdir.'
        )


def refuse_other_classes(workdir: Workdir, stored: Preprocessing, classes: tuple[str, ...]) -> None:
    """Checks that data have the classes of a run, in the same order.

    Raises:
      UserError: the classes differ; the message names them.
    """
    if classes == stored.classes:
        return
    lost = [name for name in stored.classes if name not in classes]
    new = [name for name in classes if name not in stored.classes]
    changes = [f'{", ".join(lost)} missing'] * bool(lost) + [f'{", ".join(new)} new'] * bool(new)
    raise UserError(
        f'The data do not have the classes that the run in {workdir.path} was trained on '
        f'({"; ".join(changes) or "their order differs"}): restore the data, or name where they '
        'are now.'
    )


def differing(stored: Preprocessing, digests: Mapping[str, str]) -> list[str]:
    """Returns the parts of the data that differ from those of the run; none for older runs."""
    return [part for part, sha256 in stored.digests.items() if digests.get(part) != sha256]
