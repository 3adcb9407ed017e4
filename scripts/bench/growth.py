"""Measures how the time and the memory of our training step grow with batch, width and data."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from bench.process import ContestantError, Process
from bench.task import Task

BATCHES = (32, 64, 128, 256, 512)
WIDTHS = (0.5, 1.0, 2.0)
IMAGES = (10_000, 20_000, 30_000, 40_000, 50_000)


class Point(NamedTuple):
    """The result of some steps in a new process; NaN if they failed."""

    model: str
    varied: str  # 'batch', 'width' or 'images'
    value: float
    batch: int
    seconds: float  # per step
    bytes: float  # peak resident memory while training, without compilation
    note: str = ''


def record(point: Point) -> dict[str, Any]:
    """Returns a point as a dictionary for JSON, without NaN."""
    measured = {'images_per_second': point.batch / point.seconds} if not point.note else {}
    failed = {'seconds': None, 'bytes': None} if point.note else {}
    return {**point._asdict(), **failed, **measured}


def variations(task: Task, quick: bool = False) -> list[tuple[str, Task]]:
    """Returns the name of the varied quantity and the task for each point to measure."""
    tasks = [
        *(('batch', task._replace(batch=batch)) for batch in BATCHES),
        *(('width', task._replace(width=width)) for width in WIDTHS),
        *(('images', task._replace(images=images)) for images in IMAGES),
    ]
    return tasks[:1] if quick else tasks


def grow(
    points: Sequence[tuple[str, Task]], ops: str, seconds: float, log: Callable[[str], None]
) -> list[Point]:
    """Measures the points.

    Args:
      points: from `variations`.
      ops: the value of config.ops.backend.
      seconds: seconds of steps per point.
      log: is called with a line of progress.
    """
    measured = []
    for varied, task in points:
        value = float(getattr(task, varied))
        log(f'{task.model}: {varied} {value:g}')
        try:
            with Process('ours', ops, task) as process:
                process.steps(2)
                process.reset_peak_memory()
                count = max(2, math.ceil(2 * seconds / process.steps(2)))
                step = process.steps(count) / count
                memory = process.memory()
            measured.append(Point(task.model, varied, value, task.batch, step, memory))
        except ContestantError as error:
            nan = float('nan')
            measured.append(Point(task.model, varied, value, task.batch, nan, nan, str(error)))
    return measured


def exponents(points: Sequence[Point]) -> dict[str, float]:
    """Returns the exponents p of seconds and bytes ~ value^p, from the first to the last point."""
    first, last = points[0], points[-1]
    if first.value == last.value:
        return {'seconds': float('nan'), 'bytes': float('nan')}
    span = math.log(last.value / first.value)
    return {
        'seconds': math.log(last.seconds / first.seconds) / span,
        'bytes': math.log(last.bytes / first.bytes) / span,
    }


def series(points: Sequence[Point]) -> Mapping[tuple[str, str], list[Point]]:
    """Returns the points, grouped by network and varied quantity."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.model, point.varied), []).append(point)
    return groups


def table(points: Sequence[Point], title: str) -> Table:
    """Returns the points as a table."""
    grid = Table(title=title, box=box.SIMPLE)
    grid.add_column('network')
    for heading in ('', 'ms per step', 'images/s', 'peak memory'):
        grid.add_column(heading, justify='right')
    for (model, varied), members in series(points).items():
        for point in members:
            cells = (f'{1e3 * point.seconds:.0f}', f'{point.batch / point.seconds:.0f}')
            memory = point.note or f'{point.bytes / 1e6:.0f} MB'
            grid.add_row(model, f'{varied} {point.value:g}', *cells, memory)
        powers = exponents(members)
        grid.add_row('', 'exponent', f'{powers["seconds"]:.2f}', '', f'{powers["bytes"]:.2f}')
    return grid
