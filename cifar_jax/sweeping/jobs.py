"""The runs of a sweep as jobs with a state, and their processes."""

import dataclasses
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from cifar_jax.errors import UserError
from cifar_jax.experiment import locks
from cifar_jax.experiment.console import STATUS
from cifar_jax.machine import cores
from cifar_jax.sweeping import child, state
from cifar_jax.sweeping.grid import Task

Cores = tuple[int, ...]


@runtime_checkable
class Process(Protocol):
    """A command that runs somewhere, such as a `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Returns its exit status, negative for the signal that killed it; None until it ends."""
        ...

    def terminate(self) -> None:
        """Asks it to end after its current step, with a checkpoint."""

    def kill(self) -> None:
        """Ends it immediately."""


# Starts a command on some cores, () for all, with its output appended to a file.
Launch = Callable[[Sequence[str], pathlib.Path, Cores], Process]


@dataclasses.dataclass
class Job:
    """A run and its state in this sweep."""

    task: Task
    # 'waiting', 'training elsewhere', 'training', 'evaluating', 'finished', 'failed', 'stopped'
    state: str = 'waiting'
    cores: Cores = ()
    process: Process | None = None
    began: float = 0.0  # start time, from time.monotonic()
    seconds: float = 0.0  # wall time from its start in this sweep to its end
    error: str = ''
    launch: Launch = child.start


def plan(tasks: Sequence[Task], split: str, launch: Launch = child.start) -> list[Job]:
    """Returns a job for each run; complete runs are already finished.

    Args:
      split: the split to evaluate on, or 'none'.
      launch: starts the commands of the runs.

    Raises:
      UserError: a workdir belongs to another config, or is damaged.
    """
    return [
        Job(task, 'waiting' if next_command(task, split) else 'finished', launch=launch)
        for task in tasks
    ]


def shares(parallel: int) -> list[Cores]:
    """Returns the cores for each of the runs that are trained in parallel.

    All get equally many, so that a run that resumes on other cores computes the same bits.
    """
    available = cores()
    size = max(1, len(available) // parallel)
    return [
        tuple(available[(job * size + core) % len(available)] for core in range(size))
        for job in range(parallel)
    ]


def next_command(task: Task, split: str) -> str:
    """Returns the command that a run needs next, 'main' or 'evaluate'; '' if it is complete.

    Args:
      split: the split to evaluate on, or 'none'.

    Raises:
      UserError: the workdir belongs to another config, or is damaged.
    """
    summary = state.summary(task)
    if summary is None:
        return 'main'
    return '' if split == 'none' or split in summary else 'evaluate'


def start(job: Job, split: str) -> None:
    """Starts the next command of a run, unless another process is training in its workdir."""
    task = job.task
    if state.is_training(task.workdir):
        job.state = 'training elsewhere'
        return
    job.began = job.began or time.monotonic()
    try:
        command = next_command(task, split)
    except UserError as error:
        _end(job, 'failed', str(error))
        return
    if command == 'main':
        job.state = 'training'
        _start_process(job, command, task.arguments)
    elif command == 'evaluate':
        job.state = 'evaluating'
        _start_process(job, command, ['--workdir', str(task.workdir.path), '--split', split])
    else:
        _end(job, 'finished')


def _start_process(job: Job, command: str, arguments: list[str]) -> None:
    job.task.log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, '-m', f'cifar_jax.{command}', *arguments]
    job.process = job.launch(words, job.task.log, job.cores)


def poll(job: Job, split: str, stopping: bool) -> None:
    """Updates a job whose process has ended; starts its next command unless `stopping`."""
    if job.process is None or (code := job.process.poll()) is None:
        return
    job.process = None
    try:
        command = next_command(job.task, split) if code == 0 else ''
    except UserError as error:
        _end(job, 'failed', str(error))
        return
    if code == 0 and (job.state == 'evaluating' or not command):
        _end(job, 'finished')
    elif stopping or code == STATUS['SIGTERM']:
        _end(job, 'stopped')
    elif command == 'evaluate':
        start(job, split)
    elif code > 0 and _last_line(job.task.log) == locks.refusal(job.task.workdir):
        job.state = 'training elsewhere'  # another process was faster, and may have ended since
    else:
        _end(job, 'failed', _killed(-code) if code < 0 else _last_line(job.task.log))


def _end(job: Job, state: str, error: str = '') -> None:
    job.state, job.error = state, error
    job.seconds = time.monotonic() - job.began


def _last_line(log: pathlib.Path) -> str:
    lines = [line.strip() for line in log.read_text(errors='replace').split('\n')]
    last = next(filter(None, reversed(lines)), 'it printed nothing')
    return last.removeprefix('cifar_jax: ')


def _killed(number: int) -> str:
    name = signal.Signals(number).name
    hint = ': is there enough memory?' if name == 'SIGKILL' else ''
    return f'its process was killed by {name}{hint}'
