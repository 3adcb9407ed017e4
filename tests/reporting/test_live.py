"""Pictures for TensorBoard during training."""

import pathlib

import pytest

from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.reporting import live

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


@pytest.mark.slow
@pytest.mark.parametrize('name', ['small_vgg.py:smoke', 'numpy_cnn.py:smoke'])
def test_pictures_are_logged_and_do_not_change_the_weights(name, tmp_path):
    def trained(pictures):
        overrides = ['--config.train.length=1 epochs', '--config.data.fraction=0.2']
        config = configs.load(
            f'{CONFIGS}/{name}', [*overrides, f'--config.log.pictures={pictures}']
        )
        folder = tmp_path / (pictures or 'none')
        sha256 = run.train(config, folder, draw=live.draw_run)['sha256']
        (events,) = (folder / 'tensorboard').iterdir()
        return sha256, events.read_bytes()

    without, plain = trained('')
    sha256, content = trained('50%')
    assert sha256 == without
    for tag in (b'confusion', b'confusion_errors', b'predictions', b'filters', b'grad_cam'):
        assert tag in content
        assert tag not in plain
