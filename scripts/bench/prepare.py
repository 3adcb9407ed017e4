"""Writes the images and describes the tasks, in a separate process, since it runs JAX.

    python -m bench.prepare FOLDER IMAGES SOURCE

reads tasks, one per line, and prints a JSON object: the result of `bench.ours.describe` for each
task, the environment, the source of the images, and whether this processor has bfloat16.
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
    """Returns images uint8[n 32 32 3], labels int32[n] and their name.

    Args:
      source: 'cifar10', 'synthetic', or 'auto' for CIFAR-10 if it is prepared, else synthetic.
    """
    try:
        if source == 'synthetic':
            raise UserError('synthetic images were requested')
        train = sources.load(get_defaults().data).train
        return train.images[:count], train.labels[:count], 'CIFAR-10'
    except UserError:
        if source == 'cifar10':
            raise
    generator = np.random.default_rng(0)
    # Smooth like photographs: 4x4 patches of one colour, with some noise.
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
    result = {
        'tasks': described,
        'environment': environment(backend.chosen()),
        'data': kind,
        'bfloat16': compute_dtype('bfloat16')[0] == jnp.bfloat16,
    }
    print(json.dumps(result))


if __name__ == '__main__':
    main()
