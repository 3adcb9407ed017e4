"""Estimates the time left in a sweep from finished runs and the finished epochs of others."""

import heapq
import statistics
import time
from collections.abc import Sequence

from cifar_jax.sweeping import state
from cifar_jax.sweeping.jobs import Job

_OVER = ('finished', 'failed', 'stopped')


def seconds_left(jobs: Sequence[Job], parallel: int) -> float | None:
    """Returns the estimated seconds until the last run ends; None without any finished epoch.

    The time of a run is extrapolated from its epochs so far or, before the first one ends, is the
    average over the runs of its config, or of all configs. Early stopping is not considered.
    """
    durations: dict[str, list[float]] = {}
    fractions = {}
    for job in jobs:
        fraction, seconds, _ = state.progress(job.task)
        if job.state == 'finished':
            durations.setdefault(job.task.group, []).append(job.seconds or seconds)
        elif job.state not in _OVER:
            fractions[job.task.name] = fraction
            if fraction:
                durations.setdefault(job.task.group, []).append(seconds / fraction)
    if not durations:
        return None
    mean = statistics.mean(statistics.mean(group) for group in durations.values())
    lengths = []
    for job in jobs:
        if job.state not in _OVER:
            expected = statistics.mean(durations.get(job.task.group, [mean]))
            lengths.append(max(0.0, expected * (1 - fractions[job.task.name]) - _since(job)))
    return schedule(lengths, parallel)


def _since(job: Job) -> float:
    """Returns the seconds that a run has been training since its last finished epoch."""
    if job.process is None:
        return 0.0
    running = time.monotonic() - job.began
    metrics = job.task.workdir.metrics
    return min(running, time.time() - metrics.stat().st_mtime) if metrics.exists() else running


def schedule(lengths: Sequence[float], parallel: int) -> float:
    """Returns when the last run ends, if each starts as soon as there is a free slot.

    >>> schedule([3.0, 1.0, 1.0, 2.0], 2)
    4.0
    """
    ends = [0.0] * parallel
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)
