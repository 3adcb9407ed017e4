"""Compare training on streamed images with training on images in memory.

    python scripts/streaming.py
    python scripts/streaming.py --steps 100 --rounds 5 --smaller 100

Trains a config twice from the same seed, with its set in memory and streamed through a buffer that
is ten times smaller than the training images, and prints images/s, peak memory, and whether both
give the same weights. Each measurement has a process of its own, and the two kinds take turns; what
is reported are medians. Compiling and the first steps are not timed.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from bench.ours import feeds
from cifar_jax.data import pipeline
from cifar_jax.data.records import Records
from cifar_jax.experiment import config as configs
from cifar_jax.machine import keep_freed_memory, processor, use_compilation_cache
from cifar_jax.ops import backend
from cifar_jax.training import plan as plans
from cifar_jax.training import state as states
from cifar_jax.training.step import programs

WARM_UP = 3  # steps
KINDS = ('memory', 'streamed')


def measure(spec: str, overrides: list[str], kind: str, smaller: float, steps: int) -> dict:
    """Returns images_per_second, the memory of this process, and the sha256 of the weights.

    peak_mb is its largest resident size, and growth_mb what the timed steps added to that;
    images_mb is the size of the training images, and ahead_mb that of the batches read ahead.

    Args:
      spec: a config, which `overrides` changes.
      kind: 'memory' or 'streamed'.
      smaller: how many times the buffer is smaller than the training images.
      steps: how many are timed.
    """
    config = configs.load(spec, overrides)
    if kind == 'streamed':
        config.data.memory_gb = 1e-6
    data = pipeline.prepare(config.data)
    images = data.train.images
    if isinstance(images, Records):
        images = images.with_buffer(images.nbytes / smaller)
        data = data._replace(train=data.train._replace(images=images))
    plan = plans.make(config, data)
    program = programs(plan)
    endless = feeds(plan)
    with jax.set_mesh(plan.mesh), backend.use(**config.ops):
        state: Any = program.init()
        for _ in range(WARM_UP):
            state = program.step(state, next(endless))
        jax.block_until_ready(state)
        before = _peak_mb()
        start = time.perf_counter()
        for _ in range(steps):
            state = program.step(state, next(endless))
        jax.block_until_ready(state)
        seconds = time.perf_counter() - start
    batch = config.train.batch_size
    image_mb = images.nbytes / len(images) / 2**20
    return {
        'images_per_second': steps * batch / seconds,
        'peak_mb': _peak_mb(),
        'growth_mb': _peak_mb() - before,
        'images_mb': images.nbytes / 2**20,
        'ahead_mb': images.batches_ahead(batch) * batch * image_mb if kind == 'streamed' else 0,
        'sha256': states.sha256(states.evaluated(state)),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(results: dict[str, list[dict]]) -> Table:
    """Returns a table of the medians of the measurements of each kind."""
    columns = 'images', 'images/s', 'of memory', 'peak memory', 'growth in the steps'
    shown = Table(*columns, title=f'streaming on {processor()}')
    medians = {
        kind: {key: statistics.median(r[key] for r in rows) for key in rows[0] if key != 'sha256'}
        for kind, rows in results.items()
    }
    for kind, row in medians.items():
        ratio = row['images_per_second'] / medians['memory']['images_per_second']
        what = f'{row["images_mb"]:.0f} MB in memory'
        if kind == 'streamed':
            what = f'{row["images_mb"]:.0f} MB through {row["ahead_mb"]:.1f} MB'
        memory = f'{row["peak_mb"]:.0f} MB', f'{row["growth_mb"]:.0f} MB'
        shown.add_row(what, f'{row["images_per_second"]:.0f}', f'{ratio:.3f}', *memory)
    same = len({row['sha256'] for rows in results.values() for row in rows}) == 1
    shown.caption = f'{"the same" if same else "DIFFERENT"} weights in all runs'
    return shown


def main() -> None:
    """Measures in processes that take turns, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument('--config', default=str(root / 'configs' / 'senet.py'))
    parser.add_argument('--steps', type=int, default=40, help='that are timed')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument(
        '--smaller', type=float, default=10.0, help='times that the buffer is smaller than the set'
    )
    parser.add_argument('--measure', choices=KINDS, help=argparse.SUPPRESS)
    options, overrides = parser.parse_known_args()
    if options.measure:
        keep_freed_memory()
        use_compilation_cache()
        arguments = options.config, overrides, options.measure, options.smaller, options.steps
        print(json.dumps(measure(*arguments)))
        return
    results: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for turn in range(options.rounds):
        for kind in KINDS if turn % 2 == 0 else reversed(KINDS):
            command = [sys.executable, __file__, *sys.argv[1:], '--measure', kind]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[kind].append(json.loads(done.stdout.splitlines()[-1]))
    Console().print(table(results))


if __name__ == '__main__':
    main()
