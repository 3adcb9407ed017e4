"""The README's table and the plots of the NumPy runs rest on results/."""

import pathlib

import numpy_results
import plot_numpy

README = pathlib.Path(__file__).parent.parent / 'README.md'


def test_the_table_of_the_readme_is_the_one_of_the_results():
    assert f'\n{numpy_results.table()}\n' in README.read_text()


def test_seeds_of_one_command_are_one_group():
    for command, runs in numpy_results.groups().items():
        assert 'seed' not in command
        assert sorted(run.config['seed'] for run in runs) == [0, 1, 2]


def test_every_run_was_tested_once_on_the_weights_that_it_reports():
    for runs in numpy_results.groups().values():
        for run in runs:
            assert run.summary['test']['sha256'] == run.summary['sha256']
            assert run.summary['test']['images'] == 500


def test_plots_leave_out_what_s0_did_not_have():
    left_out = {
        command.rpartition(':')[2]
        for command, runs in numpy_results.groups().items()
        if not any(map(plot_numpy.plain, runs))
    }
    assert left_out == {'adam', 'batches', 'corrected', 'dropout', 'normal'}
