"""TensorBoard events of a run that is killed and resumes."""

import pathlib

import pytest

from cifar_jax.experiment.events import Events
from fault_campaigns.kills import event_steps


@pytest.fixture
def write(tmp_path):
    """Starts a run that is killed after some steps: its file is not closed before the test ends."""
    files = []

    def write(start, steps):
        files.append(Events(tmp_path / 'tensorboard', start))
        for step in steps:
            files[-1].add_scalar('loss/val', 0.5, step)
            files[-1].flush()

    yield write
    for file in files:
        file.close()


def test_events_are_in_the_file_when_they_are_flushed(write, tmp_path):
    write(0, [10, 20])
    assert event_steps(tmp_path)['loss/val'] == [10, 20]


def test_a_run_that_resumes_replaces_the_epochs_that_it_computes_again(write, tmp_path):
    write(0, [10, 20, 30])
    write(10, [20])
    write(20, [30, 40])
    assert event_steps(tmp_path)['loss/val'] == [10, 20, 30, 40]


def test_two_starts_within_a_second_have_files_of_their_own(write, tmp_path):
    for start in range(5):
        write(start, [start + 1])
    assert event_steps(tmp_path)['loss/val'] == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not pathlib.Path('/dev/full').exists(), reason='needs a device that is full')
def test_a_full_disk_is_an_error_of_the_call_and_not_of_a_thread(tmp_path):
    events = Events(tmp_path / 'tensorboard', 0)
    record_writer = events._writer._py_recordio_writer
    record_writer._writer.close()
    with (
        open('/dev/full', 'wb', buffering=0) as record_writer._writer,
        pytest.raises(OSError, match='No space left'),
    ):
        events.add_scalar('loss/val', 0.5, 10)
