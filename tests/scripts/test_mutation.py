"""Systematic mutants: what is changed, which tests judge it, and which verdicts hold."""

import json
import os
import subprocess
import sys

import pytest

import mutation
from mutation_testing import selection, verdicts
from mutation_testing.changes import mutants


def changed(source):
    """Returns the bodies of the mutants of a module."""
    return [mutant.source for mutant in mutants('m.py', source)]


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('a < b', ['pass', '(a <= b)']),
        ('x = a == b', ['x = (a != b)']),
        ('x = a in b', ['x = (a not in b)']),
        ('x = a + b', ['x = (a - b)']),
        ('x = a // b', ['x = (a * b)']),
        ('x = a and b', ['x = (a or b)']),
        ('x = not a', ['x = (a)']),
        ('x = -a', ['x = (a)']),
        ('x = 3', ['x = (4)']),
        ('x = True', ['x = (False)']),
        ('x = f(a, b=c, d=e)', ['x = (f(a, d=e))', 'x = (f(a, b=c))']),
        ('x = a if b else c', ['x = (a if not b else c)']),
        ('x[a] = b', ['pass']),
        ('x += a', ['pass']),
        ('raise a', ['pass']),
        ('def f():\n    return a', ['def f():\n    return None']),
        ('if a:\n    b = c', ['if (not a):\n    b = c']),
        ('while not a:\n    break', ['while (a):\n    break', 'while not a:\n    pass']),
        ('x = [a for a in b if c]', ['x = [a for a in b if (not c)]']),
    ],
)
def test_each_kind_of_node_is_changed(source, expected):
    assert set(expected) <= set(changed(source))


@pytest.mark.parametrize(
    'source',
    ["'''A text.'''", 'x: int | None', 'def f(x: a | b) -> c | d: ...', "x = 'text'", 'import a'],
)
def test_annotations_and_texts_are_left_alone(source):
    assert changed(source) == []


def test_equal_changes_of_equal_lines_have_names_of_their_own():
    names = [mutant.name for mutant in mutants('m.py', 'x = a + b\nx = a + b\n')]
    assert names == ['m.py: x = a + b: a + b -> a - b #0', 'm.py: x = a + b: a + b -> a - b #1']


def test_a_change_after_letters_of_several_bytes_is_in_its_place():
    assert changed("x = 'é', 1") == ["x = 'é', (2)"]


def test_a_change_within_an_f_string_that_is_no_python_is_left_out():
    sources = changed('x = f\'{a["k"] + 1}\'')
    assert 'x = f\'{a["k"] + (2)}\'' in sources
    for source in sources:  # Before Python 3.12, quotes cannot be nested.
        compile(source, 'm.py', 'exec')


def test_the_equivalent_mutants_are_mutants_of_the_code():
    known = {
        mutant.name
        for module in mutation.TESTS
        for mutant in mutants(module, mutation.read(module))
    }
    assert all(verdicts.equivalents(mutation.EQUIVALENTS, known).values())


def test_an_equivalent_mutant_that_is_none_is_refused(tmp_path):
    listed = tmp_path / 'equivalents.toml'
    listed.write_text(
        "[[equivalent]]\nmodule = 'm.py'\nline = 'x = 1'\nchange = '1 -> 2'\nreason = 'unused'\n"
    )
    name = 'm.py: x = 1: 1 -> 2 #0'
    assert verdicts.equivalents(listed, {name}) == {name: 'unused'}
    with pytest.raises(SystemExit, match=r'no mutant any more: m\.py: x = 1: 1 -> 2 #0'):
        verdicts.equivalents(listed, {'m.py: x = 2: 2 -> 3 #0'})


@pytest.mark.parametrize('module', mutation.TESTS)
def test_the_tests_that_judge_a_module_exist(module):
    for name in mutation.files_of(module):
        assert (mutation.ROOT / 'tests' / name).is_file()


def test_every_module_that_trains_or_answers_is_listed():
    package = mutation.ROOT / 'cifar_jax'
    found = {
        path.relative_to(package).as_posix()
        for room in ('training', 'inference')
        for path in (package / room).rglob('*.py')
        if mutants('', path.read_text(encoding='utf-8'))
    }
    assert found <= set(mutation.TESTS)


