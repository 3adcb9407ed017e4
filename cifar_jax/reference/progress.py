"""A progress bar for loops, with the standard library only."""

import sys
import time


class Progress:
    """Shows a bar, the speed and the time left on a terminal; shows nothing elsewhere.

    Args:
      label: the text before the bar.
      total: the number of steps.
      show: whether to show the bar at all.
    """

    def __init__(self, label: str, total: int, show: bool = True) -> None:
        self._label, self._total = label, total
        self._enabled = show and sys.stderr.isatty()
        self._start = self._last = time.perf_counter()

    def __call__(self, done: int) -> None:
        """Updates the bar to `done` steps."""
        now = time.perf_counter()
        if not self._enabled or (done < self._total and now - self._last < 0.1):
            return
        self._last = now
        speed = done / max(now - self._start, 1e-9)
        bar = ('#' * round(20 * done / self._total)).ljust(20, '.')
        left = (self._total - done) / speed
        end = '\n' if done == self._total else ''
        text = (
            f'\r{self._label} [{bar}] {done}/{self._total}  {speed:,.1f} it/s  {left:.0f} s left '
        )
        print(text, end=end, file=sys.stderr, flush=True)
