"""Runs that are refused after loading their data leave no files."""

import pathlib

import pytest

from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.ops import onednn

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


def refusal(workdir: pathlib.Path, config: str, *overrides: str) -> str:
    arguments = [f'--config.{override}' for override in overrides]
    with pytest.raises(UserError) as caught:
        run.train(configs.load(f'{CONFIGS}/{config}', arguments), workdir)
    return str(caught.value)


@pytest.mark.parametrize(
    ('config', 'overrides', 'message'),
    [
        (
            'simple_net.py:digits',
            ['data.image_size=8', 'model.widths=(2, 2, 2, 2)'],
            'Images of 8x8 are too small for SimpleNet: set config.data.image_size=12, or more.',
        ),
        ('senet.py:smoke', ['train.batch_size=5000'], 'config.train.batch_size=5000 is more than'),
        ('senet.py:smoke', ['schedule.warmup=9 epochs'], "config.schedule.warmup is '9 epochs'"),
        ('senet.py:smoke', ['init_from=nowhere'], 'nowhere'),
        ('small_vgg.py:digits', ['model.widths=(1000000,)'], 'parameters of SmallVGG and their'),
        ('numpy_cnn.py:smoke', ['train.length=1 steps'], 'ends within an epoch'),
    ],
)
def test_a_refused_run_leaves_no_workdir(tmp_path, config, overrides, message):
    assert message in refusal(tmp_path / 'w', config, *overrides)
    assert not [*tmp_path.iterdir()]


def test_a_backend_that_is_not_here_is_refused_without_a_workdir(tmp_path, monkeypatch):
    monkeypatch.setattr(onednn, 'problem', lambda: 'it was not built')
    assert 'it was not built' in refusal(tmp_path / 'w', 'senet.py:smoke', 'ops.backend=onednn')
    assert not [*tmp_path.iterdir()]


def test_a_folder_of_other_files_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / 'notes.txt').touch()
    assert 'choose an empty --workdir' in refusal(tmp_path, 'senet.py:smoke')
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']
