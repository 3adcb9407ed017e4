"""The start of commands: what they import, and the errors before their work begins."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = ('main', 'evaluate', 'predict', 'compare', 'report', 'gradcheck', 'sweep', 'features')
SLOW = {
    *('jax', 'jaxlib', 'flax', 'optax', 'orbax', 'numpy', 'scipy', 'sklearn'),
    *('tensorflow', 'tensorflow_datasets', 'matplotlib', 'PIL', 'rich'),
}


def run(command: str, *arguments: str) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """Returns the packages that a command imports, and how it ended."""
    words = ['-X', 'importtime', '-m', f'cifar_jax.{command}', *arguments]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
    return {line.rpartition('|')[2].strip().partition('.')[0] for line in lines}, done


@pytest.mark.parametrize('command', COMMANDS)
def test_help_imports_nothing_slow(command):
    imported, done = run(command, '--help')
    assert done.stdout.startswith(f'usage: python -m cifar_jax.{command}')
    assert 'argparse' in imported
    assert not imported & SLOW


@pytest.mark.parametrize(
    ('command', 'arguments'),
    [
        ('main', ('--config.train.lenght=3',)),
        ('gradcheck', ('--config.train.lenght=3',)),
        ('features', ('--config.train.lenght=3',)),
        ('report', ('--augmentations', '--out', 'x.png', '--config.train.lenght=3')),
        ('sweep', ('--out', 'nowhere', '--set', 'train.lenght=3')),
    ],
)
def test_a_misspelt_key_is_refused_before_anything_slow_is_imported(command, arguments):
    imported, done = run(command, '--config', 'configs/senet.py', *arguments)
    assert done.returncode == 1
    assert "did you mean 'train.length'?" in done.stderr.splitlines()[-1]
    assert 'ml_collections' in imported
    assert not imported & SLOW


LOG = """\
import logging
from cifar_jax.experiment import console

console.show_log()
with console.mistakes_as_sentences():
    logging.getLogger('cifar_jax').info('a line')
    raise AssertionError('not reached')
"""
TABLE = LOG.replace("logging.getLogger('cifar_jax').info('a line')", "console.table('', ['x'], [])")


@pytest.mark.parametrize('words', [('-m', 'cifar_jax.main', '--help'), ('-c', LOG), ('-c', TABLE)])
def test_output_without_a_reader_ends_a_command_quietly(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.returncode in (0, 1)
    assert done.stderr == ''


def test_the_home_of_an_unknown_user_is_refused():
    imported, done = run('evaluate', '--workdir', '~nobody_of_this_name/run')
    assert done.returncode == 2
    assert "'~nobody_of_this_name/run' begins with an unknown home folder" in done.stderr
    assert not imported & SLOW
