"""Ends a process with a sentence when JAX finds that another process of the run is lost.

JAX then aborts the process from a thread of its own in C++, with a page of its log.
"""

import ctypes
import os
import signal
import sys
import tempfile

from cifar_jax.errors import UserError

SENTENCE = (
    'Another process of this run has ended, or cannot be reached: see its output, then start all '
    'processes again to continue from the last checkpoint.'
)
# What JAX's errors contain when a process is lost in a collective, at a barrier or between them.
_SIGNS = ('Gloo', 'coordination service', 'JAX distributed service', 'NCCL', 'heartbeat')

_kept: list[object] = []  # the handler, which must live as long as the process


def refuse(error: Exception) -> None:
    """Raises UserError if an error means that another process is lost."""
    if _explains(str(error)):
        raise UserError(SENTENCE) from error


def _explains(text: str) -> bool:
    return any(sign in text for sign in _SIGNS)


def expect() -> None:
    """From now on, JAX's abort prints the sentence, and its log in C++ is shown in other aborts."""
    if os.name != 'posix':
        return
    shown = os.dup(2)
    sys.stderr = os.fdopen(shown, 'w', buffering=1)
    log = tempfile.TemporaryFile()  # noqa: SIM115, as long as the process
    os.dup2(log.fileno(), 2)

    def aborted(number: int) -> None:
        text = os.pread(log.fileno(), 1_000_000, 0)
        if _explains(text.decode(errors='replace')):
            text = f'cifar_jax: {SENTENCE}\n'.encode()
        os.write(shown, text)
        os._exit(1)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    _kept.extend((log, handler))
    # Python's own handlers would wait for the main thread, which may wait for the lost process.
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)
