"""The plots of the studies, and the selection of their runs."""

import pathlib

import pytest

import plot_studies
from cifar_jax.errors import UserError
from cifar_jax.experiment import records as runs

A = 'configs/cifar100_25.py:'


def run_of(name, overrides, *, model, length='8 epochs', test=True) -> runs.Run:
    """Returns a run of S1's study with two epochs."""
    lines = [{'epoch': n, 'val_accuracy': 0.2 * n, 'images_per_second': 5.0} for n in (1, 2)]
    summary = {'val_accuracy': 0.4} | ({'test': {'accuracy': 0.3}} if test else {})
    config = {'seed': 0, 'model': model, 'train': {'length': length}}
    return runs.Run(pathlib.Path(name), A + name, overrides, config, {}, lines, summary)


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
        run.spec.rpartition(':')[2]
        for run in runs.read_all()
        if run.in_numpy and not plot_studies.plain(run)
    }
    assert excluded == {'adam', 'batches', 'corrected', 'dropout', 'normal'}
    assert not any(plot_studies.plain(run) for run in runs.read_all() if not run.in_numpy)


def test_s1s_study_contains_only_its_shortened_runs():
    assert all(map(plot_studies.in_s1, STUDY))
    [base, *_] = STUDY
    assert not plot_studies.in_s1(base._replace(overrides=()))
    assert not plot_studies.in_s1(base._replace(spec=f'{A}base_b'))
    assert not plot_studies.in_s1(base._replace(overrides=(LENGTH, ('schedule.rate', '0.1'))))


def test_depth_is_the_number_of_convolutions():
    assert [plot_studies.convolutions(run) for run in STUDY] == [2, 4, 2]


@pytest.mark.parametrize(('test', 'panels'), [(True, 3), (False, 2)])
def test_s1s_plot_has_a_panel_per_split_and_one_with_curves(tmp_path, test, panels):
    study = [
        run_of(run.spec[len(A) :], run.overrides, model=run.config['model'], test=test)
        for run in STUDY
    ]
    plot_studies.networks(study, tmp_path / 'a.svg')
    text = (tmp_path / 'a.svg').read_text()
    assert text.count('<g id="axes_') == panels
    assert '<dc:date>' not in text


def test_runs_of_different_lengths_are_not_compared(tmp_path):
    longer = run_of('base_a', (LENGTH,), model={'name': 'BaseNet'}, length='9 epochs')
    with pytest.raises(UserError, match='8 epochs and 9 epochs'):
        plot_studies.networks([*STUDY, longer], tmp_path / 'a.svg')
