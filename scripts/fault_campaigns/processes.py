"""Commands of cifar_jax in processes of their own, without the seconds of their imports.

The parent imports what the commands import and forks, which costs milliseconds. It never starts
JAX's backend: a child gets the state of a process that has just imported everything.
"""

import contextlib
import importlib
import os
import pathlib
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

HEAVY = (
    'cifar_jax.experiment.run',
    'cifar_jax.inference.evaluation',
    'cifar_jax.inference.new_images',
    'cifar_jax.reporting.build',
    'cifar_jax.reporting.live',
    'cifar_jax.reporting.comparisons.render',
    'cifar_jax.sweep',
    'tensorboardX',
    'PIL.Image',
    'sklearn.model_selection',
    'sklearn.datasets',
    'scipy.special',
)
TIMEOUT = 120.0  # seconds until a command counts as hanging
MEMORY = 8 * 2**30  # bytes of address space beyond what the parent has


class Outcome(NamedTuple):
    """How a command ended."""

    code: int  # the exit status; negative: the signal that ended it
    output: str
    errors: str
    seconds: float
    hung: bool
    killed: bool = False  # whether the planned kill found it alive
    children: tuple[int, ...] = ()  # the processes below it at that moment

    @property
    def last_line(self) -> str:
        """The last line of the output: of a command with --json, its result."""
        return self.output.strip().rpartition('\n')[2]


def preload() -> None:
    """Imports what the commands need, once."""
    for name in HEAVY:
        importlib.import_module(name)


def run(
    command: str,
    arguments: Sequence[object],
    scratch: pathlib.Path,
    *,
    kill_when: Callable[[float], bool] | None = None,
    with_children: bool = False,
    largest_file: int | None = None,
    timeout: float = TIMEOUT,
) -> Outcome:
    """Runs `python -m cifar_jax.COMMAND ARGUMENTS` and waits for its end.

    Args:
      scratch: a folder for its output.
      kill_when: says, from the seconds since its start, whether SIGKILL ends it now.
      with_children: whether SIGKILL also ends the processes that it has started.
      largest_file: bytes at which writing to a file fails, as on a full disk.
    """
    module = importlib.import_module(f'cifar_jax.{command}')
    scratch.mkdir(parents=True, exist_ok=True)
    paths = [scratch / 'stdout', scratch / 'stderr']
    for path in paths:
        path.write_bytes(b'')  # a child that is killed at once does not come to it
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(module, [str(argument) for argument in arguments], paths, largest_file)
    status = _wait(child, began, timeout, kill_when or (lambda _: False))
    alive, children = status is None, ()
    if status is None:
        children = _kill(child, with_children or kill_when is None)
        _, status = os.waitpid(child, 0)
    texts = [path.read_text(errors='replace') for path in paths]
    seconds = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    if kill_when is None:
        return Outcome(code, *texts, seconds, hung=alive)
    # It may have ended between the last look and the signal.
    return Outcome(code, *texts, seconds, False, alive and code == -signal.SIGKILL, children)


def _kill(child: int, with_children: bool) -> tuple[int, ...]:
    """Ends a process at once, as a crash does; returns the processes that it had started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGSTOP)  # it starts no other meanwhile
    children = below(child)
    for process in (*(children if with_children else ()), child):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return children


def below(process: int) -> tuple[int, ...]:
    """Returns the processes that a process has started, and those that these have started."""
    found: list[int] = []
    for path in pathlib.Path(f'/proc/{process}/task').glob('*/children'):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *below(child)]
    return tuple(found)


def running(process: int) -> bool:
    """Returns whether a process exists and has not ended."""
    try:
        stat = pathlib.Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return False
    return stat.rpartition(')')[2].split()[0] not in 'ZX'


def _wait(
    child: int, began: float, timeout: float, kill_when: Callable[[float], bool]
) -> int | None:
    """Returns the status of a child that ends before it is to be killed, and None otherwise."""
    while (elapsed := time.monotonic() - began) < timeout and not kill_when(elapsed):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    return None


def _become(
    module: object, arguments: list[str], paths: Sequence[pathlib.Path], largest_file: int | None
) -> None:
    """Runs a command in this process, a fork, and ends it as Python would."""
    code = 1
    try:
        os.setsid()
        for number, path in enumerate(paths, 1):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if largest_file is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        sys.argv = ['cifar_jax', *arguments]
        try:
            module.main(arguments)  # type: ignore[attr-defined]
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        import atexit

        atexit._run_exitfuncs()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)
