"""Which runs are seeds of one experiment, and what is known of one from its files."""

import json
import pathlib

import pytest
from kept_runs import line, make

from cifar_jax.errors import UserError
from cifar_jax.reporting import runs

RESULTS = pathlib.Path(__file__).parents[2] / 'results'


def groups(*folders):
    found = runs.grouped([runs.read(folder) for folder in folders])
    return {group.name: [run.workdir.path for run in group.runs] for group in found}


def test_seeds_of_one_config_are_a_group_in_their_order(tmp_path):
    two = make(tmp_path / 'x_2', seed=2, data__dir='/elsewhere', log__every=7, ops__backend='jax')
    one = make(tmp_path / 'x_1', seed=1)
    other = make(tmp_path / 'y', seed=3, schedule__rate=0.2)
    assert groups(two, other, one) == {'x': [one, two], 'y': [other]}


def test_a_second_run_of_one_seed_is_no_further_seed(tmp_path):
    first, again = make(tmp_path / 'a'), make(tmp_path / 'b', ops__backend='jax')
    assert groups(first, again) == {'a': [first], 'b': [again]}


def test_a_key_of_a_later_version_has_its_default(tmp_path):
    old, new = make(tmp_path / 'x_0'), make(tmp_path / 'x_1', seed=1)
    stored = json.loads((old / 'config.json').read_text())
    del stored['config']['init_from'], stored['config']['data']['zca_epsilon']
    (old / 'config.json').write_text(json.dumps(stored))
    assert groups(old, new) == {'x': [old, new]}


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    one, two = make(tmp_path / 'a' / 'run'), make(tmp_path / 'b' / 'run', schedule__rate=0.2)
    assert groups(one, two) == {str(one): [one], str(two): [two]}


@pytest.mark.parametrize(
    ('names', 'wanted'),
    [
        (('senet-seed0', 'senet-seed1'), 'senet'),
        (('senet_0', 'senet_10'), 'senet'),
        (('first', 'second'), 'first'),
        (('0', '1'), '0'),
    ],
)
def test_a_group_has_the_name_of_its_folders_without_the_seeds(tmp_path, names, wanted):
    folders = [make(tmp_path / name, seed=seed) for seed, name in enumerate(names)]
    assert [*groups(*folders)] == [wanted]


def test_the_chosen_weights_and_the_time_to_the_best_ones(tmp_path):
    last = runs.read(make(tmp_path / 'last'))
    best = runs.read(make(tmp_path / 'best', train__select='best'))
    assert (last.validation, best.validation) == (0.5, 0.6)
    assert last.seconds_to_best == best.seconds_to_best == 20
    assert last.images_per_second == 102


def test_what_a_run_does_not_say_is_none(tmp_path):
    found = runs.read(make(tmp_path / 'w', [None, None], data__validation='none'))
    assert (found.validation, found.test, found.seconds_to_best) == (None, None, None)
    begun = runs.read(make(tmp_path / 'v', [], finished=False))
    assert (begun.validation, begun.images_per_second, begun.seconds_to_best) == (None, None, None)


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [('senet', 1_600_492), ('plain_cnn', 2_784_250), ('numpy_experiment1_0', 6_844)],
)
def test_parameters_of_kept_results_are_the_published_ones(name, parameters):
    assert runs.size(runs.read(RESULTS / name)).parameters == parameters


def test_flops_are_two_a_multiply_add_of_the_layers():
    # 30x30x3 outputs of 3x3x3 products, then 15x15x3 inputs to 10 classes.
    wanted = 2 * (30 * 30 * 3 * 27 + 15 * 15 * 3 * 10)
    assert runs.size(runs.read(RESULTS / 'numpy_experiment1_0')).flops == wanted


def test_the_workdir_says_what_images_a_model_is_for(tmp_path):
    folder = make(tmp_path / 'w', data__source='archive:x.tar.gz')
    assert runs.size(runs.read(folder)) is None
    preprocessing = {'classes': [*'abcde'], 'image_shape': [32, 32, 3], 'mean': [[[0]]], 'std': []}
    (folder / 'preprocessing.json').write_text(json.dumps(preprocessing))
    # BaseNet ends with 50 numbers: 51 parameters a class, of which it has 25 in S1.
    assert runs.size(runs.read(folder)).parameters == 24_197 - 20 * 51


def test_what_is_no_workdir_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='No workdir'):
        runs.read(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='is not the workdir of a run'):
        runs.read(tmp_path / 'empty')


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('config.json', '{}'),
        ('config.json', '[1]'),
        ('config.json', '{"config'),
        ('metrics.jsonl', json.dumps(line(1, 0.5) | {'val_loss': 'low'})),
        ('metrics.jsonl', '{"epoch": 1}\n'),
        ('metrics.jsonl', '{"epoch": "one", "train_loss": 1}\n'),
        ('summary.json', '[]'),
        ('summary.json', '{"test": 1}'),
        ('summary.json', ''),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    folder = make(tmp_path / 'w')
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=name):
        runs.read(folder)
