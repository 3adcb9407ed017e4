"""A run of a sweep as it is waiting, at work and done, and the processes that do it."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from cifar_jax.errors import UserError
from cifar_jax.machine import cores
from cifar_jax.sweeping import state
from cifar_jax.sweeping.grid import Task

_CHILD = pathlib.Path(__file__).with_name('child.py')
Cores = tuple[int, ...]


@dataclasses.dataclass
class Job:
    """A run and what has become of it in this sweep."""

    task: Task
    # 'waiting', 'training elsewhere', 'training', 'evaluating', 'finished', 'failed', 'stopped'
    state: str = 'waiting'
    cores: Cores = ()
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0  # in time.monotonic()
    seconds: float = 0.0  # of wall time, from its start in this sweep to its end
    error: str = ''


def plan(tasks: Sequence[Task], split: str) -> list[Job]:
    """Returns all runs, those that lack nothing marked as finished.

    Args:
      split: what a run is evaluated on; 'none' is nothing.

    Raises:
      UserError: a workdir is the run of another config, or damaged.
    """
    return [Job(task, 'waiting' if lacks(task, split) else 'finished') for task in tasks]


def shares(at_once: int) -> list[Cores]:
    """Returns the cores of each of the runs that are at work at once: as many for all of them.

    So whichever share a run goes on with, it computes the same bits.
    """
    known = cores()
    size = max(1, len(known) // at_once)
    return [
        tuple(known[(job * size + core) % len(known)] for core in range(size))
        for job in range(at_once)
    ]


def lacks(task: Task, split: str) -> str:
    """Returns the command that a run lacks, 'main' or 'evaluate'; '' where it is done.

    Args:
      split: what a run is evaluated on; 'none' is nothing.

    Raises:
      UserError: its workdir is the run of another config, or damaged.
    """
    summary = state.summary(task)
    if summary is None:
        return 'main'
    return '' if split == 'none' or split in summary else 'evaluate'


def begin(job: Job, split: str) -> None:
    """Starts what a run lacks, as `lacks` has it, unless another process trains in its workdir."""
    task = job.task
    if state.trains(task.workdir):
        job.state = 'training elsewhere'
        return
    job.began = job.began or time.monotonic()
    try:
        command = lacks(task, split)
    except UserError as error:
        _end(job, 'failed', str(error))
        return
    if command == 'main':
        job.state = 'training'
        _start(job, command, task.arguments)
    elif command == 'evaluate':
        job.state = 'evaluating'
        _start(job, command, ['--workdir', str(task.workdir.path), '--split', split])
    else:
        _end(job, 'finished')


def _start(job: Job, command: str, arguments: list[str]) -> None:
    words = [sys.executable, '-m', f'cifar_jax.{command}', *arguments]
    if os.name == 'posix':
        cores = ','.join(map(str, job.cores))
        words = [sys.executable, str(_CHILD), str(os.getpid()), cores, *words]
    job.task.log.parent.mkdir(parents=True, exist_ok=True)
    with job.task.log.open('ab') as log:
        # In a session of its own: Ctrl-C reaches the sweep, which asks its runs to stop.
        job.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def look(job: Job, split: str, stopping: bool) -> None:
    """Goes on with a run whose process has ended, unless all are to stop."""
    if job.process is None or (code := job.process.poll()) is None:
        return
    job.process = None
    try:
        missing = lacks(job.task, split) if code == 0 else ''
    except UserError as error:
        _end(job, 'failed', str(error))
        return
    if code == 0 and (job.state == 'evaluating' or not missing):
        _end(job, 'finished')
    elif stopping:
        _end(job, 'stopped')
    elif missing == 'evaluate':
        begin(job, split)
    elif job.state == 'training' and state.trains(job.task.workdir):
        job.state = 'training elsewhere'  # another one was there first
    else:
        _end(job, 'failed', _killed(-code) if code < 0 else _last_line(job.task.log))


def _end(job: Job, how: str, error: str = '') -> None:
    job.state, job.error = how, error
    job.seconds = time.monotonic() - job.began


def _last_line(log: pathlib.Path) -> str:
    lines = [line.strip() for line in log.read_text(errors='replace').split('\n')]
    last = next(filter(None, reversed(lines)), 'it said nothing')
    return last.removeprefix('cifar_jax: ')


def _killed(number: int) -> str:
    name = signal.Signals(number).name
    hint = ': is there enough memory?' if name == 'SIGKILL' else ''
    return f'its process was ended by {name}{hint}'
