"""Sets up JAX before it starts: several fake devices, strict promotion and checked annotations."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator

# Compiling takes most of the tests' time, and their programs run for moments. Before JAX is
# imported, so that the commands that tests start inherit it; .ci/run tests optimised code, too.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.devices()  # From here on the number of devices is settled, whatever a run asks for.

_CACHE = tempfile.TemporaryDirectory(prefix='cifar_jax-tests-')
# Commands that tests start must not share a user's cache, but may share one between them.
os.environ['CIFAR_JAX_CACHE'] = _CACHE.name


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Returns the number of cores, at most 8; 0, no further process, where tests are named."""
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return 0
    affinity = getattr(os, 'sched_getaffinity', None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, 8)


@pytest.fixture(scope='session', autouse=True)
def compile_once():
    """Several tests train the same tiny network: the second finds it compiled."""
    if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
        jax.config.update('jax_compilation_cache_dir', os.path.join(_CACHE.name, 'tests'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
    yield
    _CACHE.cleanup()


@pytest.fixture(autouse=True)
def restore_log() -> Iterator[None]:
    """Restores the log after a command, whose handler writes to the output of a single test."""
    logger, hook = logging.getLogger('cifar_jax'), sys.unraisablehook
    before = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before
    sys.unraisablehook = hook
