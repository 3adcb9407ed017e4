"""Trains or resumes one run in a workdir."""

import functools
import logging
import pathlib
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from cifar_jax import IMPORTED_AT
from cifar_jax.data import paths, pipeline, splits
from cifar_jax.data.pipeline import Prepared
from cifar_jax.data.records import Records
from cifar_jax.errors import UserError
from cifar_jax.experiment import console, first_weights, locks, preprocessing
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.config import flat
from cifar_jax.experiment.preprocessing import Preprocessing
from cifar_jax.experiment.watcher import Follower, Watcher
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.machine import keep_freed_memory
from cifar_jax.models import summary as model_summary
from cifar_jax.ops import backend
from cifar_jax.training import durations, processes
from cifar_jax.training import extension as extensions
from cifar_jax.training import state as states
from cifar_jax.training.trainer import Plan, Result, Trainer
from cifar_jax.training.trainers import trainer_of

log = logging.getLogger('cifar_jax')
# (plan, data, step, variables) -> pictures for TensorBoard.
Draw = Callable[[Plan, Prepared, int, Any], Iterable[Any]]


def train(
    config: ConfigDict,
    folder: pathlib.Path,
    *,
    command: str = '',
    profile: bool = False,
    extend: bool = False,
    draw: Draw | None = None,
) -> dict[str, Any]:
    """Trains or resumes a run, and returns its summary (see summary.json).

    Args:
      command: the command line, stored in config.json.
      profile: whether to write a trace of a few steps.
      extend: whether a run may be lengthened that is then not the longer run it would have been.
      draw: `reporting.live.draw_run`, or None for no pictures.

    Raises:
      UserError: see the modules that this function calls.
    """
    workdir = Workdir(folder)
    workdirs.check_path(workdir)
    config = config.copy_and_resolve_references()
    config.data.source = paths.absolute(config.data.source)
    keep_freed_memory()
    trainer = trainer_of(config.model.name)
    trainer.set_up(config, profile=profile)
    new = not workdir.config.exists()
    if not new:
        stored = workdirs.refuse_differences(workdir, config)
        if config.ops.algorithm == 'auto':  # a run continues with the algorithm it began with
            config.ops.algorithm = stored.ops.algorithm
    processes.require_same(
        checksum(config), 'The processes have different configs: give all the same ones.'
    )
    with processes.first_alone('the data'):
        data, kept = _prepare_data(workdir, config)
    plan = trainer.plan(config, data, new=new, read=first_weights.reader(config, data))
    variables, rows = model_summary.trace(plan.model, data.train.images.shape[1:])
    model_summary.require_memory(plan.model, variables)
    processes.wait('all have read the workdir, which process 0 changes')
    if not processes.is_first():
        with backend.use(**config.ops):
            return _follow(trainer, plan, workdir)
    with backend.use(**config.ops), locks.lock(workdir):
        workdirs.remove_temporary(workdir)
        extension = _extension(workdir, plan, data.train.images.shape[1:], extend)
        for change in workdirs.prepare(workdir, config, command):
            log.warning('%s: this run will not continue with the same bits', change)
        log.info(model_summary.table(plan.model, variables, rows))
        for line in trainer.describe(plan, rows):
            log.info(line)
        _describe_data(data)

        def on_start() -> None:
            workdirs.update_config(workdir, config, extension)
            preprocessing.write(workdir, kept)

        watcher = _watcher(workdir, plan, data, profile, draw, on_start)
        with watcher.watching():
            result = trainer.run(plan, workdir.path, watcher)
        return _summarize(workdir, result, watcher)


def checksum(config: ConfigDict) -> int:
    """Returns a checksum of 31 bits of the keys of a config that change its results."""
    values = flat(config).items()
    changing = [pair for pair in values if not workdirs.keeps_results(pair[0])]
    return zlib.crc32(repr(changing).encode()) >> 1


def _follow(trainer: Trainer, plan: Plan, workdir: Workdir) -> dict[str, Any]:
    """Trains in a process that writes no files but its part of the checkpoints."""
    follower = Follower()
    with follower.watching():
        result = trainer.run(plan, workdir.path, follower)
    return {'finished': result.chosen is not None, 'step': result.step, 'signal': follower.signal}


