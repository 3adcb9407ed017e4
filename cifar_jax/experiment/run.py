"""One training run in a workdir, from its config to its summary."""

import logging
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from cifar_jax.data import pipeline, splits
from cifar_jax.errors import UserError
from cifar_jax.experiment import classifier, console
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.environment import (
    keep_freed_memory,
    process_age,
    use_compilation_cache,
)
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.models import summary as model_summary
from cifar_jax.ops import backend
from cifar_jax.training import loop, parallel
from cifar_jax.training import state as states

log = logging.getLogger('cifar_jax')


def train(
    config: ConfigDict, folder: pathlib.Path, *, command: str = '', profile: bool = False
) -> dict[str, Any]:
    """Trains, or goes on training, and returns what summary.json then holds.

    Raises:
      UserError: whatever the user can mend, see the modules that this calls.
    """
    workdir = Workdir(folder)
    keep_freed_memory()
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
        classifier.write_preprocessing(workdir, data)
        _describe(plan, data, mesh)
        watcher = console.Watcher(
            workdir,
            total_steps=plan.total_steps,
            steps_per_epoch=plan.steps_per_epoch,
            batch_size=config.train.batch_size,
            every=config.log.every,
            tensorboard=config.log.tensorboard,
            profile=profile,
        )
        try:
            with watcher.watching():
                result = loop.run(plan, data, mesh, workdir.checkpoints, watcher)
        except FloatingPointError as error:  # from config.debug.nans
            raise UserError(
                f'{error} Lower config.schedule.rate, add a config.schedule.warmup or '
                'config.optimizer.clip_norm, or look at the operation named.'
            ) from error
        return _summarize(workdir, plan, result, watcher)


def _describe(plan: loop.Plan, data: pipeline.Prepared, mesh: jax.sharding.Mesh) -> None:
    log.info(model_summary.table(plan.model, plan.image_shape))
    device = mesh.devices.flat[0]
    log.info('%d x %s, batch %d', mesh.size, device.device_kind, plan.config.train.batch_size)
    if device.platform == 'cpu':
        log.info(backend.reason())
    for name, part in (('train', data.train), ('validation', data.validation), ('test', data.test)):
        if part is not None:
            counts = splits.class_counts(part.labels, len(data.classes))
            spread = f'{counts.min()} to {counts.max()} a class'
            if len(counts) <= 20:
                spread += f': {", ".join(map(str, counts))}'
            log.info('%s: %d images, %s', name, counts.sum(), spread)


def _summarize(
    workdir: Workdir, plan: loop.Plan, result: loop.Result, watcher: console.Watcher
) -> dict[str, Any]:
    if result.chosen is None:
        log.info('stopped at step %d; the same command goes on from there', result.state.step)
        return {'finished': False, 'step': int(result.state.step)}
    line = result.chosen
    summary = {
        'finished': True,
        'step': line['step'],
        'epoch': line['epoch'],
        'seconds': round(sum(entry['seconds'] for entry in result.history), 1),
        **{key: line[key] for key in line if key.startswith(('train_', 'val_'))},
        'sha256': states.sha256(states.evaluated(result.state)),
    }
    if watcher.first_step_at is not None:
        log.info('first step %.1f s after the start', process_age(watcher.first_step_at))
    workdirs.write_json(workdir.summary, {**_evaluations(workdir, summary), **summary})
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
    before = workdirs.read_json(workdir.summary)
    return before if before.get('sha256') == summary['sha256'] else {}
