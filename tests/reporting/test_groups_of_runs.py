"""Grouping of runs by config, and the sizes of their models."""

import json
import pathlib

import pytest
from kept_runs import make

from cifar_jax.experiment import records
from cifar_jax.reporting.comparisons import groups as grouping

RESULTS = pathlib.Path(__file__).parents[2] / 'results'


def groups(*folders):
    groups = grouping.grouped([records.read(folder) for folder in folders])
    return {group.name: [run.workdir.path for run in group.runs] for group in groups}


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


def test_folders_of_one_name_are_distinguished_by_their_paths(tmp_path):
    one, two = make(tmp_path / 'a' / 'run'), make(tmp_path / 'b' / 'run', schedule__rate=0.2)
    assert groups(one, two) == {str(one): [one], str(two): [two]}


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (('senet-seed0', 'senet-seed1'), 'senet'),
        (('senet_0', 'senet_10'), 'senet'),
        (('first', 'second'), 'first'),
        (('0', '1'), '0'),
    ],
)
def test_a_group_has_the_name_of_its_folders_without_the_seeds(tmp_path, names, expected):
    folders = [make(tmp_path / name, seed=seed) for seed, name in enumerate(names)]
    assert [*groups(*folders)] == [expected]


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [('senet', 1_600_492), ('plain_cnn', 2_784_250), ('numpy_experiment1_0', 6_844)],
)
def test_parameters_of_kept_results_are_the_published_ones(name, parameters):
    assert grouping.size(records.read(RESULTS / name)).parameters == parameters


def test_flops_are_two_a_multiply_add_of_the_layers():
    # 30x30x3 outputs of 3x3x3 products, then 15x15x3 inputs to 10 classes.
    expected = 2 * (30 * 30 * 3 * 27 + 15 * 15 * 3 * 10)
    assert grouping.size(records.read(RESULTS / 'numpy_experiment1_0')).flops == expected


def test_the_workdir_says_what_images_a_model_is_for(tmp_path):
    folder = make(tmp_path / 'w', data__source='archive:x.tar.gz')
    assert grouping.size(records.read(folder)) is None
    preprocessing = {
        'classes': [*'abcde'],
        'image_shape': [32, 32, 3],
        'mean': [[[0]]],
        'std': [[[1]]],
    }
    (folder / 'preprocessing.json').write_text(json.dumps(preprocessing))
    # BaseNet ends with 50 numbers: 51 parameters a class, of which it has 25 in S1.
    assert grouping.size(records.read(folder)).parameters == 24_197 - 20 * 51
