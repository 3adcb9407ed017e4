"""The code of docs/python.md runs and prints what it says."""

import contextlib
import io
import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'python.md'


@pytest.mark.slow
def test_every_piece_of_code_prints_what_its_comments_say():
    names: dict[str, object] = {}
    for block in re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.DOTALL | re.MULTILINE):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, names)
        assert printed.getvalue().splitlines() == re.findall(r'^print\(.*\)  # (.*)$', block, re.M)
