"""One network, all contestants: interleaved rounds, one process at work at a time."""

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
    """How long is measured."""

    rounds: int
    epoch_rounds: int
    seconds: float  # of steps for each contestant in a round
    images: int  # in an epoch


def measure(
    task: Task,
    contestants: Sequence[str],
    effort: Effort,
    expected: dict[str, float],
    say: Callable[[str], None],
) -> list[Row]:
    """Returns the rows of a network: its step, and its epochs where `effort` has any.

    The epochs are run by the modes of each framework whose step was fastest, and all of ours.

    Args:
      contestants: such as 'ours:auto' and 'torch:compile'.
      expected: 'parameters' and 'flops', from `bench.ours.describe`.
      say: is told what is done.
    """
    with ExitStack() as stack:
        running, notes, counts = {}, [], {}
        for name in contestants:
            say(f'{task.model}, {task.precision}: {name} warms up')
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
                say(f'{task.model}, {task.precision}: steps, round {turn + 1}, {name}')
                seconds[name].append(process.steps(counts[name]) / counts[name])
        rows = [row('step', task.batch, seconds)]
        if not effort.epoch_rounds or not running:
            return rows

        best = [results.fastest(rows[0], [name]) for name in results.FRAMEWORKS]
        kept = {n: p for n, p in running.items() if results.framework(n) == 'ours' or n in best}
        for name in running.keys() - kept:
            running[name].close()
        images = effort.images // task.batch * task.batch
        for form, timed in _epochs(kept, effort.epoch_rounds, say, task).items():
            rows.append(row(EPOCHS[form], images, timed))
        return rows


def _warm_up(process: Process, seconds: float) -> int:
    """Compiles and runs a contestant, and returns how many steps fill the seconds."""
    process.steps(2)
    return max(2, math.ceil(seconds * 3 / process.steps(3)))


def _epochs(
    processes: dict[str, Process], rounds: int, say: Callable[[str], None], task: Task
) -> dict[str, dict[str, list[float]]]:
    """Returns the seconds of each round by form and contestant; our one epoch counts for both."""
    timed: dict[str, dict[str, list[float]]] = {form: {n: [] for n in processes} for form in EPOCHS}
    for process in processes.values():
        for form in EPOCHS:
            process.epoch(form, 2)
    for turn in range(rounds):
        for name, process in processes.items():
            say(f'{task.model}, {task.precision}: epoch, round {turn + 1}, {name}')
            if results.framework(name) == 'ours':
                seconds = process.epoch(TENSORS)
                for form in EPOCHS:
                    timed[form][name].append(seconds)
                continue
            for form in EPOCHS:
                timed[form][name].append(process.epoch(form))
    return timed
