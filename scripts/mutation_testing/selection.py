"""Which tests judge a mutant: those that execute its lines, the fastest first."""

import ast
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

from mutation_testing import runs, verdicts
from mutation_testing.changes import Mutant

Tests = dict[str, dict]  # by name: 'seconds', and 'lines' by module


def profiled(
    modules: Mapping[str, Sequence[str]], folder: pathlib.Path, kept: pathlib.Path
) -> Tests:
    """Returns tests with their seconds and the lines of modules that they execute.

    Args:
      modules: the files of tests of each module.
      folder: the copy of the project.
      kept: a folder with the profiles of earlier commands.
    """
    tests: Tests = {}
    for file in dict.fromkeys(file for files in modules.values() for file in files):
        path = kept / f'{verdicts.of_tests([file], folder)}-{file.replace("/", "-")}.json'
        wanted = {
            module: verdicts.digest([folder / 'cifar_jax' / module])
            for module, files in modules.items()
            if file in files
        }
        if not _holds(path, wanted):
            _profile(file, folder, path)
        tests |= json.loads(path.read_text(encoding='utf-8'))['tests']
    return tests


def _holds(path: pathlib.Path, wanted: dict[str, str]) -> bool:
    """Returns whether there is a profile of these versions of the modules."""
    if not path.is_file():
        return False
    return wanted.items() <= json.loads(path.read_text(encoding='utf-8'))['modules'].items()


def _profile(file: str, folder: pathlib.Path, path: pathlib.Path) -> None:
    sources = sorted((folder / 'cifar_jax').rglob('*.py'))
    modules = {
        source.relative_to(folder / 'cifar_jax').as_posix(): verdicts.digest([source])
        for source in sources
    }
    plugin = runs.Profile(folder, [*modules])

    def record() -> int:
        runs.import_all_but(folder, None)
        status = runs.run_tests([file], plugin, folder)
        path.write_text(json.dumps({'modules': modules, 'tests': plugin.tests()}))
        return status

    log = folder / 'log'
    if runs.fork(record, log, 3600) != 0:
        path.unlink(missing_ok=True)
        sys.exit(f'The tests of {file} fail already:\n{log.read_text()}')
    print(f'profiled: {file}', flush=True)


def covering(mutant: Mutant, original: str, tests: Tests) -> list[str]:
    """Returns the tests that execute a mutant's lines, or its function; without any, all tests.

    Lines outside of functions are executed by the import, and others in commands that tests start.
    Tests of a file stay together, for the sake of their fixtures.
    """
    wanted = set(range(mutant.lines[0], mutant.lines[1] + 1))
    chosen = _executing(wanted, mutant.module, tests)
    if not chosen:
        chosen = _executing(_function_around(mutant.lines[0], original), mutant.module, tests)
    chosen = chosen or list(tests)
    total: dict[str, float] = {}
    for test in chosen:
        file = test.partition('::')[0]
        total[file] = total.get(file, 0) + tests[test]['seconds']
    return sorted(chosen, key=lambda test: (total[test.partition('::')[0]], tests[test]['seconds']))


def _executing(lines: set[int], module: str, tests: Tests) -> list[str]:
    return [test for test, row in tests.items() if lines & set(row['lines'].get(module, ()))]


def _function_around(line: int, source: str) -> set[int]:
    """Returns the lines of the body of the innermost function around a line."""
    found = [
        range(node.body[0].lineno, node.end_lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= node.end_lineno
    ]
    return set(min(found, key=len)) if found else set()
