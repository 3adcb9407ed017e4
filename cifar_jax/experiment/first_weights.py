"""Reads the initial weights of a run from another run or a file."""

import numpy as np

from cifar_jax.experiment import preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.training import parallel, weights
from cifar_jax.training.trainers import trainer_of
from cifar_jax.training.weights import Source


def read(init_from: str) -> Source:
    """Reads the weights of `config.init_from`.

    From a checkpoint, these are the weights for evaluation: the average if there is one.

    Raises:
      UserError: the file, the run or its checkpoint is missing or damaged.
    """
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
