"""The machine: processor, cores, versions, compilation cache and memory allocation."""

import ctypes
import hashlib
import math
import os
import pathlib
import platform
import sys
from importlib import metadata

# glibc's malloc.h: M_ARENA_MAX, M_MMAP_MAX, and M_TRIM_THRESHOLD, where -1 means never.
_MALLOPT = {-8: 1, -4: 0, -1: -1}
_MADV_HUGEPAGE = 14  # Linux's mman.h
_HUGE_PAGE = 2 * 1024**2
_VECTORS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_tile', 'amx_bf16', 'asimd')
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def processor() -> str:
    """Returns the processor's model name, or its architecture if the name is unknown."""
    return _cpuinfo('model name') or platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """Returns the instruction sets of the processor; empty if the system does not list them."""
    return frozenset((_cpuinfo('flags') or _cpuinfo('Features')).split())


def instructions() -> str:
    """Returns the vector instructions that decide which code runs, such as 'avx2 avx512f'.

    Processors of several generations have the same name.
    """
    flags = processor_flags()
    return ' '.join(name for name in _VECTORS if name in flags)


def _cpuinfo(field: str) -> str:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith(field)), '')


def cores() -> list[int]:
    """Returns the numbers of the cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return [*range(os.cpu_count() or 1)]


def memory() -> float:
    """Returns the bytes of memory of the machine; infinity if the system does not say."""
    try:
        return float(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return math.inf


def environment(operations: str) -> dict[str, object]:
    """Returns processor, devices and versions; call it after JAX's devices are set up.

    Args:
      operations: the backend of the operations on a CPU.
    """
    import jax

    import cifar_jax

    return {
        'processor': processor(),
        'instructions': instructions(),
        'cores': len(cores()),
        'backend': jax.default_backend(),
        **({'operations': operations} if jax.default_backend() == 'cpu' else {}),
        'devices': jax.device_count(),
        'hosts': jax.process_count(),
        'python': platform.python_version(),
        'system': platform.system(),
        'cifar_jax': cifar_jax.__version__,
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def use_compilation_cache() -> pathlib.Path | None:
    """Caches compiled programs on disk, separately for each processor and jaxlib.

    The folder is `$CIFAR_JAX_CACHE`, by default `~/.cache/cifar_jax`; an empty value disables the
    cache. A program compiled for another processor may crash with an illegal instruction, so the
    path depends on the instruction sets.
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
    """Makes glibc keep freed memory for the next step, in huge pages.

    Otherwise large arrays are returned to the system and allocated again, page by page, in every
    step, which takes a tenth of a step of SmallVGG on a CPU. Huge pages avoid TLB misses, another
    5 to 10 % of a step of SENet. Call it before JAX starts its threads.
    """
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None
    mallopt = getattr(libc, 'mallopt', None)
    if libc is None or mallopt is None:
        return
    for option, value in _MALLOPT.items():
        mallopt(option, value)
    _ask_for_huge_pages(libc)


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Extends the heap by addresses that become huge pages when they are first written to.

    Uses at most half of the memory; has no effect if the system refuses or has no huge pages.
    """
    libc.sbrk.restype = libc.malloc.restype = ctypes.c_void_p
    size = int(memory()) // 2
    start = -(-libc.sbrk(0) // _HUGE_PAGE) * _HUGE_PAGE
    libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size))))
    length = libc.sbrk(0) - start
    if length > 0:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_HUGEPAGE)
