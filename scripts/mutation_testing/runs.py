"""Runs tests in forks of a process that has imported all but the module that changes."""

import contextlib
import gc
import importlib
import os
import pathlib
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

import pytest

_IMPORTED = (
    'jax', 'flax.linen', 'optax', 'orbax.checkpoint', 'ml_collections', 'numpy', 'scipy.stats',
    'sklearn.metrics', 'sklearn.model_selection', 'PIL.Image', 'matplotlib.figure', 'beartype',
    'pytest', 'hypothesis', 'xdist.plugin',
)  # fmt: skip
_OPTIONS = (
    '-x', '-q', '-n', '0', '-o', 'addopts=', '--strict-markers', '-p', 'no:cacheprovider',
    '-W', 'ignore::pytest.PytestAssertRewriteWarning',  # imported before the fork
)  # fmt: skip


def set_up(folder: pathlib.Path, programs: pathlib.Path) -> None:
    """Imports the libraries, and makes a copy of the project the one that is imported.

    Args:
      folder: the copy of the project.
      programs: a folder for compiled programs, which most mutants share with the original.
    """
    os.environ.update(
        JAX_DISABLE_MOST_OPTIMIZATIONS='1',
        JAX_COMPILATION_CACHE_DIR=str(programs),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='-1',
        OMP_NUM_THREADS='1',
        PYTHONDONTWRITEBYTECODE='',
        PYTHONPATH=os.pathsep.join(map(str, (folder, folder / 'scripts', folder / 'tests'))),
    )
    for name in _IMPORTED:
        importlib.import_module(name)
    from jaxtyping import install_import_hook

    sys.path.insert(0, str(folder))
    os.chdir(folder)
    install_import_hook('cifar_jax', 'beartype.beartype')


def import_all_but(folder: pathlib.Path, module: str | None) -> None:
    """Imports the package except a module and those that import it: these differ in a mutant."""
    names = [
        '.'.join(path.relative_to(folder).with_suffix('').parts)
        for path in sorted((folder / 'cifar_jax').rglob('*.py'))
        if path.name not in ('__init__.py', '__main__.py')
    ]
    without = f'cifar_jax/{module}'.removesuffix('.py').replace('/', '.')
    sys.modules[without] = None  # type: ignore[assignment]  # an import of it fails
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    del sys.modules[without]
    gc.collect()
    gc.freeze()  # Otherwise the collections at the end of pytest take most of a fast mutant's time.


def fork(function: Callable[[], int], log: pathlib.Path, seconds: float) -> int | None:
    """Returns the status of a function that runs in a fork, or None if it takes too long."""
    with warnings.catch_warnings(action='ignore'):  # JAX has threads, but computes nothing yet.
        child = os.fork()
    if not child:
        os.setpgid(0, 0)
        _exit_with(function, log)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _exit_with(function: Callable[[], int], log: pathlib.Path) -> None:
    status = 1
    try:
        output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = int(function())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_tests(files: Sequence[str], plugin: object, folder: pathlib.Path) -> int:
    """Runs the tests of files in this process, with a plugin; returns pytest's status."""
    paths = [f'tests/{file}' for file in files]
    return pytest.main([*_OPTIONS, f'--basetemp={folder}/tmp', *paths], plugins=[plugin])


class Selection:
    """A plugin that runs some tests, in their order, and writes the name of one that fails."""

    def __init__(self, tests: Sequence[str], failed: pathlib.Path) -> None:
        self._rank = {test: number for number, test in enumerate(tests)}
        self._failed = failed

    def pytest_collection_modifyitems(self, items: list) -> None:
        """Selects and sorts the tests."""
        selected = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(selected, key=lambda item: self._rank[item.nodeid])

    def pytest_runtest_logreport(self, report) -> None:
        """Keeps the name of the test that fails."""
        if report.failed:
            self._failed.write_text(report.nodeid)


class Profile:
    """A plugin that records the seconds of each test, and the lines that it executes.

    What a fixture executes counts for each test of the file that uses it.
    """

    def __init__(self, folder: pathlib.Path, modules: Sequence[str]) -> None:
        self._paths = {str(folder / 'cifar_jax' / module): module for module in modules}
        self._lines: dict[str, set[tuple[str, int]]] = {}
        self._tests: dict[str, tuple[float, list[str]]] = {}
        self._now = ''

    def _trace(self, frame, event, argument):
        module = self._paths.get(frame.f_code.co_filename)
        if module is None:
            return None
        self._lines.setdefault(self._now, set()).add((module, frame.f_lineno))
        return self._trace

    @contextlib.contextmanager
    def _as(self, name: str) -> Iterator[None]:
        before, self._now = self._now, name
        try:
            yield
        finally:
            self._now = before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """Records a test."""
        start = time.monotonic()
        sys.settrace(self._trace)
        threading.settrace(self._trace)
        with self._as(item.nodeid):
            result = yield
        file = item.nodeid.partition('::')[0]
        names = [f'{file} {name}' for name in item.fixturenames]
        self._tests[item.nodeid] = time.monotonic() - start, names
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        """Records a fixture."""
        with self._as(f'{self._now.partition("::")[0]} {fixturedef.argname}'):
            return (yield)

    def tests(self) -> dict[str, dict]:
        """Returns the tests by name: their seconds, and the lines of each module."""
        rows = {}
        for test, (seconds, fixtures) in self._tests.items():
            lines = set().union(*(self._lines.get(name, set()) for name in (test, *fixtures)))
            by_module: dict[str, list[int]] = {}
            for module, line in sorted(lines):
                by_module.setdefault(module, []).append(line)
            rows[test] = {'seconds': round(seconds, 3), 'lines': by_module}
        return rows
