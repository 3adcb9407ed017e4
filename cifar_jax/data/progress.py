"""Progress of long loops."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

LOG_SECONDS = 10  # between lines in the log, without a terminal

log = logging.getLogger('cifar_jax')
T = TypeVar('T')


def track(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yields `items` (`total` of them), and shows progress and the time left.

    Progress is a bar on stderr on a terminal, and otherwise a line in the log every ten seconds.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)
        start = last = time.perf_counter()
        for done, item in enumerate(items, 1):
            yield item
            progress.advance(task)
            now = time.perf_counter()
            if not console.is_terminal and now - last >= LOG_SECONDS:
                last = now
                left = (total - done) * (now - start) / done
                log.info('%s: %d/%d  %.0f s left', label, done, total, left)
