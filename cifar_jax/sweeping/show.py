"""Shows the progress of a sweep: a live table on a terminal, otherwise lines, and a final table."""

import statistics
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table

from cifar_jax.experiment import records
from cifar_jax.experiment.console import duration
from cifar_jax.experiment.records import percent
from cifar_jax.sweeping import estimate, state
from cifar_jax.sweeping.jobs import Job

_LIVE_SECONDS, _PLAIN_SECONDS = 1, 60  # between updates of the progress
COLUMNS = ('name', 'epochs', 'validation', 'test', 'time a run', 'images/s', 'state')
_SHOWN = ('training', 'evaluating', 'training elsewhere')


class Display:
    """A context manager that shows the progress of jobs.

    Args:
      jobs: all runs.
      parallel: number of runs in parallel.
    """

    def __init__(self, jobs: Sequence[Job], parallel: int) -> None:
        self._jobs, self._parallel = jobs, parallel
        self._console = Console()
        self._live: Live | None = None
        self._updated = time.monotonic()

    def __enter__(self) -> 'Display':
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.update(Group(), refresh=True)
            self._live.stop()

    def report(self, job: Job) -> None:
        """Prints the new state of a run."""
        ending = ''
        if job.state == 'finished':
            ending = f', {duration(job.seconds)}'
            line = state.progress(job.task).line
            if 'val_accuracy' in line:
                ending += f', validation {line["val_accuracy"]:.2%} after the last epoch'
        self._print(f'{job.state}: {job.task.name}{ending}{job.error and ": "}{job.error}')

    def stopping(self, kill: bool) -> None:
        """Prints that the sweep is stopping; `kill`: immediately."""
        how = (
            'immediately'
            if kill
            else 'after their current steps; press Ctrl-C again to stop immediately'
        )
        self._print(f'stopping the runs {how}')

    def update(self) -> None:
        """Shows the progress of the runs, if it is due."""
        now = time.monotonic()
        if now - self._updated < (_LIVE_SECONDS if self._live else _PLAIN_SECONDS):
            return
        self._updated = now
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            self._print(self._status())

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _status(self) -> str:
        counts = Counter(job.state for job in self._jobs)
        text = f'{counts.pop("finished", 0)} of {len(self._jobs)} finished'
        text += ''.join(f', {count} {name}' for name, count in counts.items())
        left = estimate.seconds_left(self._jobs, self._parallel)
        return text + (f', {duration(left)} left' if left else '')

    def _table(self) -> Table:
        # Fold long names, since they differ at their ends.
        name = Column('run', overflow='fold')
        table = Table(name, 'state', 'done', 'validation', 'time', title=self._status())
        for job in self._jobs:
            if job.state in _SHOWN:
                fraction, _, line = state.progress(job.task)
                accuracy = line.get('val_accuracy')
                table.add_row(
                    job.task.name,
                    job.state,
                    f'{fraction:.0%}',
                    '' if accuracy is None else f'{accuracy:.2%}',
                    duration(time.monotonic() - job.began) if job.process else '',
                )
        return table


def rows(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Returns the final table: a row per config, with means and deviations over its seeds."""
    table_rows = []
    for group in dict.fromkeys(job.task.group for job in jobs):
        members = [job for job in jobs if job.task.group == group]
        finished = [
            records.read(job.task.workdir.path) for job in members if job.state == 'finished'
        ]
        counts = Counter(job.state for job in members)
        cells = (
            group,
            ' '.join(str(len(run.lines)) for run in finished),
            percent(finished, 'validation', digits=2),
            percent(finished, 'test', digits=2),
            duration(statistics.mean(run.summary['seconds'] for run in finished))
            if finished
            else '',
            f'{statistics.mean(run.images_per_second or 0 for run in finished):,.0f}'
            if finished
            else '',
            ', '.join(f'{count} {name}' for name, count in counts.items()),
        )
        table_rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return table_rows


def failures(jobs: Sequence[Job]) -> list[str]:
    """Returns a line for each failed run: its name, the last line of its error, its log."""
    return [
        f'{job.task.name} failed: {job.error} ({job.task.log})'
        for job in jobs
        if job.state == 'failed'
    ]
