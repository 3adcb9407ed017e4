"""What a run's numbers depend on besides its config: processor, devices, versions."""

import ctypes
import hashlib
import os
import pathlib
import platform
import sys
import time
from importlib import metadata

_IMPORTED = time.time()
# glibc's malloc.h: M_ARENA_MAX, M_MMAP_MAX and M_TRIM_THRESHOLD.
_MALLOPT = {-8: 1, -4: 0, -1: 2**31 - 1}
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def processor() -> str:
    """Returns the processor's model name, or its architecture where no name is known."""
    return _cpuinfo('model name') or platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """Returns the instruction sets of the processor; empty where the system does not list them."""
    return frozenset((_cpuinfo('flags') or _cpuinfo('Features')).split())


def _cpuinfo(field: str) -> str:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith(field)), '')


def environment() -> dict[str, object]:
    """Returns processor, devices and versions; call it after the devices are set up."""
    import jax

    import cifar_jax
    from cifar_jax.ops import backend

    return {
        'processor': processor(),
        'cores': len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        'backend': jax.default_backend(),
        **({'operations': backend.chosen()} if jax.default_backend() == 'cpu' else {}),
        'devices': jax.device_count(),
        'hosts': jax.process_count(),
        'python': platform.python_version(),
        'system': platform.system(),
        'cifar_jax': cifar_jax.__version__,
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def use_compilation_cache() -> pathlib.Path | None:
    """Keeps compiled programs between runs, apart for each processor and jaxlib.

    The folder is `$CIFAR_JAX_CACHE`, by default `~/.cache/cifar_jax`; empty switches it off. A
    program compiled for another processor may die with an illegal instruction, so the
    instruction sets are part of the path.
    """
    import jax

    root = os.environ.get('CIFAR_JAX_CACHE', '~/.cache/cifar_jax')
    if not root:
        return None
    identity = (processor(), sorted(processor_flags()), metadata.version('jaxlib'))
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    folder = pathlib.Path(root).expanduser() / key
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    return folder


def keep_freed_memory() -> None:
    """Tells the C library to keep freed memory for the next step, if it is glibc.

    Otherwise a step's large arrays are given back to the system and fetched again, page by page,
    at every step: a tenth of the time of a step of SmallVGG on a CPU. Call it before JAX starts
    its threads.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        for option, value in _MALLOPT.items():
            mallopt(option, value)


def process_age(now: float) -> float:
    """Returns the seconds from the start of this process, imports included, to a time."""
    try:
        fields = pathlib.Path('/proc/self/stat').read_text().rpartition(')')[2].split()
        booted = time.time() - float(pathlib.Path('/proc/uptime').read_text().split()[0])
        return now - booted - int(fields[19]) / os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError):
        return now - _IMPORTED
