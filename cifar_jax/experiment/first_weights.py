"""Reads the initial weights of a run from another run, a file or a published network."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.pretrained import sources
from cifar_jax.training import parallel, weights
from cifar_jax.training.trainers import trainer_of
from cifar_jax.training.weights import Source


def reader(config: ConfigDict) -> Callable[[str], Source]:
    """Returns `read` for the model of a config, whose names those of other libraries become."""

    def read_for_model(init_from: str) -> Source:
        return read(init_from, trainer_of(config.model.name).model(config, 1, jnp.float32))

    return read_for_model


def read(init_from: str, model: nn.Module) -> Source:
    """Reads the weights of `config.init_from`.

    From a checkpoint, these are the weights for evaluation: the average if there is one.

    Args:
      model: what the weights are for.

    Raises:
      UserError: the file, the run or its checkpoint is missing or damaged.
    """
    if sources.is_pretrained(init_from) and isinstance(model, ImageModel):
        try:
            path, pretrained = sources.read(init_from, model)
        except UserError as error:
            raise UserError(f'config.init_from: {error}') from None
        return Source(str(path), pretrained)
    folder, checkpoint = weights.parts(init_from)
    if checkpoint == weights.INITIAL:
        return weights.read(init_from)
    workdir = Workdir(folder)
    config = workdirs.read_config(workdir)
    classes, image_shape, _, _ = preprocessing.read(workdir)
    mesh = parallel.make_mesh(1, 1)
    trainer = trainer_of(config.model.name)
    loaded = trainer.load(config, folder, checkpoint, len(classes), image_shape, mesh)
    arrays = {name: np.asarray(leaf) for name, leaf in weights.named(loaded.variables).items()}
    return Source(f'{folder} at step {loaded.step}', arrays)
