"""Measure the cost of each augmentation and of ZCA whitening in a training step on this CPU.

    python scripts/augmentation_cost.py [--step MILLISECONDS] [--batch 128] [--rounds 5]

Prints milliseconds per batch of random 32x32x3 images (median of the rounds), and the ratio to the
time of a step of `configs/senet.py`, which is measured first unless `--step` is given. The batch is
sharded over the virtual devices, as in a run.
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
from cifar_jax.training import parallel
from cifar_jax.training import plan as plans
from cifar_jax.training.step import programs

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLASSES = 10


def median_ms(call: Callable[[], object], rounds: int, seconds: float = 0.2) -> float:
    """Returns the time of a call in milliseconds, as the median of the rounds."""

    def timed(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            # Independent programs that exchange data between CPU devices can block each other.
            jax.block_until_ready(call())
        return (time.perf_counter() - start) / count

    timed(1)
    count = max(1, round(seconds / timed(2)))
    return 1e3 * statistics.median(timed(count) for _ in range(rounds))


def step_ms(size: int, rounds: int) -> float:
    """Returns the time of a training step of SENet without augmentation, in milliseconds."""
    config = configs.load(str(ROOT / 'configs/senet.py'), [f'--config.train.batch_size={size}'])
    with config.unlocked():
        config.data.augment = ()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4 * size, 32, 32, 3), np.uint8)
    train = Arrays(images, generator.integers(0, CLASSES, len(images)).astype(np.int32))
    normalizer = normalize.fit(images, config.data)
    data = Prepared(train, None, train, tuple(map(str, range(CLASSES))), normalizer)
    plan = plans.make(config, data)
    program = programs(plan)
    with jax.set_mesh(plan.mesh):
        state, feed = program.init(), next(plan.training.epoch(config.seed, 0))

        def call() -> object:
            nonlocal state
            state = program.step(state, feed)
            return state.step

        return median_ms(call, rounds, 1)


def costs(size: int, rounds: int, mesh: Mesh) -> dict[str, float]:
    """Returns the times, in milliseconds, of ZCA and of each augmentation with default options."""
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
    times = {}
    for name in sorted({**augment.AUGMENTATIONS, **augment.BATCH_AUGMENTATIONS}):
        policy = ({'name': name},)
        function = jax.jit(
            lambda k, b, policy=policy: augment.augment(k, b, policy)[:2],
            out_shardings=(rows, rows),
            compiler_options=options,
        )
        times[name] = median_ms(lambda f=function: f(key, batch), rounds)
    matrix = generator.random((3072, 3072), np.float32)
    constants = np.zeros((1, 1, 3), np.float32)
    zca = normalize.Normalizer(constants, constants + 1, matrix)
    whiten = jax.jit(
        lambda x: normalize.apply(zca, x), out_shardings=rows, compiler_options=options
    )
    times['zca (applied)'] = median_ms(lambda: whiten(batch.images), rounds)
    return times


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--step', type=float, help="time of SENet's step in milliseconds, if known")
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()
    mesh = parallel.make_mesh(0, args.batch)
    step = args.step or step_ms(args.batch, args.rounds)
    machine = environment(backend.chosen())
    title = (
        f'batch {args.batch}, {machine["processor"]}, {machine["cores"]} cores; step: {step:.0f} ms'
    )
    rows = [
        [name, f'{ms:.2f}', f'{ms / step:.2%}']
        for name, ms in costs(args.batch, args.rounds, mesh).items()
    ]
    console.table(title, ['augmentation', 'ms', "of SENet's step"], rows)


if __name__ == '__main__':
    sys.exit(main())
