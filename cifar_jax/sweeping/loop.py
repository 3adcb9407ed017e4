"""Executes the jobs of a sweep, several in parallel."""

import contextlib
import pathlib
import signal
import time
from collections.abc import Iterator, Sequence

from cifar_jax.errors import UserError
from cifar_jax.experiment import locks
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping import jobs as lib
from cifar_jax.sweeping.jobs import Cores, Job
from cifar_jax.sweeping.show import Display

_POLL_SECONDS = 0.2  # between checks of the processes
_OPEN = ('waiting', 'training elsewhere')


def sweep(jobs: list[Job], out: pathlib.Path, parallel: int, split: str) -> None:
    """Executes the jobs of a sweep in a folder, which no other sweep may use.

    Args:
      parallel: number of runs in parallel.
      split: the split to evaluate on, or 'none'.

    Raises:
      UserError: another sweep is using the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.lock(Workdir(out)))
        except UserError:
            raise UserError(
                f'Another sweep is using {out}: wait for it, or choose another --out.'
            ) from None
        run(jobs, lib.shares(parallel), split, Display(jobs, parallel))


def run(jobs: Sequence[Job], shares: Sequence[Cores], split: str, display: Display) -> None:
    """Executes the jobs; afterwards, each of them is 'finished', 'failed' or 'stopped'.

    Args:
      shares: the cores for each of the runs in parallel.
      split: the split to evaluate on, or 'none'.
    """
    free = list(shares)
    handled = 0
    try:
        with _received_signals() as signals, display:
            while _running(jobs) or (not signals and _waiting(jobs)):
                _poll(jobs, free, split, bool(signals), display)
                if not signals:
                    _start(jobs, free, split, display)
                elif len(signals) > handled:
                    handled = len(signals)
                    display.stopping(handled > 1)
                    _stop(_running(jobs), kill=handled > 1)
                display.update()
                time.sleep(_POLL_SECONDS)
    finally:
        _stop(_running(jobs), kill=False)
    for job in _waiting(jobs):
        job.state = 'stopped'


def _poll(
    jobs: Sequence[Job], free: list[Cores], split: str, stopping: bool, display: Display
) -> None:
    for job in _running(jobs):
        before = job.state
        lib.poll(job, split, stopping)
        if job.process is None:
            free.append(job.cores)
        if job.state != before:
            display.report(job)


def _start(jobs: Sequence[Job], free: list[Cores], split: str, display: Display) -> None:
    for job in _waiting(jobs):
        if not free:
            return
        before, job.cores = job.state, free[0]
        lib.start(job, split)
        if job.process is not None:
            free.pop(0)
        if job.state != before:
            display.report(job)


def _running(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.process is not None]


def _waiting(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.state in _OPEN]


def _stop(jobs: Sequence[Job], kill: bool) -> None:
    for job in jobs:
        if job.process is not None and kill:
            job.process.kill()
        elif job.process is not None:
            job.process.terminate()  # main then ends after its current step, with a checkpoint


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM in a list instead of raising; yields that list."""
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
