"""Computes the features of a data set once, and keeps them for heads to be trained on."""

import hashlib
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, PyTree, UInt8
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.data import kept_features, progress, sources
from cifar_jax.data.arrays import Arrays, Dataset, digest
from cifar_jax.data.kept_features import Index
from cifar_jax.errors import UserError
from cifar_jax.experiment import backbone as backbones
from cifar_jax.experiment.backbone import Backbone
from cifar_jax.inference import predictions
from cifar_jax.inference.classifier import Classifier
from cifar_jax.machine import keep_freed_memory, use_compilation_cache
from cifar_jax.models.pretrained import sources as pretrained
from cifar_jax.training import parallel

log = logging.getLogger('cifar_jax')

BATCH = 32  # images of 224x224, which take a hundred times the memory of CIFAR's
_LETTERS = 16  # of the digest that names a folder
_FORMAT = 1  # to be raised when the same facts give other features
Compute = Callable[[UInt8[np.ndarray, 'n h w 3']], Float32[np.ndarray, 'n features']]


class Extracted(NamedTuple):
    """A folder of features; images/s is None if all of them had been kept before."""

    folder: pathlib.Path
    contents: Index
    images_per_second: float | None


def extract(config: ConfigDict, out: pathlib.Path) -> Extracted:
    """Computes the features of a config's data set and backbone, or finds those that are kept.

    They are the input of the head, the means over the positions of the last feature map, of every
    image without augmentation. They are kept in a folder in `out` whose name is a digest of all
    that they depend on: weights, options, image size, constants, precision, images, labels and
    classes. Whatever changes, other features are computed. An interrupted computation continues.

    Args:
      config: its model, initial weights, data and precision are used; images are normalized as the
        weights were published, and not by `config.data.normalize`. On the device they become
        squares of `config.model.input_size`, by default of the size that the network was published
        with. A folder's images are read at `config.data.image_size`, by default at the same size.

    Raises:
      UserError: see `backbone.load` and `sources.load`; or there is a file in the place of `out`.
    """
    if kept_features.are_source(config.data.source):
        raise UserError('config.data.source names features: name the images instead.')
    keep_freed_memory()
    # Before anything else uses JAX, whose devices it may set.
    mesh = parallel.make_mesh(config.mesh.devices, BATCH)
    use_compilation_cache()
    backbone = backbones.load(config)
    size, config = backbone.model.input_size, config.copy_and_resolve_references()
    if config.data.source.startswith('folder:') and not config.data.image_size:
        config.data.image_size = size
    config.data.augment = ()
    dataset = sources.load(config.data)
    parts = _parts(dataset)
    facts = _facts(backbone, dataset, parts)
    name = hashlib.sha256(files.to_json(facts).encode()).hexdigest()[:_LETTERS]
    folder = out / name
    if (folder / kept_features.INDEX).exists():
        log.info('%s has these features already', folder)
        index = kept_features.read_index(folder)
        if not index.network:  # of an older version
            index = index._replace(network=_network(config, backbone, dataset))
            kept_features.write_index(folder, index)
        return Extracted(folder, index, None)
    log.info(
        '%s: %d images of %dx%d, read at %dx%d',
        *(facts['model'], sum(len(part.labels) for part in parts.values())),
        *(*dataset.train.images.shape[1:3], size, size),
    )
    compute = program(backbone, config, mesh)
    speed = _write_chunks(folder, parts, compute)
    index = _index(folder, facts, dataset, parts, _network(config, backbone, dataset))
    kept_features.write_index(folder, index)
    return Extracted(folder, index, speed)


def _parts(dataset: Dataset) -> dict[str, Arrays]:
    parts = {'train': dataset.train, 'validation': dataset.validation, 'test': dataset.test}
    return {name: part for name, part in parts.items() if part is not None}


def _facts(backbone: Backbone, dataset: Dataset, parts: Mapping[str, Arrays]) -> dict[str, Any]:
    names = '\n'.join(dataset.names or ()).encode(errors='surrogateescape')
    return {
        'format': _FORMAT,
        **backbone.facts(),
        'data': {part: digest(arrays) for part, arrays in parts.items()},
        'classes': list(dataset.classes),
        'names': hashlib.sha256(names).hexdigest(),
    }


def _network(config: ConfigDict, backbone: Backbone, dataset: Dataset) -> dict[str, Any]:
    """Returns what computes the same features of other images, see `feature_runs`."""
    named = config.init_from.startswith('hf:') or config.init_from == pretrained.IMAGENET
    init_from = pathlib.Path(config.init_from).expanduser().absolute()
    return {
        **backbone.facts(),
        'init_from': config.init_from if named else str(init_from),
        'init_rename': [list(pair) for pair in config.init_rename],
        'init_skip': list(config.init_skip),
        'image_shape': list(dataset.train.images.shape[1:]),
        'image_resize': config.data.resize,
    }


def program(backbone: Backbone, config: ConfigDict, mesh: Mesh) -> Compute:
    """Returns a function that computes the features of images, `BATCH` at a time.

    Args:
      config: of the run that the backbone is from.
      mesh: the devices that share a batch.
    """
    model = backbone.model

    def features(
        variables: Mapping[str, PyTree], images: Float[Array, 'batch h w c']
    ) -> Float32[Array, 'batch features']:
        outputs = model.apply(variables, images, train=False, method='features')
        assert isinstance(outputs, jax.Array)  # and no pair: nothing is mutable
        return outputs.astype(jnp.float32)

    rest = backbone.normalizer, (), backbone.dtype, mesh, 0
    classifier = Classifier(config, model, backbone.variables, *rest)
    return predictions.over_batches(classifier, features, BATCH)


def _write_chunks(
    folder: pathlib.Path, parts: Mapping[str, Arrays], compute: Compute
) -> float | None:
    """Computes what is not kept yet, and returns the images/s without the compilation."""
    todo = [
        (part, number, rows)
        for part, arrays in parts.items()
        for number, rows in enumerate(kept_features.chunks(len(arrays.labels)))
        if not _is_kept(folder, part, number, rows.stop - rows.start)
    ]
    if todo:
        compute(parts['train'].images[:1])
    start = time.perf_counter()
    for part, number, rows in progress.track(todo, len(todo), 'features'):
        features = compute(parts[part].images[rows])
        if not np.isfinite(features).all():
            raise UserError(
                f'The features of the {part} images {rows.start} to {rows.stop - 1} are not '
                'finite: these weights are damaged, or not for this network.'
            )
        kept_features.write_chunk(folder, part, number, features, parts[part].labels[rows])
    seconds = time.perf_counter() - start
    return sum(rows.stop - rows.start for _, _, rows in todo) / seconds if todo else None


def _is_kept(folder: pathlib.Path, part: str, number: int, images: int) -> bool:
    try:
        kept_features.read_chunk(folder, part, number, images)
    except UserError:
        return False
    return True


def _index(
    folder: pathlib.Path,
    facts: Mapping[str, Any],
    dataset: Dataset,
    parts: Mapping[str, Arrays],
    network: Mapping[str, Any],
) -> Index:
    images = {part: len(arrays.labels) for part, arrays in parts.items()}
    read = {part: kept_features.read_part(folder, part, count) for part, count in images.items()}
    sha256 = {part: digest(arrays) for part, arrays in read.items()}
    width = read['train'].images.shape[-1]
    return Index(facts, dataset.classes, width, images, sha256, dataset.names, network)
