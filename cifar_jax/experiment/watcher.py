"""Shows and records a run: progress, metrics.jsonl, TensorBoard events, Ctrl-C."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from cifar_jax.experiment import stopping
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.console import duration
from cifar_jax.experiment.events import Events
from cifar_jax.experiment.workdir import Workdir

# (step, variables) -> pictures. A callback, so that matplotlib is only loaded if needed.
Draw = Callable[[int, Any], Iterable[Any]]
_LOG_SECONDS = 60  # between progress lines without a terminal


class Watcher:
    """Shows and records a run: progress, metrics.jsonl, TensorBoard events, profile, Ctrl-C.

    Args:
      workdir: for metrics.jsonl and the events.
      total_steps, steps_per_epoch, batch_size: of the run.
      every: steps between progress updates.
      tensorboard: whether to write TensorBoard events.
      profile: whether to write a trace of a few steps.
      on_start: called after the run is restored, before files of the workdir are replaced.
      draw: function (step, variables) -> pictures for TensorBoard, or None.
      draw_every: steps between pictures; they are also drawn at the end of the run.
    """

    def __init__(
        self,
        workdir: Workdir,
        *,
        total_steps: int,
        steps_per_epoch: int,
        batch_size: int,
        every: int,
        tensorboard: bool = True,
        profile: bool = False,
        on_start: Callable[[], None] = lambda: None,
        draw: Draw | None = None,
        draw_every: int = 1,
    ) -> None:
        self.stop = False
        self.signal = stopping.DEFAULT  # the name of the one that asked to stop
        self.first_step_at: float | None = None
        self._workdir = workdir
        self._total, self._per_epoch = total_steps, steps_per_epoch
        self._batch, self._every = batch_size, every
        self._profile = profile
        self._on_start = on_start
        self._draw, self._draw_every = draw, draw_every
        self._console = Console(markup=False)
        self._progress: Progress | None = None
        self._tensorboard = tensorboard
        self._events: Events | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator['Watcher']:
        """Shows progress; the first Ctrl-C or SIGTERM sets `stop`."""
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn('{task.description}'),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn('{task.fields[speed]}'),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
        try:
            with stopping.signals(self._interrupted):
                yield self
        finally:
            if self._progress:
                self._progress.stop()
            if self._events:
                self._events.close()

    def _interrupted(self, name: str) -> None:
        self.stop, self.signal = True, name
        self._console.print('stopping after this step; press Ctrl-C again to stop immediately')

    def started(self, step: int, history: Sequence[dict[str, Any]]) -> None:
        """The run starts at `step`; replaces metrics.jsonl by the checkpoint's history."""
        self._on_start()
        workdirs.write_metrics(self._workdir, list(history))
        if self._tensorboard:
            self._events = Events(self._workdir.path / 'tensorboard', step)
        if step:
            self._console.print(f'resumed at step {step} of {self._total}')
        self._first = self._last = step
        self._began = self._last_time = self._last_line = time.perf_counter()
        if self._progress:
            self._task = self._progress.add_task(
                'compiling', total=self._total, completed=step, speed=''
            )

    def wants(self, step: int) -> bool:
        """Returns whether `stepped` should be called for a step, which waits for its result."""
        return step % self._every == 0 or step <= self._first + 1 or self._tracing(step)

    def stepped(self, step: int) -> None:
        """A step has finished."""
        now = time.perf_counter()
        if self.first_step_at is None:
            self.first_step_at = time.time()
            # The first step includes compilation, so the speed is measured from its end.
            self._first = self._last = step
            self._began = self._last_time = now
            return
        self._trace(step)
        if step == self._last:
            return
        speed = (step - self._last) * self._batch / (now - self._last_time)
        self._last, self._last_time = step, now
        if self._progress:
            epoch = -(-step // self._per_epoch)
            self._progress.update(
                self._task,
                completed=step,
                description=f'epoch {epoch}',
                speed=f'{speed:,.0f} images/s',
            )
        elif now - self._last_line > _LOG_SECONDS:
            self._last_line = now
            left = (self._total - step) * (now - self._began) / (step - self._first)
            self._console.print(
                f'step {step}/{self._total}  {speed:,.0f} images/s  {duration(left)} left'
            )

    def epoch_ended(self, line: dict[str, Any], variables: Any) -> None:
        """Writes the line of an epoch to metrics.jsonl, events and console, and adds pictures."""
        workdirs.append_metrics(self._workdir, line)
        self._workdir.summary.unlink(missing_ok=True)  # of a run that was shorter
        if self._events:
            for key, value in line.items():
                part, _, name = key.partition('_')
                tag = f'{name}/{part}' if part in ('train', 'val') else key
                self._events.add_scalar(tag, value, line['step'])
            self._add_pictures(line['step'], variables)
            self._events.flush()
        text = f'epoch {line["epoch"]:>3}  train loss {line["train_loss"]:.4f} '
        text += f'accuracy {line["train_accuracy"]:.2%}'
        if 'val_loss' in line:
            text += f'  validation loss {line["val_loss"]:.4f} accuracy {line["val_accuracy"]:.2%}'
        text += f'  {line["images_per_second"]:,.0f} images/s  {duration(line["seconds"])}'
        self._console.print(text, highlight=False, soft_wrap=True)

    def _add_pictures(self, step: int, variables: Any) -> None:
        """Draws pictures if a multiple of `draw_every` lies in the epoch that ends with `step`."""
        if not (self._events and self._draw):
            return
        if step % self._draw_every < self._per_epoch or step == self._total:
            for picture in self._draw(step, variables):
                self._events.add_figure(picture.name, picture.figure, step)

    def _tracing(self, step: int) -> bool:
        return self._profile and step - self._first in (2, 5)

    def _trace(self, step: int) -> None:
        import jax

        if self._tracing(step) and step - self._first == 2:
            jax.profiler.start_trace(str(self._workdir.path / 'profile'))
        elif self._tracing(step):
            jax.profiler.stop_trace()
            self._profile = False
            self._console.print(f'a trace of three steps is in {self._workdir.path / "profile"}')


class Follower:
    """Follows a run in a process that shows and records nothing, since process 0 does."""

    def __init__(self) -> None:
        self.stop, self.signal = False, stopping.DEFAULT

    @contextlib.contextmanager
    def watching(self) -> Iterator['Follower']:
        """Passes Ctrl-C on to all processes."""
        with stopping.signals(lambda name: None):
            yield self

    def started(self, step: int, history: Sequence[dict[str, Any]]) -> None:
        """The run starts."""

    def wants(self, step: int) -> bool:
        """Returns that it need not wait for a step."""
        return False

    def stepped(self, step: int) -> None:
        """A step has finished."""

    def epoch_ended(self, line: dict[str, Any], variables: Any) -> None:
        """An epoch has been validated."""
