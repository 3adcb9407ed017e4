"""Become a command that keeps to some cores and does not outlive the sweep that started it.

    python child.py PARENT CORES COMMAND [ARGUMENT ...]

PARENT is the sweep's process id, CORES such as 0,1, or nothing for all. Imports little: it
starts every run. It is a program and not `preexec_fn`, which may not run in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # Linux's prctl.h


def main() -> None:
    """Runs the program."""
    parent, cores, *command = sys.argv[1:]
    if cores and hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, map(int, cores.split(',')))
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):  # otherwise the sweep has died meanwhile
        os.execv(command[0], command)


if __name__ == '__main__':
    main()
