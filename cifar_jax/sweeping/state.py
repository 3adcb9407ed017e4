"""The state of a run according to its workdir: finished, training, and its progress."""

from typing import Any, NamedTuple

from cifar_jax.data import paths
from cifar_jax.errors import UserError
from cifar_jax.experiment import locks
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping.grid import Task
from cifar_jax.training.durations import steps


class Progress(NamedTuple):
    """The progress of a run at its last finished epoch."""

    fraction: float  # of its steps; early stopping may end the run before 1
    seconds: float  # of training
    line: dict[str, Any]  # the last line of metrics.jsonl, or {}


def check(task: Task) -> None:
    """Raises UserError if the workdir belongs to another config, or is damaged."""
    if task.workdir.config.exists():
        workdirs.refuse_differences(task.workdir, task.config)


def summary(task: Task) -> dict[str, Any] | None:
    """Returns the summary of a finished run; None for one that must be started or resumed.

    Raises:
      UserError: the workdir belongs to another config, or is damaged.
    """
    check(task)
    workdir = task.workdir
    if not (workdir.config.exists() and workdir.summary.exists()):
        return None
    # A run that resumes or is extended writes its config again.
    if workdir.summary.stat().st_mtime < workdir.config.stat().st_mtime:
        return None
    before = workdirs.read_config(workdir)
    if before.train.length != task.config.train.length:
        return None
    # A run whose folder has moved compares its digests when it is started.
    if paths.absolute(before.data.source) != paths.absolute(task.config.data.source):
        return None
    stored = workdirs.read_summary(workdir)
    return stored if stored.get('finished') else None


def is_training(workdir: Workdir) -> bool:
    """Returns whether any process is training in a workdir."""
    if not workdir.path.is_dir():
        return False
    try:
        with locks.lock(workdir):
            return False
    except UserError:
        return True


def progress(task: Task) -> Progress:
    """Returns the progress of a run; none if its metrics.jsonl is damaged."""
    try:
        lines = workdirs.read_metrics(task.workdir)
    except UserError:
        lines = []
    if not lines:
        return Progress(0.0, 0.0, {})
    last = lines[-1]
    total = steps(
        task.config.train.length,
        steps_per_epoch=round(last['step'] / last['epoch']),
        total_steps=None,
    )
    seconds = sum(line['seconds'] for line in lines)
    return Progress(min(1.0, last['step'] / total), seconds, last)
