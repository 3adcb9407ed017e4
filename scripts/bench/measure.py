"""Measures one network for all contestants, in interleaved rounds, one process at a time."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bench import results
from bench.process import ContestantError, Process
from bench.results import Row
from bench.task import TENSORS, USUAL, Task

EPOCHS = {USUAL: 'epoch, usual form', TENSORS: 'epoch, fastest form'}


class Effort(NamedTuple):
    """How much to measure."""

    rounds: int
    epoch_rounds: int
    seconds: float  # of steps per contestant and round
    images: int  # per epoch


def measure(
    task: Task,
    contestants: Sequence[str],
    effort: Effort,
    expected: dict[str, float],
    log: Callable[[str], None],
) -> list[Row]:
    """Returns the rows of a network: one for steps, and for epochs if `effort` has any.

    Epochs are measured for all of ours, and for the mode of each peer with the fastest step.

    Args:
      contestants: such as 'ours:auto' and 'torch:compile'.
      expected: 'parameters' and 'flops', from `bench.ours.describe`.
      log: is called with a line of progress.
    """
    with ExitStack() as stack:
        running, notes, counts = {}, [], {}
        for name in contestants:
            log(f'{task.model}, {task.precision}: warming up {name}')
            try:
                process = stack.enter_context(Process(*name.split(':', 1), task))
                counts[name] = _warm_up(process, effort.seconds)
            except ContestantError as error:
                notes.append(f'{name}: {error}')
                continue
            running[name] = process
            if process.parameters != expected['parameters']:
                raise AssertionError(
                    f'{name}: {task.model} has {process.parameters} parameters, ours '
                    f'{expected["parameters"]}'
                )

        def row(what: str, images: int, seconds: dict[str, list[float]]) -> Row:
            remarks = tuple(notes) if what == 'step' else ()
            identity = (task.model, task.precision, task.batch)
            return Row(*identity, what, images, seconds, expected['flops'], remarks)

        seconds: dict[str, list[float]] = {name: [] for name in running}
        for turn in range(effort.rounds):
            for name, process in running.items():
                log(f'{task.model}, {task.precision}: steps, round {turn + 1}, {name}')
                seconds[name].append(process.steps(counts[name]) / counts[name])
        rows = [row('step', task.batch, seconds)]
        if not effort.epoch_rounds or not running:
            return rows

        best = [results.fastest(rows[0], [name]) for name in results.FRAMEWORKS]
        finalists = {
            n: p for n, p in running.items() if results.framework(n) == 'ours' or n in best
        }
        for name in running.keys() - finalists:
            running[name].close()
        images = effort.images // task.batch * task.batch
        for form, timed in _epochs(finalists, effort.epoch_rounds, log, task).items():
            rows.append(row(EPOCHS[form], images, timed))
        return rows


def _warm_up(process: Process, seconds: float) -> int:
    """Compiles and runs a contestant; returns the number of steps that take about `seconds`."""
    process.steps(2)
    return max(2, math.ceil(seconds * 3 / process.steps(3)))


def _epochs(
    processes: dict[str, Process], rounds: int, log: Callable[[str], None], task: Task
) -> dict[str, dict[str, list[float]]]:
    """Returns the seconds per round, by form and contestant; our only form counts as both."""
    timed: dict[str, dict[str, list[float]]] = {form: {n: [] for n in processes} for form in EPOCHS}
    for process in processes.values():
        for form in EPOCHS:
            process.epoch(form, 2)
    for turn in range(rounds):
        for name, process in processes.items():
            log(f'{task.model}, {task.precision}: epoch, round {turn + 1}, {name}')
            if results.framework(name) == 'ours':
                seconds = process.epoch(TENSORS)
                for form in EPOCHS:
                    timed[form][name].append(seconds)
                continue
            for form in EPOCHS:
                timed[form][name].append(process.epoch(form))
    return timed
