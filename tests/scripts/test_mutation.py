"""Systematic mutants: what is changed, what is not, and the list of equivalent ones."""

import pytest

import mutation


def changed(source):
    """Returns the bodies of the mutants of a module."""
    return [mutant.source for mutant in mutation.mutants('m.py', source)]


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
    names = [mutant.name for mutant in mutation.mutants('m.py', 'x = a + b\nx = a + b\n')]
    assert names == ['m.py: x = a + b: a + b -> a - b #0', 'm.py: x = a + b: a + b -> a - b #1']


def test_a_change_after_letters_of_several_bytes_is_in_its_place():
    assert changed("x = 'é', 1") == ["x = 'é', (2)"]


def test_the_equivalent_mutants_are_mutants_of_the_code():
    known = {
        mutant.name
        for module in mutation.TESTS
        for mutant in mutation.mutants(module, mutation.read(module))
    }
    assert all(mutation.equivalents(known).values())


def test_an_equivalent_mutant_that_is_none_is_refused(monkeypatch, tmp_path):
    listed = tmp_path / 'equivalents.toml'
    listed.write_text(
        "[[equivalent]]\nmodule = 'm.py'\nline = 'x = 1'\nchange = '1 -> 2'\nreason = 'unused'\n"
    )
    monkeypatch.setattr(mutation, 'EQUIVALENTS', listed)
    assert mutation.equivalents({'m.py: x = 1: 1 -> 2 #0'}) == {'m.py: x = 1: 1 -> 2 #0': 'unused'}
    with pytest.raises(SystemExit, match=r'no mutant any more: m\.py: x = 1: 1 -> 2 #0'):
        mutation.equivalents({'m.py: x = 2: 2 -> 3 #0'})


@pytest.mark.parametrize('module', mutation.TESTS)
def test_the_tests_that_judge_a_module_exist(module):
    for name in mutation.TESTS[module].split():
        assert (mutation.ROOT / 'tests' / name).is_file()


def test_every_module_that_trains_or_answers_is_listed():
    package = mutation.ROOT / 'cifar_jax'
    found = {
        path.relative_to(package).as_posix()
        for room in ('training', 'inference')
        for path in (package / room).rglob('*.py')
        if mutation.mutants('', path.read_text(encoding='utf-8'))
    }
    assert found <= set(mutation.TESTS)


def test_a_verdict_of_other_tests_counts_no_more(tmp_path):
    rows = tmp_path / 'verdicts.jsonl'
    module = 'training/durations.py'
    state = mutation.state_of(module)
    rows.write_text(
        f'{{"name": "a", "of": "{state}", "verdict": "killed"}}\n'
        '{"name": "b", "of": "0123456789abcdef", "verdict": "killed"}\n'
    )
    assert mutation.read_verdicts(rows) == {'a': 'killed'}
