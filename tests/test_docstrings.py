"""The examples in docstrings give the output that they show."""

import doctest
import importlib
import pathlib

import pytest

import cifar_jax

PACKAGE = pathlib.Path(cifar_jax.__file__).parent
MODULES = [
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__')
    for path in sorted(PACKAGE.rglob('*.py'))
    if '>>> ' in path.read_text()
]


@pytest.mark.parametrize('name', MODULES)
def test_examples_give_the_output_shown(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