TESTS = ('training/test_durations.py',)
BEFORE = 'def f(a, b):\n    return a + b\n\n\ndef g(a):\n    return -a\n'


def still_holds(tmp_path, verdict, *, source=BEFORE, tests=None):
    """Returns whether a verdict on the mutant of f is one on that of the source, too."""
    (mutant,) = (m for m in mutants('m.py', BEFORE) if m.change == 'a + b -> a - b')
    path = tmp_path / 'verdicts.jsonl'
    judges = verdicts.of_tests(TESTS) if tests is None else tests
    row = {'name': mutant.name, 'verdict': verdict, 'tests': judges}
    path.write_text(json.dumps(row | {'function': verdicts.of_function(mutant)}) + '\n')
    held = verdicts.read(path, mutants('m.py', source), {'m.py': TESTS})
    assert held in ({}, {mutant.name: verdict})
    return bool(held)


@pytest.mark.parametrize('verdict', ['killed', 'survived'])
def test_a_verdict_holds_while_the_function_is_the_same(tmp_path, verdict):
    assert still_holds(tmp_path, verdict)
    assert still_holds(tmp_path, verdict, source=BEFORE.replace('-a', 'a - 1'))
    assert not still_holds(tmp_path, verdict, source=BEFORE.replace('(a, b)', '(b, a)'))
    assert not still_holds(tmp_path, verdict, source=BEFORE.replace('a + b', 'b + a'))


def test_a_survivor_is_judged_again_by_other_tests_and_a_killed_mutant_is_not(tmp_path):
    assert not still_holds(tmp_path, 'survived', tests='others')
    assert still_holds(tmp_path, 'killed', tests='others')


SOURCE = 'def f(x):\n    y = x\n    return y + 1\n\n\nZ = 3\n'


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        ({'slow::a': [3], 'slow::b': [2], 'fast::c': [2, 3]}, ['fast::c', 'slow::a']),
        ({'slow::a': [2], 'slow::b': [6], 'fast::c': [6]}, ['slow::a']),
        ({'slow::a': [6], 'slow::b': [6], 'fast::c': [6]}, ['fast::c', 'slow::b', 'slow::a']),
    ],
)
def test_a_mutant_is_judged_by_tests_of_its_lines_or_of_its_function_or_by_all(lines, expected):
    """The fastest file comes first, and its fastest test."""
    seconds = {'slow::a': 3.0, 'slow::b': 2.0, 'fast::c': 1.0}
    tests = {name: {'seconds': seconds[name], 'lines': {'m.py': lines[name]}} for name in lines}
    (mutant,) = (m for m in mutants('m.py', SOURCE) if m.change == '1 -> 2')
    assert mutant.lines == (3, 3)
    assert selection.covering(mutant, SOURCE, tests) == expected


TESTED = """
import pytest

from cifar_jax.m import f, g


@pytest.fixture(scope='module')
def one():
    return f()


def test_none():
    pass


def test_f(one):
    assert one == 1


def test_g(one):
    assert one < g()
"""
PROFILED = """
import json
import pathlib
from mutation_testing import runs

folder = pathlib.Path()
profile = runs.Profile(folder.absolute(), ['m.py'])
status = runs.run_tests(['test_m.py'], profile, folder)
(folder / 'profile.json').write_text(json.dumps(profile.tests()))
raise SystemExit(int(status))
"""


def test_the_lines_of_tests_and_of_their_fixtures_are_recorded(tmp_path):
    """In a project of one module and one file of tests; a call is one of the line of `def`."""
    (tmp_path / 'cifar_jax').mkdir()
    (tmp_path / 'tests').mkdir()
    (tmp_path / 'cifar_jax' / 'm.py').write_text(
        'def f():\n    return 1\n\n\ndef g():\n    return 2\n'
    )
    (tmp_path / 'tests' / 'test_m.py').write_text(TESTED)
    environment = os.environ | {'PYTHONPATH': f'{tmp_path}{os.pathsep}{mutation.ROOT / "scripts"}'}
    command = [sys.executable, '-c', PROFILED]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    rows = json.loads((tmp_path / 'profile.json').read_text())
    lines = {name.partition('::')[2]: row['lines'] for name, row in rows.items()}
    assert lines == {'test_f': {'m.py': [1, 2]}, 'test_g': {'m.py': [1, 2, 5, 6]}, 'test_none': {}}
