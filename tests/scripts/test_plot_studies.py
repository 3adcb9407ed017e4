"""The plots of the studies, and the selection of their runs."""

import pathlib

import pytest
from ml_collections import ConfigDict

import plot_studies
from cifar_jax.errors import UserError
from cifar_jax.experiment.records import Run
from cifar_jax.experiment.workdir import Workdir
from tables import kept

A = 'configs/cifar100_25.py:'


def run_of(name, overrides, *, model, length='8 epochs') -> Run:
    """Returns a run of S1's study with two epochs."""
    lines = [{'epoch': n, 'val_accuracy': 0.2 * n, 'images_per_second': 5.0} for n in (1, 2)]
    summary = {'val_accuracy': 0.4, 'test': {'accuracy': 0.3}}
    config = {'seed': 0, 'model': model, 'train': {'length': length}}
    command = 'python -m cifar_jax.main ' + kept.arguments(A + name, overrides)
    return Run(Workdir(pathlib.Path(name)), ConfigDict(config), command, {}, lines, summary)


LENGTH = ('train.length', '8 epochs')
STUDY = [
    run_of('base_a', (LENGTH,), model={'name': 'BaseNet'}),
    run_of('improved_a', (LENGTH,), model={'name': 'ImprovedNet'}),
    run_of(
        'improved_a',
        (LENGTH, ('model.widths', '(32,)'), ('model.batch_norm', 'after')),
        model={'name': 'ImprovedNet', 'widths': [32], 'batch_norm': 'after'},
    ),
]


def test_s0s_plots_exclude_runs_with_other_recipes():
    excluded = {
        kept.parts(run)[0].rpartition(':')[2]
        for run in kept.read_all()
        if run.in_numpy and not plot_studies.plain(run)
    }
    assert excluded == {'adam', 'batches', 'corrected', 'dropout', 'normal'}
    assert not any(plot_studies.plain(run) for run in kept.read_all() if not run.in_numpy)


def test_s1s_study_contains_only_its_shortened_runs():
    assert all(map(plot_studies.in_s1, STUDY))
    model = {'name': 'BaseNet'}
    assert not plot_studies.in_s1(run_of('base_a', (), model=model))
    assert not plot_studies.in_s1(run_of('base_b', (LENGTH,), model=model))
    other = (LENGTH, ('schedule.rate', '0.1'))
    assert not plot_studies.in_s1(run_of('base_a', other, model=model))


def test_depth_is_the_number_of_convolutions():
    assert [plot_studies.convolutions(run) for run in STUDY] == [2, 4, 2]


@pytest.mark.parametrize(('test', 'panels'), [(True, 3), (False, 2)])
def test_s1s_plot_has_a_panel_per_split_and_one_with_curves(tmp_path, test, panels):
    study = [run._replace(summary=run.summary if test else {'val_accuracy': 0.4}) for run in STUDY]
    plot_studies.networks(study, tmp_path / 'a.svg')
    text = (tmp_path / 'a.svg').read_text()
    assert text.count('<g id="axes_') == panels
    assert '<dc:date>' not in text


def test_runs_of_different_lengths_are_not_compared(tmp_path):
    longer = run_of('base_a', (LENGTH,), model={'name': 'BaseNet'}, length='9 epochs')
    with pytest.raises(UserError, match='8 epochs and 9 epochs'):
        plot_studies.networks([*STUDY, longer], tmp_path / 'a.svg')
