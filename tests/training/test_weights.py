"""Weights that another run began with: identical ones, and what is refused."""

import pathlib

import jax
import numpy as np
import pytest

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.training import loop, weights
from cifar_jax.training import plan as plans

SMOKE = f'{pathlib.Path(__file__).parents[2]}/configs/small_vgg.py:smoke'
OVERRIDES = (
    '--config.train.length=2 steps',
    '--config.data.fraction=0.2',
    '--config.model.widths=(4,)',
    '--config.mesh.devices=1',
)
VARIABLES = {'params': {'Dense_0': {'kernel': np.ones((2, 3), np.float32)}}}


def shapes(*shape):
    kernel = jax.ShapeDtypeStruct(shape, np.float32)
    return {'params': {'Dense_0': {'kernel': kernel}}}


class Silent:
    """Follows a run and says nothing."""

    stop = False

    def started(self, step, history):
        pass

    def wants(self, step):
        return False

    def stepped(self, step):
        pass

    def epoch_ended(self, line, variables):
        pass


def plan(*overrides):
    config = configs.load(SMOKE, [*OVERRIDES, *overrides])
    data = pipeline.prepare(config.data)
    return plans.make(config, data)


def begun(folder, *overrides):
    """Trains, and returns the weights that the run began with."""
    folder.mkdir()
    loop.run(plan(*overrides), folder, Silent())
    return {name: value.tobytes() for name, value in np.load(folder / weights.FILE).items()}


def test_runs_of_other_seeds_begin_with_identical_weights_when_told_to(tmp_path):
    first = begun(tmp_path / 'first')
    other = begun(tmp_path / 'other', '--config.seed=1')
    told = begun(tmp_path / 'told', '--config.seed=1', f'--config.init_from={tmp_path}/first')
    assert told == first != other


def test_saved_weights_are_loaded_bit_for_bit(tmp_path):
    weights.save(tmp_path / weights.FILE, VARIABLES)
    for path in (tmp_path, tmp_path / weights.FILE):
        found = weights.load(path, shapes(2, 3))
        np.testing.assert_array_equal(
            found['params']['Dense_0']['kernel'], VARIABLES['params']['Dense_0']['kernel']
        )


def test_missing_weights_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r'^--config\.init_from=.*there is no .*initial\.npz'):
        weights.load(tmp_path, shapes(2, 3))


@pytest.mark.parametrize('content', [b'', b'no weights', None])
def test_damaged_weights_are_one_sentence(tmp_path, content):
    file = tmp_path / weights.FILE
    weights.save(file, VARIABLES)
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UserError, match=r'is damaged or no \.npz file'):
        weights.load(file, shapes(2, 3))


def test_pickled_weights_are_never_executed(tmp_path):
    np.savez(tmp_path / 'own.npz', kernel=np.array([{}], dtype=object))
    with pytest.raises(UserError, match='is damaged'):
        weights.load(tmp_path / 'own.npz', shapes(2, 3))


def test_weights_of_another_shape_are_one_sentence(tmp_path):
    weights.save(tmp_path / weights.FILE, VARIABLES)
    with pytest.raises(
        UserError, match=r'kernel is float32\[2, 3\] there and float32\[2, 4\] here'
    ):
        weights.load(tmp_path, shapes(2, 4))
