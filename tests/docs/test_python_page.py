"""The code of docs/python.md runs and prints the output shown."""

import contextlib
import io
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run

ROOT = pathlib.Path(__file__).parents[2]
SHORT = ('--config.train.length=1 epochs', '--config.data.fraction=0.1')


@pytest.mark.slow
def test_every_piece_of_code_prints_what_its_comments_say(tmp_path, monkeypatch):
    run.train(configs.load(f'{ROOT}/configs/numpy_cnn.py:smoke', SHORT), tmp_path / 'runs/senet')
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / 'cat.jpg')
    monkeypatch.chdir(tmp_path)
    page = (ROOT / 'docs' / 'python.md').read_text()
    names: dict[str, object] = {}
    for block in re.findall(r'^```python\n(.*?)^```', page, re.DOTALL | re.MULTILINE):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, names)
        assert printed.getvalue().splitlines() == re.findall(r'^print\(.*\)  # (.*)$', block, re.M)
