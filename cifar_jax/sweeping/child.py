"""Run a command on some cores only, and end it when the sweep that started it ends.

    python child.py PARENT CORES COMMAND [ARGUMENT ...]

PARENT is the sweep's process id; CORES is a list such as 0,1, or empty for all. It imports little,
since it starts every run. It is a program since `preexec_fn` is not safe in a process with threads.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # Linux's prctl.h


def start(
    words: Sequence[str], log: pathlib.Path, cores: Sequence[int] = ()
) -> 'subprocess.Popen[bytes]':
    """Starts a command that does not outlive this process; appends its output to a file.

    Args:
      cores: those that it may use; empty for all.
    """
    if os.name == 'posix':
        listed = ','.join(map(str, cores))
        words = [sys.executable, __file__, str(os.getpid()), listed, *words]
    with log.open('ab') as output:
        # In a new session, so that Ctrl-C only reaches the sweep, which asks its runs to stop.
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def main() -> None:
    """Runs the program."""
    parent, cores, *command = sys.argv[1:]
    if cores and hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, map(int, cores.split(',')))
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):  # otherwise the sweep has already ended
        os.execv(command[0], command)


if __name__ == '__main__':
    main()
