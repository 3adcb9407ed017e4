"""Ctrl-C and SIGTERM, which ask a run to stop."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from cifar_jax.training import processes

# With several processes JAX does not say which of them got a signal, and only SIGTERM is passed on.
DEFAULT = signal.SIGTERM.name


@contextlib.contextmanager
def signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Calls `stop` with the name of the first Ctrl-C or SIGTERM; a second one ends the process.

    With several processes JAX receives SIGTERM (see `processes.stop_together`), and Ctrl-C is made
    one.
    """
    several = processes.count() > 1

    def received(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop(signal.Signals(number).name)
        if several:
            os.kill(os.getpid(), signal.SIGTERM)

    before = {}
    with contextlib.suppress(ValueError):  # no signal handlers outside of the main thread
        for number in (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, received)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
