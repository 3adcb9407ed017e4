"""What each augmentation and ZCA cost a training step on this CPU.

    python scripts/augmentation_cost.py [--step MILLISECONDS] [--batch 128] [--rounds 5]

Prints milliseconds a batch of random 32x32x3 images, for the median of the rounds, and their share
of a step of `configs/senet.py`, which is measured first unless `--step` gives it. A batch is
shared by the virtual devices that a run would have.
"""

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cifar_jax.data import augment, normalize
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.augment import Batch
from cifar_jax.data.pipeline import Prepared
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import console
from cifar_jax.machine import environment, keep_freed_memory
from cifar_jax.ops import backend
from cifar_jax.training import loop, parallel
from cifar_jax.training.validation import on_device

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLASSES = 10


def measured(call: Callable[[], object], rounds: int, seconds: float = 0.2) -> float:
    """Returns the milliseconds of a call in the median round."""

    def timed(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            # Independent programs that exchange data between CPU devices can block each other.
            jax.block_until_ready(call())
        return (time.perf_counter() - began) / count

    timed(1)
    count = max(1, round(seconds / timed(2)))
    return 1e3 * statistics.median(timed(count) for _ in range(rounds))


def step_of(size: int, rounds: int) -> float:
    """Returns the milliseconds of a step of SENet without augmentation."""
    config = configs.load(str(ROOT / 'configs/senet.py'), [f'--config.train.batch_size={size}'])
    with config.unlocked():
        config.data.augment = ()
    mesh = parallel.make_mesh(0, size)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4 * size, 32, 32, 3), np.uint8)
    train = Arrays(images, generator.integers(0, CLASSES, len(images)).astype(np.int32))
    normalizer = normalize.fit(images, config.data)
    data = Prepared(train, None, train, tuple(map(str, range(CLASSES))), normalizer)
    program = loop.programs(loop.plan(config, data), mesh, len(images))
    with jax.set_mesh(mesh):
        state, order, kept = program.init(), program.order(0), on_device(train, mesh)

        def call() -> object:
            nonlocal state
            state = program.step(state, kept, order)
            return state.step

        return measured(call, rounds, 1)


def costs(size: int, rounds: int, mesh: Mesh) -> dict[str, float]:
    """Returns the milliseconds of every augmentation with its default options, and of ZCA."""
    rows, everywhere = parallel.over_batch(mesh), parallel.replicated(mesh)
    shardings = Batch(rows, rows, rows, everywhere, everywhere)
    generator = np.random.default_rng(0)
    indices = jnp.arange(size, dtype=jnp.int32)
    batch = Batch(
        jnp.asarray(generator.random((size, 32, 32, 3), np.float32)),
        jax.nn.one_hot(indices % CLASSES, CLASSES),
        indices,
        jnp.zeros((), jnp.int32),
        jax.random.key(0),
    )
    batch, key = jax.device_put(batch, shardings), jax.device_put(jax.random.key(1), everywhere)
    options = parallel.compiler_options(mesh)
    found = {}
    for name in sorted({**augment.AUGMENTATIONS, **augment.BATCH_AUGMENTATIONS}):
        policy = ({'name': name},)
        function = jax.jit(
            lambda k, b, policy=policy: augment.augment(k, b, policy)[:2],
            out_shardings=(rows, rows),
            compiler_options=options,
        )
        found[name] = measured(lambda f=function: f(key, batch), rounds)
    matrix = generator.random((3072, 3072), np.float32)
    constants = np.zeros((1, 1, 3), np.float32)
    zca = normalize.Normalizer(constants, constants + 1, matrix)
    whiten = jax.jit(
        lambda x: normalize.apply(zca, x), out_shardings=rows, compiler_options=options
    )
    found['zca (applied)'] = measured(lambda: whiten(batch.images), rounds)
    return found


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--step', type=float, help="milliseconds of SENet's step, where known")
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()
    mesh = parallel.make_mesh(0, args.batch)
    step = args.step or step_of(args.batch, args.rounds)
    here = environment(backend.chosen())
    title = f'batch {args.batch}, {here["processor"]}, {here["cores"]} cores; a step: {step:.0f} ms'
    rows = [
        [name, f'{ms:.2f}', f'{ms / step:.2%}']
        for name, ms in costs(args.batch, args.rounds, mesh).items()
    ]
    console.table(title, ['augmentation', 'ms', "share of SENet's step"], rows)


if __name__ == '__main__':
    sys.exit(main())
