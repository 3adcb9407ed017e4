"""The commands as a user runs them: in separate processes, which are also killed."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.training import history

ROOT = pathlib.Path(__file__).parents[2]
WALL_TIMES = ('seconds', 'images_per_second')
PATIENCE = 300  # seconds, on a machine with much else to do
EPOCHS, STEPS_PER_EPOCH, EVERY = 6, 10, 3

# All runs share this model, so that it is compiled once. Dropout, DropBlock and the shifted crops
# are what a resumed run could get wrong; the average is a second set of weights to restore.
TINY = {
    'model.widths': '(4, 8)',
    'model.kernels': '(3, 3)',
    'model.dropblock_sizes': '(2,)',
    'model.hidden': 8,
    'data.fraction': 0.15,
    'data.augment': '[{"name": "translate", "pixels": 2}]',
    'ema': 0.9,
    'train.batch_size': 16,
    'train.length': f'{EPOCHS} epochs',
    'checkpoint.every': f'{EVERY} steps',
    'eval_batch_size': 50,
    'log.tensorboard': 'false',
}


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """A shared compilation cache, and a proxy that refuses, so that there is no network."""
    proxy = 'http://127.0.0.1:9'
    return os.environ | {
        'CIFAR_JAX_CACHE': str(tmp_path_factory.mktemp('cache')),
        'http_proxy': proxy,
        'https_proxy': proxy,
        'no_proxy': '',
    }


@pytest.fixture(scope='module')
def start(environment):
    """Starts a command of cifar_jax in the repository's folder."""
    processes = []

    def start(command: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, '-m', f'cifar_jax.{command}', *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope='module')
def run(start):
    """Runs a command to its end."""

    def run(command: str, *arguments: object) -> Done:
        return finish(start(command, *arguments))

    return run


@pytest.fixture(scope='module')
def unbroken(run, tmp_path_factory):
    """The workdir and the output of a run that nothing disturbs."""
    workdir = tmp_path_factory.mktemp('unbroken')
    return workdir, run('main', *training(workdir))


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=PATIENCE)
    return Done(process.returncode, out, err)


def training(workdir: pathlib.Path, **overrides: object) -> list[str]:
    """The arguments of a tiny run; `train__length` stands for `train.length`."""
    values = TINY | {key.replace('__', '.'): value for key, value in overrides.items()}
    settings = [f'--config.{key}={value}' for key, value in values.items()]
    config = ['--config', 'configs/plain_cnn.py:smoke']
    return [*config, *settings, '--workdir', str(workdir), '--json']


