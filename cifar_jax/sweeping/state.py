"""What the workdir of a run tells: is it finished, does it train, how far is it."""

from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping.grid import Task
from cifar_jax.training.durations import steps


class Progress(NamedTuple):
    """How far a run is, as its last finished epoch says."""

    share: float  # of its steps; early stopping may end it before 1
    seconds: float  # of training
    line: dict[str, Any]  # the last of metrics.jsonl; {} before


def check(task: Task) -> None:
    """Raises UserError where the workdir is the run of another config, or damaged."""
    if task.workdir.config.exists():
        workdirs.refuse_differences(task.workdir, task.config)


def summary(task: Task) -> dict[str, Any] | None:
    """Returns the summary of a finished run; None of one that has to be started or to go on.

    Raises:
      UserError: the workdir is the run of another config, or damaged.
    """
    check(task)
    workdir = task.workdir
    if not (workdir.config.exists() and workdir.summary.exists()):
        return None
    # A run that is made longer, or begins to go on, writes its config anew.
    if workdir.summary.stat().st_mtime < workdir.config.stat().st_mtime:
        return None
    if workdirs.read_config(workdir).train.length != task.config.train.length:
        return None
    found = files.read_json(workdir.summary)
    return found if found.get('finished') else None


def trains(workdir: Workdir) -> bool:
    """Tells whether a process trains in a workdir, whoever started it."""
    if not workdir.path.is_dir():
        return False
    try:
        with workdirs.lock(workdir):
            return False
    except UserError:
        return True


def progress(task: Task) -> Progress:
    """Returns how far a run is."""
    lines = workdirs.read_metrics(task.workdir)
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
