"""Classifiers on features by scikit-learn: a linear probe and the nearest neighbours."""

import logging
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32
from ml_collections import ConfigDict

from cifar_jax import files, machine
from cifar_jax.data import kept_features, pipeline, progress
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError
from cifar_jax.ops import backend

log = logging.getLogger('cifar_jax')

FILE = 'probes.json'  # in a folder of features
# The inverse strengths of logistic regression's L2, from strong to weak.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
NEIGHBOURS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 50)
_ITERATIONS = 1000
_VALUES: Mapping[str, Sequence[float]] = {'linear': STRENGTHS, 'neighbours': NEIGHBOURS}
_DATA = ('validation', 'validation_fraction', 'split_seed', 'classes', 'fraction', 'draw')


class Points(NamedTuple):
    """Features, standardized with the constants of the training images, and labels."""

    features: Float32[np.ndarray, 'n features']
    labels: Int32[np.ndarray, 'n']


def probe(folder: pathlib.Path, config: ConfigDict, command: str = '') -> dict[str, dict[str, Any]]:
    """Returns the results of both probes, which are kept in the folder.

    The strength of the linear probe and the number of neighbours have the best accuracy on the
    validation images. With that value, the classifier is fitted on the training and validation
    images together, and evaluated on the test images once: a repeated call reads what was kept.

    Args:
      folder: of features.
      config: `config.data`, which says how validation images are drawn.
      command: the command line, kept with the results so that they can be repeated.

    Returns:
      By the name of a probe: value, validation (accuracy), test (accuracy), images (of the test
      part), seconds, and curve: the validation accuracy for each value.

    Raises:
      UserError: the features are missing or damaged, or no validation images are drawn.
    """
    if config.validation == 'none':
        raise UserError(
            'config.data.validation=none leaves no images to choose the strength and the number of '
            "neighbours by: set it to 'stratified'."
        )
    source, config = config.source, config.copy_and_resolve_references()
    config.source, config.augment, config.normalize = f'features:{folder}', (), 'channel'
    key = {name: config[name] for name in _DATA} | {
        'values': {k: list(v) for k, v in _VALUES.items()}
    }
    kept = _read(folder)
    if kept.get('key') == key:
        log.info('%s has these probes already', folder / FILE)
        return kept['probes']
    data = pipeline.prepare(config)
    assert data.validation is not None  # since it is not 'none'
    points = [_points(part, data) for part in (data.train, data.validation, data.test)]
    results = {name: _choose(name, fit, *points) for name, fit in _PROBES.items()}
    kept = {
        'key': key,
        'source': source,
        'features': dict(kept_features.read_index(folder).facts),
        'probes': results,
        'environment': machine.environment(backend.chosen()),
        'command': command,
    }
    files.write_json(folder / FILE, files.with_checksum(kept))
    return results


def _read(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the kept results; an empty object if there are none, or the file is damaged."""
    try:
        return files.read_checked_json(folder / FILE)
    except files.FileError:
        return {}


def _points(part: Arrays, data: pipeline.Prepared) -> Points:
    mean, std, _ = data.normalizer
    return Points((((part.images - mean) / std).reshape(len(part.labels), -1)), part.labels)


def _choose(
    name: str,
    fit: Callable[[Points, Any], Any],
    train: Points,
    validation: Points,
    test: Points,
) -> dict[str, Any]:
    start = time.perf_counter()
    curve = []
    for value in progress.track(_VALUES[name], len(_VALUES[name]), name):
        if name != 'neighbours' or value <= len(train.labels):
            curve.append((value, _accuracy(fit(train, value), validation)))
    value, accuracy = max(curve, key=lambda point: point[1])  # the first of equal ones
    both = Points(*(np.concatenate(arrays) for arrays in zip(train, validation, strict=True)))
    tested = _accuracy(fit(both, value), test)
    return {
        'value': value,
        'validation': accuracy,
        'test': tested,
        'images': len(test.labels),
        'seconds': round(time.perf_counter() - start, 1),
        'curve': curve,
    }


def _accuracy(classifier: Any, points: Points) -> float:
    return float((classifier.predict(points.features) == points.labels).mean())


def _linear(points: Points, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(*points)


def _neighbours(points: Points, count: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(count, metric='cosine', weights='distance').fit(*points)


_PROBES: Mapping[str, Callable[[Points, Any], Any]] = {
    'linear': _linear,
    'neighbours': _neighbours,
}
