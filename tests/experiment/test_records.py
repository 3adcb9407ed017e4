"""The record of a run, read from its files."""

import json
import re

import pytest
from kept_runs import line, make

from cifar_jax.errors import UserError
from cifar_jax.experiment import records
from cifar_jax.experiment import workdir as workdirs


def test_the_chosen_weights_and_the_time_to_the_best_ones(tmp_path):
    last = records.read(make(tmp_path / 'last'))
    best = records.read(make(tmp_path / 'best', train__select='best'))
    assert (last.validation, best.validation) == (0.5, 0.6)
    assert last.seconds_to_best == best.seconds_to_best == 20
    assert last.images_per_second == 102


def test_what_a_run_does_not_say_is_none(tmp_path):
    run = records.read(make(tmp_path / 'w', [None, None], data__validation='none'))
    assert (run.validation, run.test, run.seconds_to_best) == (None, None, None)
    begun = records.read(make(tmp_path / 'v', [], finished=False))
    assert (begun.validation, begun.images_per_second, begun.seconds_to_best) == (None, None, None)


def test_what_is_no_workdir_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='No workdir'):
        records.read(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='is not the workdir of a run'):
        records.read(tmp_path / 'empty')


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
        records.read(folder)


def first_digit_changed(path):
    text = path.read_text()
    digit = re.search(r'(?<=accuracy": 0\.)\d', text)
    path.write_text(f'{text[: digit.start()]}{9 - int(digit[0])}{text[digit.end() :]}')


def test_a_changed_number_is_noticed(tmp_path):
    folder = make(tmp_path / 'w')
    workdir = workdirs.Workdir(folder)
    lines = workdirs.read_metrics(workdir)
    workdirs.write_metrics(workdir, lines)
    workdirs.write_summary(workdir, workdirs.read_summary(workdir) | {'val_accuracy': 0.5})
    assert records.read(folder).lines == lines
    for name, problem in (
        ('metrics.jsonl', 'is damaged in line 1'),
        ('summary.json', 'does not match its own checksum'),
    ):
        kept = (folder / name).read_text()
        first_digit_changed(folder / name)
        with pytest.raises(UserError, match=rf'{name} {problem}: restore it from a copy'):
            records.read(folder)
        (folder / name).write_text(kept)


def test_a_line_that_is_damaged_in_the_middle_does_not_hide_the_lines_after_it(tmp_path):
    folder = make(tmp_path / 'w')
    metrics = folder / 'metrics.jsonl'
    first, *rest = metrics.read_text().splitlines(keepends=True)
    metrics.write_text(''.join([first[:-5], '\n', *rest]))
    with pytest.raises(UserError, match=r'metrics\.jsonl is damaged in line 1'):
        records.read(folder)


def test_a_summary_belongs_to_the_epochs_that_it_was_written_after(tmp_path):
    folder = make(tmp_path / 'w')
    summary = {'finished': True, 'seconds': 30.0, 'test': {'accuracy': 0.7}}
    (folder / 'summary.json').write_text(json.dumps(summary))
    assert records.read(folder).test == 0.7
    with (folder / 'metrics.jsonl').open('a') as file:  # the run is extended, and resumes
        file.write(json.dumps(line(4, 0.7)) + '\n')
    assert records.read(folder).summary == {}


def test_the_speed_of_two_epochs_is_that_of_the_faster(tmp_path):
    assert records.read(make(tmp_path / 'w', [0.4, 0.6])).images_per_second == 102
