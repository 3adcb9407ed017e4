"""Runs on features, joined with the network that computed them: a classifier of images."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.experiment import backbone as backbones
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.models.backbone import BackboneModel
from cifar_jax.training import weights
from cifar_jax.training.trainer import Loaded, Variables
from cifar_jax.training.trainers import trainer_of


class Joined(NamedTuple):
    """A network, with the head that a run trained on its features.

    model: resizes its images to `input_size`. normalizer: of the pixels; that of the features is
    part of the first layer after them. image_shape, resize: of the images that the features were
    computed of, and how files are resized to it, see `image_files.pixels`.
    """

    model: BackboneModel
    variables: Variables
    normalizer: Normalizer
    dtype: Any
    image_shape: tuple[int, ...]
    resize: str


def join(workdir: Workdir, head: Loaded) -> Joined:
    """Returns the network that a run on features belongs to, with the head of the run.

    It computes what the head computes from the features, up to rounding.

    Args:
      head: the variables of the run.

    Raises:
      UserError: the run does not know its network, or its weights are no longer what they were.
    """
    config, stored = workdirs.read_config(workdir), preprocessing.read(workdir)
    if not stored.network:
        raise UserError(
            f'{workdir.path} was trained on features that do not name their network, as older '
            'versions wrote them: run python -m cifar_jax.features again, and train on them in '
            'another workdir.'
        )
    if config.model.name != 'DenseHead':
        raise UserError(
            f'{workdir.path} is a {config.model.name} on features, and only a DenseHead can be '
            'joined with the network that computed them.'
        )
    backbone = _backbone(workdir, stored.network)
    classes = len(stored.classes)
    layers = jax.tree.map(np.asarray, dict(head.variables['params']))
    first = 'hidden1' if 'hidden1' in layers else 'head'
    layers[first] = _with_normalization(layers[first], stored.normalizer)
    options = trainer_of(config.model.name).model(config, classes, backbone.dtype)
    model = backbone.model.clone(
        classes=classes, hidden=options.hidden, hidden_dropout=options.dropout
    )
    variables = {
        **backbone.variables,
        'params': {**backbone.variables['params'], **layers},
    }
    return Joined(
        model,
        variables,
        backbone.normalizer,
        backbone.dtype,
        image_shape=tuple(stored.network['image_shape']),
        resize=stored.network['image_resize'],
    )


def source(workdir: Workdir, head: Loaded, config: ConfigDict, data: Prepared) -> weights.Source:
    """Returns the weights of a run on features and of its network, to train both further.

    Args:
      head: as for `join`.
      config: of the run that begins with them; its images have to be prepared as those were that
        the features were computed of.
      data: of that run.

    Raises:
      UserError: as `join`; or its network, its layers, its images or its classes differ.
    """
    joined, model = join(workdir, head), config.model
    preprocessing.refuse_other_classes(workdir, preprocessing.read(workdir), data.classes)
    size = model.get('input_size', 0) or data.train.images.shape[1]
    name = type(joined.model).__name__
    mean, std = (x.reshape(-1).tolist() for x in joined.normalizer[:2])
    fitting = all(
        ours.size == theirs.size and np.allclose(ours, theirs, rtol=1e-6)
        for ours, theirs in zip(data.normalizer[:2], joined.normalizer[:2], strict=True)
    )
    wanted = {
        'model.name': (model.name == name, name),
        'model.hidden': (
            tuple(model.get('hidden', ())) == joined.model.hidden,
            joined.model.hidden,
        ),
        'model.convs': (not model.get('convs'), ()),
        'model.input_size': (size == joined.model.input_size, joined.model.input_size),
        'data.normalize': (fitting, f'given with mean={mean} and std={std}'),
    }
    for key, (equal, value) in wanted.items():
        if not equal:
            raise UserError(
                f'config.init_from: the head of {workdir.path} was trained on features of {name} '
                f'with another config.{key}: set config.{key}={value}.'
            )
    where = f'{workdir.path} at step {head.step}'
    return weights.Source(where, weights.named(joined.variables))


def _backbone(workdir: Workdir, network: Mapping[str, Any]) -> backbones.Backbone:
    """Returns the network of a run, whose weights are read from where they came from."""
    config = get_defaults()
    config.model = ConfigDict(
        {'name': network['model'], 'input_size': network['size'], **network['options']}
    )
    for key in ('init_from', 'init_rename', 'init_skip', 'precision'):
        config[key] = tuple(network[key]) if isinstance(network[key], list) else network[key]
    backbone = backbones.load(config)
    now = json.loads(files.to_json(backbone.facts()))
    different = [key for key, value in now.items() if network.get(key) != value]
    if different:
        raise UserError(
            f'{workdir.path} was trained on features of {network["model"]} with other '
            f'{", ".join(different)} than {network["init_from"]} has now: restore that file, or '
            'run python -m cifar_jax.features again.'
        )
    return backbone


def _with_normalization(
    layer: dict[str, Float32[np.ndarray, '...']], normalizer: Normalizer
) -> dict[str, Float32[np.ndarray, '...']]:
    """Returns the dense layer of features x that `layer` is of (x - mean) / std."""
    mean, std = (x.astype(np.float64).reshape(-1) for x in normalizer[:2])
    kernel = layer['kernel'] / std[:, None]
    bias = layer['bias'] - mean @ kernel
    return {'kernel': kernel.astype(np.float32), 'bias': bias.astype(np.float32)}
