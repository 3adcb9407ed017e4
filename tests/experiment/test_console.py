"""Console output and metrics.jsonl of a run, without a terminal."""

import asyncio
import gc
import os
import signal
import sys
import time
from typing import Any

import jax
import pytest

from cifar_jax import main
from cifar_jax.errors import UserError
from cifar_jax.experiment import console, watcher
from cifar_jax.experiment import run as experiment_run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir

Line = dict[str, Any]


def line_of(epoch: int, **more: float) -> Line:
    return {
        'epoch': epoch,
        'step': 10 * epoch,
        'train_loss': 1 / epoch,
        'train_accuracy': 0.25,
        'images_per_second': 12345.6,
        'seconds': 65.0,
        **more,
    }


def watcher_of(workdir: Workdir, **options: Any) -> watcher.Watcher:
    defaults = {'total_steps': 40, 'steps_per_epoch': 10, 'batch_size': 16, 'every': 5}
    return watcher.Watcher(workdir, **{**defaults, 'tensorboard': False, **options})


def written(workdir: Workdir) -> list[Line]:
    return workdirs.read_metrics(workdir)


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until the test moves it."""
    now = [1000.0]
    monkeypatch.setattr(watcher.time, 'perf_counter', lambda: now[0])
    return now


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0.0, '0.0 s'),
        (2.51, '2.5 s'),
        (59.94, '59.9 s'),
        (60.0, '1 min 00 s'),
        (125.0, '2 min 05 s'),
        (3599.9, '59 min 59 s'),
        (3600.0, '1 h 00 min'),
        (3725.0, '1 h 02 min'),
        (90061.0, '25 h 01 min'),
    ],
)
def test_a_duration_reads_as_a_person_would_say_it(seconds, text):
    assert console.duration(seconds) == text


def test_an_epoch_is_one_plain_line(workdir, capsys):
    watcher = watcher_of(workdir)
    with watcher.watching():
        watcher.started(0, [])
        watcher.epoch_ended(line_of(2, val_loss=0.75, val_accuracy=0.5), None)
    assert capsys.readouterr().out == (
        'epoch   2  train loss 0.5000 accuracy 25.00%'
        '  validation loss 0.7500 accuracy 50.00%  12,346 images/s  1 min 05 s\n'
    )


def test_without_validation_its_columns_are_left_out(workdir, capsys):
    watcher = watcher_of(workdir)
    watcher.started(0, [])
    watcher.epoch_ended(line_of(1), None)
    assert 'validation' not in capsys.readouterr().out


def test_without_a_terminal_progress_is_a_plain_line_now_and_then(workdir, capsys, clock):
    watcher = watcher_of(workdir)
    with watcher.watching():
        watcher.started(0, [])
        watcher.stepped(1)  # the compilation, which no speed is taken from
        for step in (11, 21):
            clock[0] += 40
            watcher.stepped(step)
    out = capsys.readouterr().out
    assert out == 'step 21/40  4 images/s  1 min 16 s left\n'
    assert '\x1b' not in out
    assert '\r' not in out


def test_the_run_is_looked_at_every_so_many_steps_and_after_the_first(workdir):
    watcher = watcher_of(workdir, every=5)
    watcher.started(7, [])
    assert [step for step in range(8, 21) if watcher.wants(step)] == [8, 10, 15, 20]


def test_metrics_grow_by_a_line_per_epoch(workdir):
    watcher = watcher_of(workdir)
    watcher.started(0, [])
    for epoch in (1, 2):
        watcher.epoch_ended(line_of(epoch), None)
    assert written(workdir) == [line_of(1), line_of(2)]


def test_a_resumed_run_drops_the_lines_that_its_checkpoint_does_not_know(workdir, capsys):
    first = watcher_of(workdir)
    first.started(0, [])
    for epoch in (1, 2, 3):
        first.epoch_ended(line_of(epoch), None)
    with workdir.metrics.open('a') as file:
        file.write('{"epoch": 4, "st')  # as a kill in mid-write leaves it
    watcher_of(workdir).started(20, [line_of(1), line_of(2)])
    assert written(workdir) == [line_of(1), line_of(2)]
    assert 'resumed at step 20 of 40' in capsys.readouterr().out


def test_a_new_run_begins_with_an_empty_file(workdir, capsys):
    watcher_of(workdir).started(0, [])
    assert written(workdir) == []
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_handlers_are_put_back(workdir, capsys, number):
    before = signal.getsignal(number)
    watcher = watcher_of(workdir)
    with watcher.watching():
        assert not watcher.stop
        os.kill(os.getpid(), number)
        assert watcher.stop
        assert watcher.signal == signal.Signals(number).name
        assert signal.getsignal(number) is signal.SIG_DFL, 'a second one ends it immediately'
    assert signal.getsignal(number) is before
    assert 'stopping after this step' in capsys.readouterr().out


def test_sigterm_ends_a_command_that_has_nothing_to_save_with_75():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, console.exit_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 75
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ('summary', 'status'),
    [
        ({'finished': True}, 0),
        ({'finished': False, 'signal': 'SIGINT'}, 130),
        ({'finished': False, 'signal': 'SIGTERM'}, 75),
    ],
)
def test_the_status_of_a_run_tells_whether_it_finished_and_what_stopped_it(
    summary, status, monkeypatch
):
    monkeypatch.setattr(experiment_run, 'train', lambda *_, **__: summary)
    with pytest.raises(SystemExit) as ended:
        main.main(['--config', 'configs/senet.py:smoke'])
    assert ended.value.code == status


def test_tensorboard_gets_events(workdir):
    watcher = watcher_of(workdir, tensorboard=True)
    with watcher.watching():
        watcher.started(0, [])
        watcher.epoch_ended(line_of(1, val_loss=0.75, val_accuracy=0.5), None)
    (events,) = (workdir.path / 'tensorboard').iterdir()
    content = events.read_bytes()
    for tag in (b'loss/train', b'loss/val', b'accuracy/val', b'images_per_second'):
        assert tag in content


def test_pictures_are_drawn_where_a_multiple_of_their_distance_has_passed_and_at_the_end(workdir):
    drawn = []
    options = {
        'draw': lambda step, variables: drawn.append((step, variables)) or (),
        'draw_every': 15,
    }
    watcher = watcher_of(workdir, tensorboard=True, **options)
    with watcher.watching():
        watcher.started(0, [])
        for epoch in (1, 2, 3, 4):
            watcher.epoch_ended({**line_of(epoch), 'step': 10 * epoch}, f'after {epoch}')
    assert drawn == [(20, 'after 2'), (30, 'after 3'), (40, 'after 4')]


@pytest.mark.parametrize(
    ('error', 'code', 'message'),
    [
        (UserError('Lower the rate.'), 1, 'cifar_jax: Lower the rate.\n'),
        (OSError(28, 'No space left', 'w/x'), 1, 'cifar_jax: w/x: No space left\n'),
        (KeyboardInterrupt(), 130, ''),
    ],
)
def test_what_a_user_can_fix_ends_the_program_with_one_sentence(capsys, error, code, message):
    with pytest.raises(SystemExit) as end, console.mistakes_as_sentences():
        raise error
    assert end.value.code == code
    assert capsys.readouterr().err == message


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), console.mistakes_as_sentences():
        raise ZeroDivisionError


def test_a_table_is_as_wide_as_it_needs_to_be_and_its_text_is_no_markup(capsys):
    console.table('[red]runs', ('[red]name', 'value'), [('x' * 150, '[bold]1')])
    out = capsys.readouterr().out
    assert 'x' * 150 in out
    assert all(text in out for text in ('[red]runs', '[red]name', '[bold]1'))


@pytest.mark.parametrize(
    ('message', 'shown'), [('Event loop is closed', False), ('something else', True)]
)
def test_exceptions_that_nothing_can_catch_are_shown_but_for_a_harmless_one(
    monkeypatch, message, shown
):
    class Failing:
        def __del__(self):
            raise RuntimeError(message)

    messages = []
    hook = lambda unraisable: messages.append(str(unraisable.exc_value))  # noqa: E731
    monkeypatch.setattr(sys, 'unraisablehook', hook)
    console.show_log()
    console.show_log()
    Failing()
    assert messages == [message] * shown


@pytest.mark.parametrize(
    ('number', 'error'), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_that_arrives_in_a_destructor_is_not_lost(monkeypatch, number, error):
    class Collected:
        def __del__(self):
            os.kill(os.getpid(), number)

    def collect():
        Collected()
        time.sleep(10)

    lost = []
    monkeypatch.setattr(sys, 'unraisablehook', lost.append)
    console.show_log()
    start = time.monotonic()
    with pytest.raises(error), console.exit_on_sigterm():
        collect()
    assert time.monotonic() - start < 8, 'the process waits for nothing'
    assert not lost


@pytest.mark.parametrize(
    'error',
    [
        MemoryError('Unable to allocate 9 TiB'),
        jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nat x'),
    ],
)
def test_too_little_memory_is_one_sentence(capsys, error):
    with pytest.raises(SystemExit) as end, console.mistakes_as_sentences():
        raise error
    assert end.value.code == 1
    problem = str(error).partition('\n')[0]
    assert capsys.readouterr().err == (
        f'cifar_jax: There is not enough memory ({problem}): make config.train.batch_size, '
        'config.eval_batch_size, the images or the model smaller, or raise '
        'config.train.accumulate.\n'
    )


def test_other_errors_of_jax_are_not_hidden():
    with pytest.raises(jax.errors.JaxRuntimeError), console.mistakes_as_sentences():
        raise jax.errors.JaxRuntimeError('INTERNAL: a mistake')


def test_errors_of_tasks_that_nobody_asked_for_are_not_logged(caplog):
    console.show_log()

    async def fail():
        raise ValueError

    async def start():
        asyncio.ensure_future(fail())  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(start())
    gc.collect()
    assert not caplog.records
