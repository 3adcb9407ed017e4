"""Runs that compile fast: a network of two layers on random images of 6x6 pixels."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cifar_jax.data import normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.pipeline import Prepared
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training import plan as plans

SIZE, BATCH, EPOCHS, CLASSES = 22, 4, 2, 7  # two images are left out of each epoch
STEPS = SIZE // BATCH * EPOCHS


class Net(nn.Module):
    """Batch statistics, dropout, and a scale that follows the progress of the run."""

    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, images, *, train, progress=1.0):
        x = nn.Conv(8, (3, 3), param_dtype=self.dtype, dtype=self.dtype)(images)
        moving = self.variable('batch_stats', 'mean', jnp.zeros, 8, self.dtype)
        mean = x.mean(axis=(0, 1, 2)) if train else moving.value
        if train and not self.is_initializing():
            moving.value = 0.5 * moving.value + 0.5 * mean
        x = nn.relu(x - mean[None, None, None]).mean(axis=(1, 2))
        x = nn.Dropout(0.25, deterministic=not train)(x)
        x = x * (1 + jnp.asarray(progress, self.dtype))
        return nn.Dense(CLASSES, param_dtype=self.dtype, dtype=self.dtype)(x)


class Watcher:
    """Records what happens, and stops after a given step."""

    def __init__(self, stop_after=None):
        self.stop_after, self.stop = stop_after, False
        self.began, self.lines, self.variables = None, [], {}

    def started(self, step, history):
        self.began, self.lines = step, list(history)

    def wants(self, step):
        return True

    def stepped(self, step):
        self.stop = self.stop_after == step

    def epoch_ended(self, line, variables):
        self.lines.append(line)
        self.variables[line['step']] = jax.tree.map(np.array, variables)


def data_of():
    """Random images: `SIZE` for training, 9 for validation."""
    rng = np.random.default_rng(0)
    train, validation = (
        Arrays(
            rng.integers(0, 256, (n, 6, 6, 3), np.uint8),
            rng.integers(0, CLASSES, n).astype(np.int32),
        )
        for n in (SIZE, 9)
    )
    mean, std = (np.array(x, np.float32).reshape(1, 1, 3) for x in ([0.25, 0.5, 0.4], [0.2, 1, 2]))
    return Prepared(
        train, validation, validation, tuple('abcdefg'), normalize.Normalizer(mean, std)
    )


def config_of(**overrides):
    """A config for these data; `a__b=1` sets `config.a.b`."""
    config = get_defaults()
    config.model.name = 'PlainCNN'  # `plan_of` replaces it by `Net`
    config.mesh.devices = 1
    config.train.update(batch_size=BATCH, length=f'{EPOCHS} epochs')
    config.update_from_flattened_dict(
        {key.replace('__', '.'): value for key, value in overrides.items()}
    )
    return config


def plan_of(config, data, dtype=jnp.float32):
    """The plan of a run of `Net`."""
    return plans.make(config, data)._replace(model=Net(dtype), dtype=dtype)
