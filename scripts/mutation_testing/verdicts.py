"""The verdicts on mutants that are kept, and the list of equivalent mutants."""

import hashlib
import json
import pathlib
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence

from mutants import ROOT
from mutation_testing.changes import Mutant


def digest(paths: Iterable[pathlib.Path]) -> str:
    """Returns a hash of files."""
    return hashlib.sha256(b'\0'.join(path.read_bytes() for path in paths)).hexdigest()[:16]


def of_function(mutant: Mutant) -> str:
    """Returns a hash of the function that a mutant changes."""
    return hashlib.sha256(mutant.function.encode()).hexdigest()[:16]


def of_tests(files: Sequence[str], root: pathlib.Path = ROOT) -> str:
    """Returns a hash of files of tests, in the project or a copy of it."""
    return digest(root / 'tests' / file for file in files)


def read(
    path: pathlib.Path, mutants: Iterable[Mutant], tests: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Returns 'killed' or 'survived' for each mutant whose verdict still holds.

    A mutant stays killed while the function that it changes is the same, since tests are only
    added. It stays a survivor while the files of tests that judged it are the same, too.

    Args:
      tests: the files of tests that judge each module.
    """
    functions = {mutant.name: of_function(mutant) for mutant in mutants}
    now = {module: of_tests(files) for module, files in tests.items()}
    rows = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
    verdicts: dict[str, str] = {}
    for row in map(json.loads, rows):
        name, verdict = row['name'], row['verdict']
        if row['function'] != functions.get(name):
            continue
        if verdict == 'killed' or row['tests'] == now[name.partition(':')[0]]:
            verdicts[name] = verdict
    return verdicts


def equivalents(listed: pathlib.Path, known: set[str]) -> dict[str, str]:
    """Returns the reasons of the equivalent mutants; exits if one is no mutant of the code."""
    reasons = {}
    for entry in tomllib.loads(listed.read_text(encoding='utf-8'))['equivalent']:
        name = f'{entry["module"]}: {entry["line"]}: {entry["change"]} #{entry.get("number", 0)}'
        if name not in known:
            sys.exit(f'{listed.name} lists what is no mutant any more: {name}')
        reasons[name] = entry['reason']
    return reasons
