"""The output of commands: log, tables, and errors as sentences."""

import argparse
import contextlib
import logging
import os
import pathlib
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cifar_jax.errors import UserError, first_line

# The status of a run that a signal has stopped. Shells report Ctrl-C as 130; 75 is EX_TEMPFAIL of
# sysexits.h, "try again later", which no shell reports for a process that was killed.
STATUS = {'SIGINT': 130, 'SIGTERM': 75}

# The signals that raise these exceptions: see `exit_on_sigterm` for the second.
_SIGNALS = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
_RETRY_SECONDS = 0.05


def show_log(stream: Any = None) -> None:
    """Prints the log of cifar_jax as plain lines, and silences other libraries' chatter.

    On standard output, unless another stream is given.
    """
    handler = _Lines(stream or sys.stdout)
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger('cifar_jax')
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
    # What orbax logs as an error it also raises, and we then report it.
    logging.getLogger('absl').setLevel(logging.CRITICAL)
    # orbax reads arrays in tasks. Of several that fail, it raises the error of one, and asyncio
    # would print the tracebacks of the others.
    logging.getLogger('asyncio').setLevel(logging.CRITICAL)
    if not isinstance(sys.unraisablehook, _UnraisableHook):
        sys.unraisablehook = _UnraisableHook(sys.unraisablehook)


class _Lines(logging.StreamHandler):
    """A log handler that raises if it cannot write, instead of printing a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, logging's name
        raise


class _UnraisableHook:
    """Handles exceptions that nothing can catch: those of destructors and of other callbacks.

    Python ignores them, even the one of Ctrl-C or SIGTERM, which often arrives in JAX's callback of
    the garbage collector: that signal is sent again. A harmless one is not shown: reads of a
    damaged checkpoint can still be running when orbax has closed its event loop. Others are passed
    on.
    """

    def __init__(self, next_hook: Callable[[Any], Any]) -> None:
        self._next_hook = next_hook

    def __call__(self, unraisable: Any) -> None:
        number = _SIGNALS.get(unraisable.exc_type)
        if number:  # later, since this hook is called inside the callback
            threading.Timer(_RETRY_SECONDS, os.kill, (os.getpid(), number)).start()
        elif str(unraisable.exc_value) != 'Event loop is closed':
            self._next_hook(unraisable)


def duration(seconds: int | float) -> str:
    """Returns a time span as a person would say it.

    >>> duration(3725), duration(125), duration(2.51)
    ('1 h 02 min', '2 min 05 s', '2.5 s')
    """
    if seconds >= 3600:
        return f'{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min'
    if seconds >= 60:
        return f'{int(seconds // 60)} min {int(seconds % 60):02d} s'
    return f'{seconds:.1f} s'


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table, as wide as it needs to be where there is no terminal.

    Cells and title are printed as they are, without rich's markup: a file may be called '[red]'.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table
    from rich.text import Text

    headings = [Column(escape(column), overflow='fold') for column in columns]
    grid = Table(*headings, title=escape(title), title_justify='left')
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        unlimited = console.options.update(max_width=10_000)
        console.width = max(console.width, console.measure(grid, options=unlimited).maximum)
    console.print(grid)


@contextlib.contextmanager
def mistakes_as_sentences() -> Iterator[None]:
    """Ends the program with one sentence and status 1 where the user or the system is at fault.

    Ctrl-C ends it with status 130, as a shell does; a reader of its output that goes away, such as
    `head`, ends it with status 1 and no sentence.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except UserError as error:
        message = str(error)
    except BrokenPipeError:
        # What is still to be written would raise again as the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that may not be written
        message = f'{error.filename}: {error.strerror}' if error.filename else str(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (MemoryError, RuntimeError) as error:
        # XLA's error has a class of its own, which would have to be imported with JAX.
        if not (isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)):
            raise
        message = (
            f'There is not enough memory ({first_line(error)}): make config.train.batch_size, '
            'config.eval_batch_size, the images or the model smaller, or raise '
            'config.train.accumulate.'
        )
    else:
        return
    print(f'cifar_jax: {message}', file=sys.stderr)
    raise SystemExit(1)


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Ends the program with its status at SIGTERM, as long as it has nothing to save."""

    def leave(*_: Any) -> None:
        raise SystemExit(STATUS['SIGTERM'])

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command_line(module: str, arguments: Sequence[str] | None) -> str:
    """Returns a command as it was typed, to be kept with its results.

    Args:
      module: such as 'cifar_jax.main'.
      arguments: of its `main`; None are those of this process.
    """
    typed = sys.argv[1:] if arguments is None else arguments
    return shlex.join(['python', '-m', module, *typed])


def is_path(text: str) -> pathlib.Path:
    """Returns a path with `~` expanded, for argparse."""
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"'{text}' begins with an unknown home folder") from None


def count(text: str, least: int = 1) -> int:
    """Returns a whole number, for argparse."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
    return int(text)
