"""A trained classifier in one file: its weights as safetensors, its preprocessing as JSON."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cifar_jax.data import kept_features
from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError, first_line
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference.classifier import Classifier, OfImages
from cifar_jax.models import summary
from cifar_jax.models.pretrained import catalogue, safetensors_files
from cifar_jax.training import limits, parallel, precision, weights
from cifar_jax.training.trainers import trainer_of

SUFFIX = '.safetensors'
_KEY = 'classifier'  # of the metadata


def write(folder: pathlib.Path, path: pathlib.Path) -> str:
    """Writes the classifier of a run to a file; returns the SHA-256 of its arrays.

    Args:
      folder: the workdir of the run, whose chosen checkpoint is written.

    Raises:
      UserError: as `classifier.load`; or the run is on features, or on images whitened by ZCA,
        whose matrix is larger than most networks.
    """
    workdir = Workdir(folder)
    classifier = classifiers.load(workdir, mesh=parallel.make_mesh(1, 1))
    config, normalizer = classifier.config, classifier.normalizer
    if kept_features.are_source(config.data.source) or normalizer.whitening is not None:
        kind = 'features' if normalizer.whitening is None else 'images whitened by ZCA'
        raise UserError(f'{folder} was trained on {kind}, which cannot be exported.')
    described = {
        'model': json.loads(config.model.to_json_best_effort()),
        'precision': config.precision,
        'classes': classifier.classes,
        'image_shape': preprocessing.read(workdir).image_shape,
        'resize': config.data.resize,
        'mean': normalizer.mean.tolist(),
        'std': normalizer.std.tolist(),
        'step': classifier.step,
    }
    arrays = {name: np.asarray(leaf) for name, leaf in weights.named(classifier.variables).items()}
    return safetensors_files.write(path, arrays, **{_KEY: json.dumps(described)})


def is_name(text: str) -> bool:
    """Returns whether a text names a classifier that `read` reads.

    >>> is_name('senet.safetensors'), is_name('runs/senet')
    (True, False)
    """
    return text in catalogue.TRAINED or text.endswith(SUFFIX)


def read(name: str, resize: str | None = None, mesh: Mesh | None = None) -> OfImages:
    """Returns a classifier that `write` wrote.

    Args:
      name: of a file, or of one that comes with the package, in `catalogue.TRAINED`.
      resize: of image files, see `image_files.pixels`; None as in training.
      mesh: the devices for the computation; None for all of this machine.

    Raises:
      UserError: the file is missing or damaged, or is not such a file.
    """
    packaged = name in catalogue.TRAINED
    path = catalogue.trained(name) if packaged else pathlib.Path(name).expanduser()
    try:
        content = path.read_bytes()
        arrays = safetensors_files.read(content)
        described = json.loads(safetensors_files.metadata(content)[_KEY])
        config = _config(described, resize)
        classes = tuple(map(str, described['classes']))
        image_shape = tuple(map(int, described['image_shape']))
        mean, std = (np.asarray(described[key], np.float32) for key in ('mean', 'std'))
        for constants in (mean, std):
            np.broadcast_to(constants, image_shape)
        step = int(described['step'])
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): name another file.') from None
    except Exception as error:  # of safetensors, whose own are no ValueErrors
        raise UserError(
            f'{path} is damaged, or not written by scripts/export.py ({first_line(error)}): name '
            'another file.'
        ) from None
    config = limits.with_evaluation_batch(config, image_shape)
    dtype, _ = precision.compute_dtype(config.precision)
    model = trainer_of(config.model.name).model(config, len(classes), dtype)
    shapes, _ = summary.trace(model, image_shape)
    what = f'{config.model.name} with {len(classes):,} classes'
    variables = weights.fill_all(path, arrays, shapes, what)
    mesh = mesh or parallel.make_mesh(0, config.eval_batch_size)
    normalizer = Normalizer(mean, std)
    whole = Classifier(config, model, variables, normalizer, classes, dtype, mesh, step)
    return OfImages(whole, image_shape)


def _config(described: Mapping[str, Any], resize: str | None) -> ConfigDict:
    config = get_defaults()
    config.model = ConfigDict(workdirs.as_tuples(described['model']))
    config.precision = described['precision']
    config.data.image_size = int(described['image_shape'][0])
    config.data.resize = resize or described['resize']
    configs.check(config)
    return config
