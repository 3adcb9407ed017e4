"""Writes the images, and tells what our configs come to: a process of its own, for it runs JAX.

    python -m bench.prepare FOLDER IMAGES SOURCE

reads tasks, one a line, and prints a JSON object with one description of `bench.ours.describe`
a task, the versions, where the images are from, and whether this processor has bfloat16.
"""

import json
import pathlib
import sys

import jax.numpy as jnp
import numpy as np

from bench import ours
from bench.task import Task
from cifar_jax.data import sources
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.machine import environment
from cifar_jax.ops import backend
from cifar_jax.training.precision import compute_dtype


def images_of(source: str, count: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns uint8[n 32 32 3], int32[n] and what they are.

    Args:
      source: 'cifar10', 'synthetic', or 'auto': CIFAR-10 where it is prepared.
    """
    try:
        if source == 'synthetic':
            raise UserError('asked for')
        train = sources.load(get_defaults().data).train
        return train.images[:count], train.labels[:count], 'CIFAR-10'
    except UserError:
        if source == 'cifar10':
            raise
    generator = np.random.default_rng(0)
    # Smooth, as photographs are: 4x4 patches of one colour and some noise.
    patches = generator.integers(32, 224, (count, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    images = (patches + generator.integers(-32, 32, patches.shape)).astype(np.uint8)
    return images, generator.integers(0, 10, count).astype(np.int32), 'synthetic images'


def main() -> None:
    """Runs the program."""
    folder, count, source = sys.argv[1:]
    images, labels, kind = images_of(source, int(count))
    np.save(pathlib.Path(folder) / 'images.npy', images)
    np.save(pathlib.Path(folder) / 'labels.npy', labels)
    tasks = [Task(**json.loads(line)) for line in sys.stdin]
    described = [ours.describe(task) for task in tasks]
    found = {
        'tasks': described,
        'environment': environment(backend.chosen()),
        'data': kind,
        'bfloat16': compute_dtype('bfloat16')[0] == jnp.bfloat16,
    }
    print(json.dumps(found))


if __name__ == '__main__':
    main()