def _extension(
    workdir: Workdir, plan: Plan, image_shape: tuple[int, ...], extend: bool
) -> dict[str, Any] | None:
    """Returns the entry in config.json for a run that --extend extends, or None.

    Raises:
      UserError: the run needs --extend.
    """
    if not workdir.config.exists():
        return None
    before, length = workdirs.read_config(workdir).train.length, plan.config.train.length
    spanning = extensions.spanning(plan, before, image_shape) if before != length else []
    if not spanning:
        return None
    if not extend:
        raise UserError(
            f"config.train.length='{length}' extends a run of '{before}', in which "
            f'{" and ".join(spanning)} spanned the whole run: it would not become the run of '
            f"'{length}'. Choose another --workdir, or add --extend to continue all the same."
        )
    log.warning("extended from '%s' to '%s': this is not a run of '%s'", before, length, length)
    return {'from': before, 'to': length, 'spanning': spanning}


def _prepare_data(workdir: Workdir, config: ConfigDict) -> tuple[Prepared, Preprocessing]:
    """Loads the data, and checks that they are those of the run in the workdir, if there is one.

    Raises:
      UserError: the data have changed.
    """
    if not workdir.preprocessing.exists():
        data = pipeline.prepare(config.data)
        return data, preprocessing.of(data)
    stored = preprocessing.read(workdir)
    # Older runs have no digests: compare the constants of a new normalizer instead.
    data = pipeline.prepare(config.data, stored.normalizer if stored.digests else None)
    now = preprocessing.of(data)
    preprocessing.refuse_differences(workdir, stored, now)
    if not stored.digests:
        log.info('%s: added digests of the data, which older versions did not store', workdir.path)
    return data, now


def _watcher(
    workdir: Workdir,
    plan: Plan,
    data: Prepared,
    profile: bool,
    draw: Draw | None,
    on_start: Callable[[], None],
) -> Watcher:
    log_config = plan.config.log
    draw_every = durations.steps(
        log_config.pictures, steps_per_epoch=plan.steps_per_epoch, total_steps=plan.total_steps
    )
    pictures = None
    if draw is not None and log_config.tensorboard and draw_every:
        pictures = functools.partial(draw, plan, data)
    return Watcher(
        workdir,
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        batch_size=plan.config.train.batch_size,
        every=log_config.every,
        tensorboard=log_config.tensorboard,
        profile=profile,
        on_start=on_start,
        draw=pictures,
        draw_every=draw_every,
    )


def _describe_data(data: pipeline.Prepared) -> None:
    for name, part in (('train', data.train), ('validation', data.validation), ('test', data.test)):
        if part is not None:
            counts = splits.class_counts(part.labels, len(data.classes))
            spread = f'{counts.min()} to {counts.max()} per class'
            if len(counts) <= 20:
                spread += f': {", ".join(map(str, counts))}'
            if isinstance(part.images, Records):
                spread += '; streamed'
            log.info('%s: %d images, %s', name, counts.sum(), spread)


def _summarize(workdir: Workdir, result: Result, watcher: Watcher) -> dict[str, Any]:
    if result.chosen is None:
        log.info('stopped at step %d; the same command resumes there', result.step)
        return {'finished': False, 'step': result.step, 'signal': watcher.signal}
    line = result.chosen
    summary = {
        'finished': True,
        'step': line['step'],
        'epoch': line['epoch'],
        'seconds': round(sum(entry['seconds'] for entry in result.history), 1),
        **{key: line[key] for key in line if key.startswith(('train_', 'val_'))},
        'sha256': states.sha256(result.variables),
    }
    if watcher.first_step_at is not None:
        log.info('first step %.1f s after the start', watcher.first_step_at - IMPORTED_AT)
    workdirs.write_summary(workdir, {**_evaluations(workdir, summary), **summary})
    rows = [
        [
            name,
            f'{line[f"{part}_loss"]:.4f}',
            f'{line[f"{part}_accuracy"]:.2%}',
            f'{line[f"{part}_top5"]:.2%}',
        ]
        for part, name in (('train', 'train (running mean)'), ('val', 'validation'))
        if f'{part}_loss' in line
    ]
    title = f'{workdir.path}: epoch {line["epoch"]}, {console.duration(summary["seconds"])}'
    console.table(title, ('part', 'loss', 'accuracy', 'top 5'), rows)
    log.info('weights sha256 %s', summary['sha256'])
    return summary


def _evaluations(workdir: Workdir, summary: dict[str, Any]) -> dict[str, Any]:
    """Returns the evaluations in an earlier summary of the same weights."""
    before = workdirs.read_summary(workdir)
    return before if before.get('sha256') == summary['sha256'] else {}
