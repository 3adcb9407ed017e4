"""How long a sweep still takes, from the runs that are finished and the epochs of the others."""

import heapq
import statistics
import time
from collections.abc import Sequence

from cifar_jax.sweeping import state
from cifar_jax.sweeping.jobs import Job

_OVER = ('finished', 'failed', 'stopped')


def left(jobs: Sequence[Job], at_once: int) -> float | None:
    """Returns the seconds until the last run ends; None as long as nothing can be said.

    A run takes what its epochs so far say; one that has none yet what others of its config, or
    else of all configs, take on average. Runs that stop early end before that.
    """
    known: dict[str, list[float]] = {}
    shares = {}
    for job in jobs:
        share, seconds, _ = state.progress(job.task)
        if job.state == 'finished':
            known.setdefault(job.task.group, []).append(job.seconds or seconds)
        elif job.state not in _OVER:
            shares[job.task.name] = share
            if share:
                known.setdefault(job.task.group, []).append(seconds / share)
    if not known:
        return None
    mean = statistics.mean(statistics.mean(own) for own in known.values())
    lengths = []
    for job in jobs:
        if job.state not in _OVER:
            whole = statistics.mean(known.get(job.task.group, [mean]))
            lengths.append(max(0.0, whole * (1 - shares[job.task.name]) - _since(job)))
    return schedule(lengths, at_once)


def _since(job: Job) -> float:
    """Returns the seconds that a run has worked since its last finished epoch."""
    if job.process is None:
        return 0.0
    running = time.monotonic() - job.began
    metrics = job.task.workdir.metrics
    return min(running, time.time() - metrics.stat().st_mtime) if metrics.exists() else running


def schedule(lengths: Sequence[float], at_once: int) -> float:
    """Returns when the last of the runs ends, each beginning as soon as there is room.

    >>> schedule([3.0, 1.0, 1.0, 2.0], 2)
    4.0
    """
    ends = [0.0] * at_once
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)
