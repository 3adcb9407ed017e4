"""Starts the contestants' processes and exchanges requests with them."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Self

from bench.task import Task

SCRIPTS = pathlib.Path(__file__).resolve().parents[1]


class ContestantError(Exception):
    """A contestant cannot run or has died; the message is one sentence."""


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cores(count: int) -> None:
    """Limits this process and its children to `count` cores, if the system supports it."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def take_share_of_cores(index: int, count: int) -> None:
    """Limits this process, one of `count`, to cores of its own, if there are enough."""
    own = sorted(os.sched_getaffinity(0))[index::count] if hasattr(os, 'sched_setaffinity') else []
    if own:
        os.sched_setaffinity(0, own)


# glibc returns freed large arrays to the system and requests new pages for the next ones. Keeping
# the memory makes eager PyTorch up to 15 % faster (measured). PyTorch's tuning guide recommends
# another allocator for this purpose. Our own contestant runs unchanged, as its users run it.
KEEP_MEMORY = {
    'MALLOC_MMAP_THRESHOLD_': str(2**32),
    'MALLOC_TRIM_THRESHOLD_': str(2**34),
    'MALLOC_TOP_PAD_': str(2**28),
}


def environment(framework: str = 'ours') -> dict[str, str]:
    """Returns the environment variables of a contestant: CPU only, with this folder's modules."""
    path = filter(None, (str(SCRIPTS), os.environ.get('PYTHONPATH')))
    return {
        **os.environ,
        **({} if framework == 'ours' else KEEP_MEMORY),
        'PYTHONPATH': os.pathsep.join(path),
        'JAX_PLATFORMS': 'cpu',
        'CUDA_VISIBLE_DEVICES': '',
        'TF_CPP_MIN_LOG_LEVEL': '2',
    }


def run_module(name: str, arguments: Sequence[str], text: str = '') -> dict[str, Any]:
    """Runs `python -m name` and returns the JSON object on its last line."""
    command = [sys.executable, '-m', name, *arguments]
    result = subprocess.run(
        command, input=text, stdout=subprocess.PIPE, env=environment(), text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


class Process:
    """The process of a contestant, which works only on request and lives until it is closed.

    Raises:
      ContestantError: the framework is not installed, or the process died.
    """

    def __init__(self, framework: str, mode: str, task: Task) -> None:
        self._errors = tempfile.TemporaryFile('w+')  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'bench.worker', framework, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(framework),
            text=True,
        )
        try:
            self.parameters = self._exchange(task._asdict())['parameters']
        except ContestantError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._errors.closed:
            self.close()

    def close(self) -> None:
        """Ends the process, which first ends its own children."""
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def steps(self, count: int) -> float:
        """Runs `count` training steps and returns their seconds."""
        return self._exchange({'do': 'steps', 'count': count})['seconds']

    def epoch(self, form: str, batches: int | None = None) -> float:
        """Runs an epoch, or its first batches, and returns the seconds."""
        return self._exchange({'do': 'epoch', 'form': form, 'batches': batches})['seconds']

    def reset_peak_memory(self) -> None:
        """Resets the peak of resident memory; works on Linux only."""
        self._exchange({'do': 'reset peak memory'})

    def memory(self) -> int:
        """Returns the peak of resident memory in bytes."""
        return self._exchange({'do': 'memory'})['bytes']

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + '\n')
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or '{}')
        except BrokenPipeError:
            answer = {}
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            last_line = [line.strip() for line in self._errors if line.strip()][-1:]
            answer = {'error': f'it died: {"".join(last_line) or self._process.returncode}'}
        if 'error' in answer:
            raise ContestantError(answer['error'])
        return answer
