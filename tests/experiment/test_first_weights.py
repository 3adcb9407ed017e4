"""Runs that start with the trained weights of another run, and with another head."""

import logging
import pathlib

import numpy as np
import pytest

from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier
from cifar_jax.training import weights

SMOKE = f'{pathlib.Path(__file__).parents[2]}/configs/senet.py:smoke'
OVERRIDES = (
    '--config.model.widths=(4, 8)',
    '--config.model.blocks=(1, 1)',
    '--config.model.reduction=2',
    '--config.data.fraction=0.3',
    '--config.data.image_size=8',
    '--config.log.tensorboard=false',
    '--config.mesh.devices=1',
)


def train(folder, *overrides):
    config = configs.load(SMOKE, [*OVERRIDES, *(f'--config.{text}' for text in overrides)])
    return run.train(config, folder)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Returns the workdir of a run that was judged by an average of its weights."""
    folder = tmp_path_factory.mktemp('trained') / 'run'
    train(folder, 'ema=0.9', 'train.length=2 steps')
    return folder


def first_weights(folder):
    return dict(np.load(folder / weights.FILE))


@pytest.mark.slow
def test_a_run_begins_with_the_weights_that_another_was_evaluated_with(trained, tmp_path):
    train(tmp_path / 'next', f'init_from={trained}:chosen', 'seed=3', 'train.length=1 steps')
    expected = weights.named(classifier.load(Workdir(trained)).variables)
    first = first_weights(tmp_path / 'next')
    assert first.keys() == expected.keys()
    assert all(np.array_equal(first[name], expected[name]) for name in first)
    before = first_weights(trained)
    assert any(not np.array_equal(first[name], before[name]) for name in first)


@pytest.mark.slow
def test_another_number_of_classes_gets_a_fresh_head_of_its_own_seed(trained, tmp_path, caplog):
    options = ('data.classes=4', 'seed=3', 'train.length=1 steps')
    with caplog.at_level(logging.INFO, 'cifar_jax'):
        train(tmp_path / 'next', f'init_from={trained}:latest', *options)
    train(tmp_path / 'drawn', *options)
    first, drawn, source = (
        first_weights(tmp_path / 'next'),
        first_weights(tmp_path / 'drawn'),
        weights.named(classifier.load(Workdir(trained), 'latest').variables),
    )
    for name in first:
        origin = drawn if name.startswith('params/head/') else source
        np.testing.assert_array_equal(first[name], origin[name])
    fresh = [text for text in caplog.messages if 'left fresh' in text]
    assert fresh == [
        'config.init_from: 2 left fresh: params/head/bias (10 classes there, 4 here), '
        'params/head/kernel (10 classes there, 4 here)'
    ]


@pytest.mark.slow
def test_frozen_parts_keep_every_bit_through_a_run_that_stops_and_resumes(tmp_path, caplog):
    groups = [
        {'pattern': 'stem*', 'frozen': True, 'frozen_statistics': True},
        {'pattern': 'head/*', 'frozen_until': '1 steps'},
    ]
    options = (f'optimizer.groups={groups}', 'ema=0.9', 'optimizer.clip_norm=1.0')
    with caplog.at_level(logging.INFO, 'cifar_jax'):
        train(tmp_path / 'run', *options, 'train.length=2 steps')
    assert 'Parameter groups' in caplog.text
    train(tmp_path / 'run', *options, 'train.length=4 steps')
    train(tmp_path / 'whole', *options, 'train.length=4 steps')
    first = first_weights(tmp_path / 'run')
    last = weights.named(classifier.load(Workdir(tmp_path / 'run')).variables)
    whole = weights.named(classifier.load(Workdir(tmp_path / 'whole')).variables)
    frozen = {name for name in first if name.split('/')[1].startswith('stem')}
    assert len(frozen) == 5
    for name in first:
        assert np.array_equal(first[name], last[name]) == (name in frozen), name
        np.testing.assert_array_equal(last[name], whole[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (('model.reduction=1',), 'is of another network: params/stage1_block1/se/excite/kernel'),
        (
            ('optimizer.groups=[{"pattern": "stme"}]',),
            r"matches nothing with 'stme'; similar names:",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_a_workdir_is_made(
    trained, tmp_path, overrides, message
):
    with pytest.raises(UserError, match=message):
        train(tmp_path / 'next', f'init_from={trained}:best', *overrides)
    assert not (tmp_path / 'next').exists()


@pytest.mark.slow
def test_a_checkpoint_of_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match='No workdir'):
        train(tmp_path / 'next', f'init_from={tmp_path}/none:chosen')
