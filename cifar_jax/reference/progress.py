"""A line that shows how far a loop is; the standard library is enough for it."""

import sys
import time


class Progress:
    """Shows a bar, the speed and the time left on a terminal, and nothing elsewhere.

    Args:
      label: what is done.
      total: steps in all.
      show: whether anything is shown on a terminal.
    """

    def __init__(self, label: str, total: int, show: bool = True) -> None:
        self._label, self._total = label, total
        self._shows = show and sys.stderr.isatty()
        self._began = self._last = time.perf_counter()

    def __call__(self, done: int) -> None:
        """Says that so many steps are done."""
        now = time.perf_counter()
        if not self._shows or (done < self._total and now - self._last < 0.1):
            return
        self._last = now
        speed = done / max(now - self._began, 1e-9)
        bar = ('#' * round(20 * done / self._total)).ljust(20, '.')
        left = (self._total - done) / speed
        end = '\n' if done == self._total else ''
        text = (
            f'\r{self._label} [{bar}] {done}/{self._total}  {speed:,.1f} it/s  {left:.0f} s left '
        )
        print(text, end=end, file=sys.stderr, flush=True)
