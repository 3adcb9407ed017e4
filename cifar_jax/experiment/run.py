"""One training run in a workdir, from its config to its summary."""

import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.data import pipeline, splits
from cifar_jax.errors import UserError
from cifar_jax.experiment import console, preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.watcher import Watcher
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.machine import keep_freed_memory, process_age, use_compilation_cache
from cifar_jax.models import summary as model_summary
from cifar_jax.ops import backend
from cifar_jax.training import durations, loop, numpy_loop, numpy_network, parallel
from cifar_jax.training import state as states
from cifar_jax.training.history import Line

# From images and the parts of a classifier to pictures.
Draw = Callable[..., Iterable[Any]]

log = logging.getLogger('cifar_jax')


def train(
    config: ConfigDict,
    folder: pathlib.Path,
    *,
    command: str = '',
    profile: bool = False,
    draw: Draw | None = None,
) -> dict[str, Any]:
    """Trains, or goes on training, and returns what summary.json then holds.

    Args:
      command: what the user typed, kept for those who want to repeat the run.
      profile: whether a trace of a few steps is written.
      draw: returns TensorBoard's pictures, every config.log.pictures; None for none.

    Raises:
      UserError: whatever the user can mend, see the modules that this calls.
    """
    workdir = Workdir(folder)
    workdirs.check_path(workdir)
    keep_freed_memory()
    if config.model.name == numpy_network.MODEL:
        return _train_in_numpy(config, workdir, command, profile, draw)
    mesh = parallel.make_mesh(config.mesh.devices, config.train.batch_size)
    use_compilation_cache()
    jax.config.update('jax_debug_nans', config.debug.nans)
    jax.config.update('jax_disable_jit', config.debug.no_jit)
    data = pipeline.prepare(config.data)
    plan = loop.plan(config, data)
    if not workdir.config.exists():
        loop.given_variables(plan)  # What cannot be read leaves no workdir behind.
    with workdirs.lock(workdir), backend.use(config.ops.backend):
        for change in workdirs.prepare(workdir, config, command):
            log.warning('%s: this run will not go on to the same bits', change)
        preprocessing.write(workdir, data)
        _describe(plan, data, mesh)
        watcher = Watcher(
            workdir,
            total_steps=plan.total_steps,
            steps_per_epoch=plan.steps_per_epoch,
            batch_size=config.train.batch_size,
            every=config.log.every,
            tensorboard=config.log.tensorboard,
            profile=profile,
            **_drawing(draw, config, data, plan.model, plan.dtype, mesh, plan.steps_per_epoch),
        )
        try:
            with watcher.watching():
                result = loop.run(plan, data, mesh, workdir.checkpoints, watcher)
        except FloatingPointError as error:  # from config.debug.nans
            raise UserError(
                f'{error} Lower config.schedule.rate, add a config.schedule.warmup or '
                'config.optimizer.clip_norm, or look at the operation named.'
            ) from error
        sha256 = states.sha256(states.evaluated(result.state))
        ended = _Ended(int(result.state.step), result.history, result.chosen, sha256)
        return _summarize(workdir, ended, watcher)


class _Ended(NamedTuple):
    """What a run ends with, whatever trained it."""

    step: int
    history: list[Line]
    chosen: Line | None  # None: it was interrupted
    sha256: str  # of the weights


def _train_in_numpy(
    config: ConfigDict, workdir: Workdir, command: str, profile: bool, draw: Draw | None
) -> dict[str, Any]:
    if profile:
        raise UserError(
            '--profile traces JAX: for NumPy write python -m cProfile -s tottime -m cifar_jax.main.'
        )
    data = pipeline.prepare(config.data)
    plan = numpy_loop.plan(config, data)
    with workdirs.lock(workdir):
        for change in workdirs.prepare(workdir, config, command):
            log.warning('%s: this run will not go on to the same bits', change)
        preprocessing.write(workdir, data)
        log.info(model_summary.table(numpy_network.flax_twin(config), data.train.images.shape[1:]))
        log.info('NumPy, batch %d', config.train.batch_size)
        _describe_data(data)
        watcher = Watcher(
            workdir,
            total_steps=plan.epochs * plan.steps_per_epoch,
            steps_per_epoch=plan.steps_per_epoch,
            batch_size=config.train.batch_size,
            every=config.log.every,
            tensorboard=config.log.tensorboard,
            **_drawing(
                draw,
                config,
                data,
                numpy_network.flax_twin(config),
                np.float32,
                parallel.make_mesh(1, 1),
                plan.steps_per_epoch,
            ),
        )
        with watcher.watching():
            history, chosen = numpy_loop.run(plan, data, workdir, watcher)
        step = plan.network.epoch * plan.steps_per_epoch
        sha256 = states.sha256(numpy_network.variables(plan.network))
        return _summarize(workdir, _Ended(step, history, chosen, sha256), watcher)


