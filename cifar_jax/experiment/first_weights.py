"""Reads the initial weights of a run from another run, a file or a published network."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from cifar_jax.data import kept_features
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.experiment import backbone, feature_runs, preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.models.backbone import BackboneModel
from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.pretrained import sources
from cifar_jax.training import parallel, weights
from cifar_jax.training.trainer import Loaded
from cifar_jax.training.trainers import trainer_of
from cifar_jax.training.weights import Source


def reader(config: ConfigDict, data: Prepared) -> Callable[[str], Source]:
    """Returns `read` for the model and the data of a run."""

    def read_for_run(init_from: str) -> Source:
        model = trainer_of(config.model.name).model(config, 1, jnp.float32)
        if not (isinstance(model, BackboneModel) and _is_run_on_features(init_from)):
            return read(init_from, model)
        folder, checkpoint = weights.parts(init_from)
        if checkpoint == weights.INITIAL:
            raise UserError(
                f'config.init_from: {folder} was trained on features, and began with a head alone: '
                f'write {folder}:chosen to begin with its trained head and its network.'
            )
        workdir = Workdir(folder)
        return feature_runs.source(workdir, _load(workdir, checkpoint), config, data)

    return read_for_run


def _is_run_on_features(init_from: str) -> bool:
    if sources.is_pretrained(init_from):
        return False
    workdir = Workdir(weights.parts(init_from)[0])
    if not workdir.config.is_file():
        return False
    return kept_features.are_source(workdirs.read_config(workdir).data.source)


def read(init_from: str, model: nn.Module) -> Source:
    """Reads the weights of `config.init_from`.

    From a checkpoint, these are the weights for evaluation: the average if there is one.

    Args:
      model: what the weights are for.

    Raises:
      UserError: the file, the run or its checkpoint is missing or damaged.
    """
    if sources.is_pretrained(init_from) and isinstance(model, ImageModel):
        return backbone.read_published(init_from, model)
    folder, checkpoint = weights.parts(init_from)
    if checkpoint == weights.INITIAL:
        return weights.read(init_from)
    loaded = _load(Workdir(folder), checkpoint)
    arrays = {name: np.asarray(leaf) for name, leaf in weights.named(loaded.variables).items()}
    return Source(f'{folder} at step {loaded.step}', arrays)


def _load(workdir: Workdir, checkpoint: str) -> Loaded:
    config = workdirs.read_config(workdir)
    classes, image_shape, *_ = preprocessing.read(workdir)
    mesh = parallel.make_mesh(1, 1)
    trainer = trainer_of(config.model.name)
    return trainer.load(config, workdir.path, checkpoint, len(classes), image_shape, mesh)
