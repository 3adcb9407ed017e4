"""docs/backprop.md agrees with the code."""

import doctest
import pathlib
import re

import cifar_jax.reference

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'backprop.md'


def test_every_python_example_gives_the_output_shown():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 20


def test_every_other_code_block_is_quoted_from_the_reference():
    folder = pathlib.Path(cifar_jax.reference.__file__).parent
    sources = [path.read_text() for path in folder.glob('*.py')]
    blocks = re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.DOTALL | re.MULTILINE)
    quoted = [block for block in blocks if '>>>' not in block]
    assert len(quoted) >= 4
    for block in quoted:
        assert any(block in source for source in sources), block
