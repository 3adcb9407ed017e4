"""The runs of a sweep, as many at once as there are shares of the cores."""

import contextlib
import pathlib
import signal
import time
from collections.abc import Iterator, Sequence

from cifar_jax.errors import UserError
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping import jobs as lib
from cifar_jax.sweeping.jobs import Cores, Job
from cifar_jax.sweeping.show import Display

_TICK = 0.2  # seconds between looks at the processes
_OPEN = ('waiting', 'training elsewhere')


def sweep(jobs: list[Job], out: pathlib.Path, at_once: int, split: str) -> None:
    """Runs what is to be run, in a folder where no other sweep is at work.

    Args:
      at_once: how many runs are at work at the same time.
      split: what a run is evaluated on; 'none' is nothing.

    Raises:
      UserError: another sweep is at work in the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(workdirs.lock(Workdir(out)))
        except UserError:
            raise UserError(
                f'Another sweep is at work in {out}: wait for it, or choose another --out.'
            ) from None
        run(jobs, lib.shares(at_once), split, Display(jobs, at_once))


def run(jobs: Sequence[Job], shares: Sequence[Cores], split: str, display: Display) -> None:
    """Runs what is to be run; every job then is 'finished', 'failed' or 'stopped'.

    Args:
      shares: the cores of each of the runs that are at work at once.
      split: what a run is evaluated on; 'none' is nothing.
    """
    free = list(shares)
    told = 0
    try:
        with _heard() as heard, display:
            while _at_work(jobs) or (not heard and _waiting(jobs)):
                _look(jobs, free, split, bool(heard), display)
                if not heard:
                    _begin(jobs, free, split, display)
                elif len(heard) > told:
                    told = len(heard)
                    display.stopping(told > 1)
                    _stop(_at_work(jobs), at_once=told > 1)
                display.update()
                time.sleep(_TICK)
    finally:
        _stop(_at_work(jobs), at_once=False)
    for job in _waiting(jobs):
        job.state = 'stopped'


def _look(
    jobs: Sequence[Job], free: list[Cores], split: str, stopping: bool, display: Display
) -> None:
    for job in _at_work(jobs):
        before = job.state
        lib.look(job, split, stopping)
        if job.process is None:
            free.append(job.cores)
        if job.state != before:
            display.tell(job)


def _begin(jobs: Sequence[Job], free: list[Cores], split: str, display: Display) -> None:
    for job in _waiting(jobs):
        if not free:
            return
        before, job.cores = job.state, free[0]
        lib.begin(job, split)
        if job.process is not None:
            free.pop(0)
        if job.state != before:
            display.tell(job)


def _at_work(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.process is not None]


def _waiting(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.state in _OPEN]


def _stop(jobs: Sequence[Job], at_once: bool) -> None:
    for job in jobs:
        if job.process is not None and at_once:
            job.process.kill()
        elif job.process is not None:
            job.process.terminate()  # main then ends after the step, with a checkpoint


@contextlib.contextmanager
def _heard() -> Iterator[list[int]]:
    """Turns Ctrl-C and SIGTERM into a list of those that came; the second ends runs at once."""
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: heard.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
