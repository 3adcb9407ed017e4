"""What scripts/scaling_benchmark.py measures, each in a process of its own.

    python -m bench.scaling MEASURE '{"config": ..., "overrides": [...], ...}'

prints a JSON object on its last line.
"""

import functools
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from bench import ours, process
from cifar_jax.data import pipeline
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run, watcher
from cifar_jax.ops import backend
from cifar_jax.training import checkpoints, jax_trainer, parallel, processes, weights
from cifar_jax.training import state as states
from cifar_jax.training import step as steps
from cifar_jax.training.plan import Plan
from cifar_jax.training.state import TrainState


def _config(options: dict[str, Any]) -> ConfigDict:
    return configs.load(options['config'], options['overrides'])


def _plan(options: dict[str, Any]) -> Plan:
    config = _config(options)
    jax_trainer.set_up(config, profile=False)
    return jax_trainer.plan(config, pipeline.prepare(config.data))


def _widened(plan: Plan, state: TrainState) -> tuple[Plan, TrainState]:
    """Returns a plan that computes in float64, and its first state."""
    plan = plan._replace(model=plan.model.clone(dtype=jnp.float64), dtype=jnp.float64)

    def widen(tree: Any) -> Any:
        return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)

    parts = 'variables', 'opt_state', 'average'
    wide = jax.jit(
        lambda: state._replace(**{name: widen(getattr(state, name)) for name in parts}),
        out_shardings=parallel.replicated(plan.mesh),
    )
    return plan, wide()


def train(options: dict[str, Any]) -> dict[str, Any]:
    """Trains some steps, perhaps in several processes, and keeps the variables; gives its speed."""
    plan, wide = _plan(options), options.get('float64', False)
    with jax.set_mesh(plan.mesh), backend.use(**plan.config.ops):
        state = steps.programs(plan).init()
        if wide:
            plan, state = _widened(plan, state)
        program, endless, times = steps.programs(plan), ours.feeds(plan), []
        for _ in range(options['steps']):
            began = time.perf_counter()
            state = jax.block_until_ready(program.step(state, next(endless)))
            times.append(time.perf_counter() - began)
    if processes.is_first() and 'out' in options:
        arrays = weights.named(states.to_host(state.variables))
        np.savez(options['out'], **arrays)
    count = plan.config.train.batch_size
    return {'images_per_second': count / statistics.median(times[len(times) // 4 :])}


def overhead(options: dict[str, Any]) -> dict[str, Any]:
    """Compares steps on a mesh of one device with the same steps without any mesh."""
    plan = _plan(options)
    program = steps.programs(plan)

    def plain(state: TrainState, feed: Any) -> TrainState:
        batch = plan.training.batch(feed, state.step % plan.steps_per_epoch)
        with mock.patch.object(jax.lax, 'with_sharding_constraint', lambda x, _: x):
            return steps.update(state, batch, plan)

    with backend.use(**plan.config.ops):
        with jax.set_mesh(plan.mesh):
            on_mesh = program.init()
            feed = next(plan.training.epoch(0, 0))
        without = jax.tree.map(lambda a: jnp.asarray(np.array(a)), on_mesh)
        own_feed = jax.tree.map(lambda a: jnp.asarray(np.array(a)), feed)
        plain = jax.jit(plain, donate_argnums=0)
        times = []
        for _ in range(options['rounds'] + 1):
            on_mesh, mesh_time = _timed(program.step, on_mesh, feed, options['steps'], plan.mesh)
            without, plain_time = _timed(plain, without, own_feed, options['steps'], None)
            times.append((mesh_time, plain_time))
    measured = times[1:]  # the first round compiles
    mesh_times, plain_times = zip(*measured, strict=True)
    # Whatever else the machine does makes a round slower, and never faster.
    ratios = [one / other for one, other in measured]
    return {'ratio': min(mesh_times) / min(plain_times), 'rounds': ratios}


def _timed(step: Callable[..., Any], state: Any, feed: Any, count: int, mesh: Any) -> Any:
    began = time.perf_counter()
    with jax.set_mesh(mesh) if mesh else mock.MagicMock():
        for _ in range(count):
            state = step(state, feed)
        jax.block_until_ready(state)
    return state, time.perf_counter() - began


def memory(options: dict[str, Any]) -> dict[str, Any]:
    """Measures the memory after each epoch of a run with validation, checkpoints and events."""
    sizes: list[float] = []

    def draw(*_: Any) -> tuple[()]:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
        sizes.append(pages * resource.getpagesize() / 2**20)
        return ()

    with tempfile.TemporaryDirectory() as folder:
        run.train(_config(options), Path(folder) / 'run', draw=draw)
    return {'mebibytes': sizes}


def logging(options: dict[str, Any]) -> dict[str, Any]:
    """Measures the share of a run that waits for checkpoints, the console, events and metrics."""
    spent = {'checkpoints': 0.0, 'log': 0.0}

    def timed(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments, **keywords)
            spent[kind] += time.perf_counter() - began
            return result

        return call

    places = (
        ('checkpoints', checkpoints, 'save'),
        ('checkpoints', checkpoints, 'finish'),
        ('log', watcher.Watcher, 'stepped'),
        ('log', watcher.Watcher, 'epoch_ended'),
    )
    for kind, place, name in places:
        setattr(place, name, timed(kind, getattr(place, name)))
    with tempfile.TemporaryDirectory() as folder:
        summary = run.train(_config(options), Path(folder) / 'run')
    seconds = summary['seconds'] + spent['checkpoints']
    return {'seconds': seconds} | {kind: value / seconds for kind, value in spent.items()}


MEASURES = {
    'train': train,
    'overhead': overhead,
    'memory': memory,
    'logging': logging,
}


def main() -> None:
    """Runs one measure."""
    measure, options = sys.argv[1], json.loads(sys.argv[2])
    if options.get('float64'):
        jax.config.update('jax_enable_x64', True)
    if 'process' in options:
        address, count, index = options['process']
        process.take_share_of_cores(index, count)
        processes.connect(address, count, index)
    result = MEASURES[measure](options)
    processes.finished()
    print(json.dumps(result))


if __name__ == '__main__':
    main()