def _drawing(
    draw: Draw | None,
    config: ConfigDict,
    data: pipeline.Prepared,
    model: nn.Module,
    dtype: DTypeLike,
    mesh: Mesh,
    steps_per_epoch: int,
) -> dict[str, Any]:
    """Returns the watcher's arguments that are about pictures."""
    total = durations.steps(config.train.length, steps_per_epoch=steps_per_epoch, total_steps=None)
    every = durations.steps(config.log.pictures, steps_per_epoch=steps_per_epoch, total_steps=total)
    if not (draw and config.log.tensorboard and every):
        return {}

    def draw_step(step: int, variables: Any) -> Iterable[Any]:
        return draw(
            # Never the test images, which a choice could then rest on.
            data.validation or data.train,
            config=config,
            model=model,
            variables=variables,
            normalizer=data.normalizer,
            classes=data.classes,
            dtype=dtype,
            mesh=mesh,
            step=step,
        )

    return {'draw': draw_step, 'draw_every': every}


def _describe(plan: loop.Plan, data: pipeline.Prepared, mesh: jax.sharding.Mesh) -> None:
    log.info(model_summary.table(plan.model, plan.image_shape))
    device = mesh.devices.flat[0]
    log.info('%d x %s, batch %d', mesh.size, device.device_kind, plan.config.train.batch_size)
    if device.platform == 'cpu':
        log.info(backend.reason())
    _describe_data(data)


def _describe_data(data: pipeline.Prepared) -> None:
    for name, part in (('train', data.train), ('validation', data.validation), ('test', data.test)):
        if part is not None:
            counts = splits.class_counts(part.labels, len(data.classes))
            spread = f'{counts.min()} to {counts.max()} a class'
            if len(counts) <= 20:
                spread += f': {", ".join(map(str, counts))}'
            log.info('%s: %d images, %s', name, counts.sum(), spread)


def _summarize(workdir: Workdir, ended: _Ended, watcher: Watcher) -> dict[str, Any]:
    if ended.chosen is None:
        log.info('stopped at step %d; the same command goes on from there', ended.step)
        return {'finished': False, 'step': ended.step}
    line = ended.chosen
    summary = {
        'finished': True,
        'step': line['step'],
        'epoch': line['epoch'],
        'seconds': round(sum(entry['seconds'] for entry in ended.history), 1),
        **{key: line[key] for key in line if key.startswith(('train_', 'val_'))},
        'sha256': ended.sha256,
    }
    if watcher.first_step_at is not None:
        log.info('first step %.1f s after the start', process_age(watcher.first_step_at))
    files.write_json(workdir.summary, {**_evaluations(workdir, summary), **summary})
    rows = [
        [
            name,
            f'{line[f"{part}_loss"]:.4f}',
            f'{line[f"{part}_accuracy"]:.2%}',
            f'{line[f"{part}_top5"]:.2%}',
        ]
        for part, name in (('train', 'train, as it went'), ('val', 'validation'))
        if f'{part}_loss' in line
    ]
    title = f'{workdir.path}: epoch {line["epoch"]}, {console.duration(summary["seconds"])}'
    console.table(title, ('part', 'loss', 'accuracy', 'top 5'), rows)
    log.info('weights sha256 %s', summary['sha256'])
    return summary


def _evaluations(workdir: Workdir, summary: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` added to an earlier summary of the same weights."""
    if not workdir.summary.exists():
        return {}
    before = files.read_json(workdir.summary)
    return before if before.get('sha256') == summary['sha256'] else {}
