"""What a command imports before it knows that its arguments are right."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = ('main', 'evaluate', 'predict', 'compare', 'report', 'gradcheck', 'sweep')
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
