"""What the package requests from the system."""

import pathlib
import re
import subprocess
import sys

import pytest

from cifar_jax import machine

_HUGE_PAGES = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')
_PROGRAM = """
import numpy as np
from cifar_jax.machine import keep_freed_memory

keep_freed_memory()
for _ in range(2):
    values = np.ones(64 * 1024 * 1024, np.uint8)
    print(values.ctypes.data)
    del values
values = np.ones(64 * 1024 * 1024, np.uint8)
print(open('/proc/self/smaps_rollup').read())
"""


@pytest.mark.skipif(
    not _HUGE_PAGES.exists() or '[never]' in _HUGE_PAGES.read_text(), reason='no huge pages here'
)
def test_large_arrays_lie_in_huge_pages_that_are_kept():
    command = [sys.executable, '-c', _PROGRAM]
    first, again, memory = subprocess.check_output(command, text=True).split('\n', 2)
    assert first == again
    assert int(re.search(r'AnonHugePages: +(\d+) kB', memory)[1]) >= 60 * 1024


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_the_memory_is_that_of_the_machine():
    kilobytes = re.search(r'MemTotal: +(\d+) kB', pathlib.Path('/proc/meminfo').read_text())[1]
    assert machine.memory() == int(kilobytes) * 1024


def test_the_memory_counts_as_unlimited_where_the_system_does_not_say(monkeypatch):
    monkeypatch.delattr('os.sysconf')
    assert machine.memory() == float('inf')
