"""The recipes of CONTRIBUTING.md, followed literally in a copy of the repository."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RECIPES = (ROOT / 'CONTRIBUTING.md').read_text()
# '# cifar_jax/models/my_net.py', and the code below it.
BLOCK = re.compile(r'^( *)```python\n +# (\S+)\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r'Add\s+`([^`]+)`\s+to\s+`([A-Z]+)`\s+in\s+`(\S+\.py)`')
COMMAND = re.compile(r'`(python -m cifar_jax\.\S+ --config \S+)`')


def blocks():
    """Returns the path and the code of each block, in the order of the recipes."""
    return [(path, textwrap.dedent(code)) for _, path, code in BLOCK.findall(RECIPES)]


def table_start(text, name):
    """Returns where the statement that assigns a table to a name begins, and where its entries."""
    assigned = re.search(rf'^{name}\b[^=]*= (?:\w+\(\s*)?[{{(]', text, re.MULTILINE)
    assert assigned, name
    return assigned.start(), assigned.end()


def with_imports(text, lines):
    """Returns a module with more imports, below its last one of the package."""
    last = [*re.finditer(r'^from cifar_jax\.[^(\n]*(?:\([^)]*\))?\n', text, re.MULTILINE)][-1]
    return text[: last.end()] + ''.join(lines) + text[last.end() :]


def insert(path, code):
    """Adds a block to a file that exists, above its table; imports go to the other imports."""
    lines = code.splitlines(keepends=True)
    imports = [line for line in lines if line.startswith('from ')]
    rest = ''.join(line for line in lines if line not in imports)
    text = path.read_text()
    name = next(table for _, table, file in ENTRY.findall(RECIPES) if path.match(file))
    start, _ = table_start(text, name)
    path.write_text(with_imports(text[:start] + rest + '\n\n' + text[start:], imports))


@pytest.fixture(scope='module')
def repository(tmp_path_factory):
    """Returns a copy of the repository in which every recipe has been followed."""
    copy = tmp_path_factory.mktemp('repository')
    for folder in ('cifar_jax', 'configs'):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__'))
    made = {}
    for name, code in blocks():
        path = copy / name
        if path.exists():
            insert(path, code)
        else:
            path.write_text(code)
            made |= dict.fromkeys(re.findall(r'^(?:class|def) (\w+)', code, re.MULTILINE), path)
    for entry, table, name in ENTRY.findall(RECIPES):
        path = copy / name
        text = path.read_text()
        _, end = table_start(text, table)
        text = text[:end] + f'{entry}, ' + text[end:]
        word = entry.rpartition(' ')[2]
        if word in made:
            module = '.'.join(made[word].relative_to(copy).with_suffix('').parts)
            text = with_imports(text, [f'from {module} import {word}\n'])
        path.write_text(text)
    return copy


def run(repository, command, *options):
    """Runs a command of the copy, and returns what it prints."""
    words = [sys.executable if word == 'python' else word for word in command.split()]
    ran = subprocess.run(
        [*words, *options],
        cwd=repository,
        env={**os.environ, 'PYTHONPATH': str(repository)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def command(module):
    """Returns the command of a recipe that runs a module."""
    [line] = [line for line in COMMAND.findall(RECIPES) if f'cifar_jax.{module} ' in line]
    return line


@pytest.fixture(scope='module')
def workdir(repository):
    """Returns the workdir of a run of the new model, on the new set, with the new augmentation."""
    augment = "[{'name': 'brightness', 'change': 0.1}]"
    options = ('--config.data.source=parity', f'--config.data.augment={augment}')
    run(repository, command('main'), '--workdir', 'runs/new', *options)
    return 'runs/new'


def test_every_kind_of_recipe_has_code():
    folders = {pathlib.Path(path).parts[1] for path, _ in blocks()}
    assert folders == {'models', 'my_net.py', 'crosscheck', 'data', 'reporting'}


@pytest.mark.slow
def test_a_new_model_set_and_augmentation_train_and_are_evaluated(repository, workdir):
    output = run(repository, f'python -m cifar_jax.evaluate --workdir {workdir}', '--json')
    result = json.loads(output.splitlines()[-1])
    assert 0 < result['accuracy'] <= 1
    stored = json.loads((repository / workdir / 'config.json').read_text())['config']
    assert stored['model']['name'] == 'MyNet'
    assert stored['data']['source'] == 'parity'
    assert [entry['name'] for entry in stored['data']['augment']] == ['brightness']


@pytest.mark.slow
def test_a_new_set_of_tensorflow_datasets_reads_what_was_prepared(repository):
    script = """
import numpy as np
from cifar_jax.data import cache, catalogue, sources
from cifar_jax.experiment.defaults import get_defaults
def load(recipe, *_):
    parts = {f'{part}_images': np.zeros((4, 32, 32, 3), np.uint8) for part in catalogue.SPLITS}
    parts |= {f'{part}_fine': np.arange(4, dtype=np.int32) for part in catalogue.SPLITS}
    assert recipe.labels == {'fine': 'label'}
    return cache.Decoded(parts, {'fine': list('0123')})
catalogue.load = load
dataset = sources.svhn(get_defaults().data)
print(dataset.name, len(dataset.classes), dataset.test.images.shape)
"""
    (repository / 'svhn.py').write_text(script)
    assert run(repository, 'python svhn.py').split('\n')[0] == 'svhn_cropped 4 (4, 32, 32, 3)'


@pytest.mark.slow
def test_a_new_model_passes_the_check_of_its_gradients(repository):
    run(repository, command('gradcheck'))


@pytest.mark.slow
def test_a_new_picture_is_in_the_report(repository, workdir):
    run(repository, f'python -m cifar_jax.report --workdir {workdir}')
    assert (repository / workdir / 'report' / 'confidence.png').is_file()
    assert 'Confidence' in (repository / workdir / 'report' / 'index.html').read_text()


@pytest.mark.slow
def test_a_new_model_refuses_what_its_check_refuses(repository):
    with pytest.raises(AssertionError, match=r'config\.model\.width=3 must be even'):
        run(repository, command('main'), '--config.model.width=3')


@pytest.mark.slow
def test_code_of_the_recipes_passes_the_linter(repository):
    paths = {path for path, _ in blocks()} - {path for _, _, path in ENTRY.findall(RECIPES)}
    settings = ['--config', str(ROOT / 'pyproject.toml'), '--no-cache']
    for check in (['check'], ['format', '--check']):
        ran = subprocess.run(
            [sys.executable, '-m', 'ruff', *check, *settings, *sorted(paths)],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
        )
        if 'No module named' in ran.stderr:
            pytest.skip('ruff is not installed')
        assert ran.returncode == 0, ran.stdout
