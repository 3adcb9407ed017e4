"""The experiments of S1 and S2 that need pretrained weights, as lists of commands."""

import pathlib
import sys

import pytest

import transfer
from cifar_jax import features, sweep
from cifar_jax.experiment import config as configs
from cifar_jax.sweeping import grid
from tables import published


@pytest.fixture
def done(monkeypatch):
    """The commands that are run, instead of running them; a sweep ends as the command does."""
    commands = []

    def swept(words):
        commands.append(('sweep', words))
        sys.exit('a run failed' if '--fail' in words else 0)

    monkeypatch.setattr(features, 'main', lambda words: commands.append(('features', words)))
    monkeypatch.setattr(sweep, 'main', swept)
    monkeypatch.chdir(transfer.ROOT)
    return commands


def tasks(words):
    """The runs of a sweep, whose configs are checked."""
    args = sweep.parser().parse_args(words)
    assert args.evaluate == 'test'
    return grid.tasks(args.out, args.config, args.seeds, args.set, args.grid)


@pytest.mark.parametrize(
    ('experiment', 'system'), [('s1', 'S1: transfer to birds'), ('s2', 'S2: CIFAR-100')]
)
def test_every_published_row_of_transfer_is_run(experiment, system, done, tmp_path):
    transfer.main([experiment, '--out', str(tmp_path)])
    specs = {task.spec for command, words in done if command == 'sweep' for task in tasks(words)}
    [rows] = [entry['row'] for entry in published.systems() if entry['name'] == system]
    pretrained = [row['command'] for row in rows if configs.load(row['command']).model.name]
    nets = ('DenseHead', 'ResNet50', 'EfficientNetB0')
    assert specs == {spec for spec in pretrained if configs.load(spec).model.name in nets}


def test_weights_and_images_are_those_that_are_named(done, tmp_path):
    images, weights = f'folder:{tmp_path}/birds', f'{tmp_path}/weights.safetensors'
    given = ['--weights', weights, '--data', images, '--set', 'data.image_size=64']
    transfer.main(['s1', '--out', str(tmp_path / 'out'), *given, '--seeds', '0,1'])
    (_, first), (_, heads), (_, tuned) = done
    args, overrides = features.parser().parse_known_args(first)
    for config in (configs.load(args.config, overrides), *(t.config for t in tasks(tuned))):
        assert (config.init_from, config.data.source) == (weights, images)
        assert (config.model.name, config.data.image_size) == ('ResNet50', 64)
    assert args.out == tmp_path / 'out' / 'features'
    assert {t.config.data.source for t in tasks(heads)} == {f'features:{args.out}'}
    assert [task.seed for task in tasks(tuned)] == [0, 0, 0, 1, 1, 1]


def test_a_sweep_that_fails_ends_the_script(done, tmp_path):
    with pytest.raises(SystemExit, match='a run failed'):
        transfer.main(['s1', '--out', str(tmp_path), '--fail'])
    assert [command for command, _ in done] == ['features', 'sweep']


def test_the_stand_in_is_the_network_whose_weights_are_in_a_package(done, tmp_path):
    transfer.main(['s1', '--out', str(tmp_path), '--stand-in', '--set-head', 'train.length=1'])
    transfer.main(['s2', '--out', str(tmp_path), '--stand-in'])
    (_, first), (_, heads), (_, tuned), (_, second) = done
    args, _ = features.parser().parse_known_args(first)
    networks = [configs.load(args.config), *(t.config for t in (*tasks(tuned), *tasks(second)))]
    assert {config.model.name for config in networks} == {'EfficientNetLite0'}
    assert {config.init_from for config in networks} == {'imagenet'}
    assert {task.config.train.length for task in tasks(heads)} == {'1'}
    assert not any(pathlib.Path(task.spec).is_absolute() for task in tasks(heads))
