"""The history of a run: the best epoch, the reported epoch, and early stopping."""

import hashlib
import json
import math

import pytest
from ml_collections import ConfigDict

from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.training import history


def lines_of(*values, metric='loss'):
    return [{'epoch': n, f'val_{metric}': value} for n, value in enumerate(values, 1)]


def train_config(**options):
    return ConfigDict({'monitor': 'loss', 'patience': 0, 'select': 'last'} | options)


def epochs_until_stop(patience, losses, monitor='loss'):
    """The number of epochs after which a run with these validation results stops."""
    lines = lines_of(*map(float, losses), metric=monitor)
    config = train_config(patience=patience, monitor=monitor)
    return next(
        (n for n in range(len(lines) + 1) if history.out_of_patience(lines[:n], config)), None
    )


@pytest.mark.parametrize(
    ('patience', 'losses', 'epochs'),
    [
        (1, [3, 2, 2.5, 1], 3),
        (2, [3, 2, 2.5, 2.2, 1], 4),
        (2, [3, 2, 2.5, 1.9, 2, 2, 2], 6),
        (3, [1, 2, 3, 4, 5], 4),
        (2, [1, 1, 1, 1], 3),  # an equal one is not better
        (2, [5, 4, 3, 2, 1], None),
        (0, [1, 2, 3, 4, 5], None),
    ],
)
def test_a_run_stops_after_patience_epochs_without_a_lower_loss(patience, losses, epochs):
    assert epochs_until_stop(patience, losses) == epochs


def test_a_run_stops_after_patience_epochs_without_a_higher_accuracy():
    assert epochs_until_stop(2, [0.1, 0.3, 0.2, 0.3, 0.5], 'accuracy') == 4


def test_the_best_has_the_lowest_loss_or_the_highest_accuracy():
    lines = [
        {'val_loss': 2.0, 'val_accuracy': 0.3},
        {'val_loss': 1.0, 'val_accuracy': 0.2},
        {'val_loss': 3.0, 'val_accuracy': 0.1},
    ]
    assert history.best(lines, 'loss') is lines[1]
    assert history.best(lines, 'accuracy') is lines[0]


def test_of_equal_epochs_the_earliest_is_the_best():
    lines = lines_of(2.0, 1.0, 1.0)
    assert history.best(lines, 'loss') is lines[1]


def test_epochs_without_validation_have_no_best_and_never_run_out_of_patience():
    lines = [{'epoch': 1}, {'epoch': 2}]
    assert history.best(lines, 'accuracy') is None
    assert not history.out_of_patience(lines, train_config(patience=1))


@pytest.mark.parametrize(
    ('options', 'epoch'),
    [({}, 3), ({'select': 'best'}, 2), ({'patience': 5}, 2), ({'patience': 1}, 2)],
)
def test_the_reported_epoch_is_the_last_or_with_best_or_patience_the_best(options, epoch):
    assert history.chosen(lines_of(2.0, 1.0, 3.0), train_config(**options))['epoch'] == epoch


@pytest.mark.parametrize('options', [{}, {'select': 'best'}, {'patience': 1}])
def test_without_validation_the_last_epoch_is_reported(options):
    lines = [{'epoch': 1}, {'epoch': 2}, {'epoch': 3}]
    assert history.chosen(lines, train_config(**options))['epoch'] == 3


@pytest.mark.parametrize(('checkpoint', 'epoch'), [('best', 2), ('chosen', 3)])
def test_a_checkpoint_is_selected_by_its_role(checkpoint, epoch):
    line = history.line_of_checkpoint(lines_of(2.0, 1.0, 3.0), train_config(), checkpoint)
    assert line['epoch'] == epoch


def test_the_latest_checkpoint_and_an_empty_log_have_no_line():
    assert history.line_of_checkpoint(lines_of(2.0, 1.0), train_config(), 'latest') is None
    assert history.line_of_checkpoint([], train_config(), 'best') is None


@pytest.mark.parametrize('bad', [math.nan, math.inf])
@pytest.mark.parametrize('position', [0, 1, 2])
def test_nan_and_infinite_losses_are_never_the_best(bad, position):
    losses = [2.0, 1.0]
    losses.insert(position, bad)
    assert history.best(lines_of(*losses), 'loss')['val_loss'] == 1.0


def test_only_nan_is_no_best():
    assert history.best(lines_of(math.nan, math.nan), 'loss') is None


LINE = '{"epoch": 1, "step": 5, "seconds": 2.5, "val_loss": 1.0}'


def read(folder, *lines):
    path = folder / history.FILE
    path.write_bytes(b'\n'.join(line.encode(errors='surrogateescape') for line in lines))
    return history.read(path)


def test_a_run_without_a_log_has_no_lines(tmp_path):
    assert history.read(tmp_path / history.FILE) == []


def test_the_lines_of_a_log_are_read(tmp_path):
    lines = read(tmp_path, LINE, LINE.replace('1,', '2,'))
    assert lines[0] == {'epoch': 1, 'step': 5, 'seconds': 2.5, 'val_loss': 1.0}
    assert [line['epoch'] for line in lines] == [1, 2]


DAMAGED = ['{"epoch": 2, "st', ' ', '\udcff\udcfe', '[' * 100_000]


@pytest.mark.parametrize('damaged', DAMAGED)
def test_a_log_is_read_without_a_last_line_that_is_truncated(tmp_path, damaged):
    assert len(read(tmp_path, LINE, damaged)) == 1


@pytest.mark.parametrize('damaged', DAMAGED)
def test_a_damaged_line_before_others_is_refused_with_its_number(tmp_path, damaged):
    with pytest.raises(UserError, match=r'metrics\.jsonl is damaged in line 2'):
        read(tmp_path, LINE, damaged, LINE)


def test_a_line_is_read_without_its_checksum_and_refused_where_that_is_wrong(tmp_path):
    with_checksum = json.dumps(files.with_checksum(json.loads(LINE)))
    assert read(tmp_path, with_checksum) == [json.loads(LINE)]
    with pytest.raises(UserError, match=r'metrics\.jsonl is damaged in line 1'):
        read(tmp_path, with_checksum.replace('"val_loss": 1.0', '"val_loss": 0.1'))


@pytest.mark.parametrize(
    'line',
    [
        '[1]',
        '7',
        '{}',
        LINE.replace('"epoch"', '"epochs"'),
        LINE.replace('"step"', '"steps"'),
        LINE.replace('"seconds"', '"time"'),
        LINE.replace('5, ', '"5", ', 1),
        LINE.replace('1,', 'true,'),
    ],
)
def test_what_is_no_line_of_a_log_is_refused_with_its_number(tmp_path, line):
    with pytest.raises(UserError, match=r'metrics\.jsonl is damaged in line 2'):
        read(tmp_path, LINE, line)


def test_the_digest_of_a_log_follows_its_values_and_not_the_order_of_its_keys():
    lines = [{'epoch': 1, 'val_loss': 2.0}]
    assert history.sha256(lines) == history.sha256([{'val_loss': 2.0, 'epoch': 1}])
    assert history.sha256(lines) != history.sha256([{'epoch': 1, 'val_loss': 2.5}])
    assert history.sha256(lines) == hashlib.sha256(b'[{"epoch": 1, "val_loss": 2.0}]').hexdigest()