def last_object(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err + done.out
    value = json.loads(done.out.splitlines()[-1])
    assert isinstance(value, dict)
    return value


def lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, wall times aside."""
    parsed = history.read(workdir / history.FILE)
    for line in parsed:
        for key in WALL_TIMES:
            assert line.pop(key) > 0
    return parsed


def wait_for(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Waits for something in a run's workdir."""
    until = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def first_epoch_over(workdir: pathlib.Path) -> bool:
    path = workdir / 'metrics.jsonl'
    return path.exists() and '\n' in path.read_text()


def in_the_second_epoch(workdir: pathlib.Path) -> bool:
    return (workdir / 'checkpoints' / f'{STEPS_PER_EPOCH + 2}').exists()


def assert_same_run(workdir: pathlib.Path, done: Done, unbroken: tuple[pathlib.Path, Done]) -> None:
    assert last_object(done)['sha256'] == last_object(unbroken[1])['sha256']
    assert lines(workdir) == lines(unbroken[0])


def assert_one_sentence(done: Done, *parts: str) -> None:
    assert done.code == 1, done
    assert done.err.startswith('cifar_jax: ')
    assert done.err.count('\n') == 1
    assert 'Traceback' not in done.err + done.out
    for part in parts:
        assert part in done.err


@pytest.mark.slow
def test_training_ends_with_one_object_of_its_results(unbroken):
    workdir, done = unbroken
    summary = last_object(done)
    assert summary['finished'] is True
    assert (summary['step'], summary['epoch']) == (EPOCHS * STEPS_PER_EPOCH, EPOCHS)
    assert {'seconds', 'train_loss', 'train_accuracy', 'val_loss', 'val_accuracy'} <= set(summary)
    assert re.fullmatch('[0-9a-f]{64}', summary['sha256'])
    assert f'weights sha256 {summary["sha256"]}' in done.out
    assert workdirs.read_summary(Workdir(workdir)) == summary


@pytest.mark.slow
def test_metrics_jsonl_has_a_line_per_epoch(unbroken):
    log = lines(unbroken[0])
    assert [line['epoch'] for line in log] == [*range(1, EPOCHS + 1)]
    assert [line['step'] for line in log] == [STEPS_PER_EPOCH * n for n in range(1, EPOCHS + 1)]
    assert all('train_loss' in line and 'val_accuracy' in line for line in log)


@pytest.mark.slow
def test_without_a_terminal_the_output_is_plain_lines(unbroken):
    done = unbroken[1]
    assert not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', done.out), 'no control characters'
    epochs = re.findall(r'^epoch +\d+  train loss', done.out, re.MULTILINE)
    assert len(epochs) == EPOCHS
    assert done.err == ''


@pytest.mark.slow
@pytest.mark.parametrize('moment', [first_epoch_over, in_the_second_epoch])
def test_a_run_killed_at_any_moment_resumes_with_the_same_bits(
    unbroken, start, run, tmp_path, moment
):
    arguments = training(tmp_path / 'w')
    process = start('main', *arguments)
    wait_for(process, lambda: moment(tmp_path / 'w'))
    process.kill()
    assert finish(process).code == -signal.SIGKILL

    done = run('main', *arguments)
    resumed = re.search(rf'resumed at step (\d+) of {EPOCHS * STEPS_PER_EPOCH}', done.out)
    assert resumed, done
    assert int(resumed[1]) > 0
    assert_same_run(tmp_path / 'w', done, unbroken)


@pytest.mark.slow
def test_sigterm_ends_with_75_after_the_step_and_the_run_resumes_with_the_same_bits(
    unbroken, start, run, tmp_path
):
    arguments = training(tmp_path / 'w')
    process = start('main', *arguments)
    wait_for(process, lambda: in_the_second_epoch(tmp_path / 'w'))
    process.send_signal(signal.SIGTERM)
    stopped = finish(process)
    assert stopped.code == 75, stopped
    assert 'Traceback' not in stopped.err
    report = json.loads(stopped.out.splitlines()[-1])
    assert report['finished'] is False
    assert f'stopped at step {report["step"]}' in stopped.out

    done = run('main', *arguments)
    assert f'resumed at step {report["step"]} of' in done.out
    assert_same_run(tmp_path / 'w', done, unbroken)


@pytest.mark.slow
def test_a_run_made_longer_equals_one_that_was_long_from_the_start(unbroken, run, tmp_path):
    folder = tmp_path / 'w'
    assert last_object(run('main', *training(folder, train__length='1 epochs')))['epoch'] == 1
    longer = run('main', *training(folder))
    assert f'resumed at step {STEPS_PER_EPOCH} of' in longer.out
    # The rate is constant and no duration is a percentage of the run: its length changes no step.
    assert_same_run(folder, longer, unbroken)


@pytest.mark.slow
def test_early_stopping_reports_the_best_weights_and_evaluate_sees_the_same(run, tmp_path):
    # A rate this large spoils the weights, so that nothing gets better for long.
    overrides = {'schedule__rate': 0.5, 'train__patience': 2, 'train__length': '30 epochs'}
    summary = last_object(run('main', *training(tmp_path / 'w', **overrides)))
    log = lines(tmp_path / 'w')
    best = max(log, key=lambda line: line['val_accuracy'])
    assert len(log) == best['epoch'] + 2 < 30
    assert summary['step'] == best['step']

    arguments = ['--workdir', tmp_path / 'w', '--split', 'validation', '--json']
    result = last_object(run('evaluate', *arguments))
    assert set(result) == {'split', 'images', 'loss', 'accuracy', 'top5', 'sha256'}
    assert (result['split'], result['images']) == ('validation', 43)
    assert result['sha256'] == summary['sha256']
    for key in ('loss', 'accuracy', 'top5'):
        assert summary[f'val_{key}'] == best[f'val_{key}']
        assert result[key] == pytest.approx(best[f'val_{key}'], rel=1e-6)


@pytest.mark.slow
def test_a_workdir_of_another_config_is_refused(unbroken, run):
    workdir, _ = unbroken
    before = (workdir / 'metrics.jsonl').read_bytes()
    done = run('main', *training(workdir, seed=1))
    assert_one_sentence(done, 'seed (0 there, 1 here)', 'choose another --workdir')
    assert (workdir / 'metrics.jsonl').read_bytes() == before


def test_a_misspelt_key_is_one_sentence(run, tmp_path):
    done = run('main', *training(tmp_path / 'w', train__lenght=3))
    assert_one_sentence(done, "No config key 'train.lenght': did you mean 'train.length'?")
    assert not (tmp_path / 'w').exists()


def test_a_workdir_that_does_not_exist_is_one_sentence(run, tmp_path):
    done = run('evaluate', '--workdir', tmp_path / 'nowhere')
    assert_one_sentence(done, 'No workdir', 'nowhere')


def test_a_data_set_that_is_not_available_is_one_sentence_in_half_a_minute(run, tmp_path):
    began = time.monotonic()
    folders = (f'--config.data.dir={tmp_path / "data"}', '--workdir', tmp_path / 'w')
    done = run('main', '--config', 'configs/senet.py', *folders)
    assert time.monotonic() - began < 30
    assert_one_sentence(
        done, "'cifar10'", str(tmp_path / 'data'), ':digits', '--config.data.dir', 'cannot be'
    )
