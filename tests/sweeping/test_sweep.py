"""Sweeps: the grid of runs, their names, and recovery from failures."""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from cifar_jax import files, sweep
from cifar_jax.errors import UserError
from cifar_jax.experiment import locks
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.sweeping import estimate, grid, jobs, loop, show, state
from cifar_jax.sweeping.jobs import Job

ROOT = pathlib.Path(__file__).parents[2]
VGG = str(ROOT / 'configs/small_vgg.py:smoke')
CHILD = ROOT / 'cifar_jax/sweeping/child.py'
PATIENCE = 300  # seconds, on a machine with much else to do
TINY = [
    *('--config', VGG, '--set', 'model.widths=(4,)', '--set', 'data.fraction=0.2'),
    *('--set', 'train.length=12 epochs', '--set', 'log.tensorboard=false', '--jobs', '2'),
    *('--grid', 'schedule.rate=0.001', '--evaluate', 'test', '--json'),
]
NAME = 'small_vgg-smoke-widths=4-fraction=0.2-length=12_epochs-tensorboard=false-rate=0.001'
LONG = 'data.augment=[' + ', '.join(['{"name": "cutout", "size": 4}'] * 5) + ']'
GOOD, ALL = ['--seeds', '0,1'], ['--seeds', '0,1,2']


def names(specs=(VGG,), seeds=(0,), **options) -> list[str]:
    return [task.name for task in grid.tasks(pathlib.Path('out'), specs, seeds, **options)]


def task_in(folder: pathlib.Path, length: str = '10 epochs', seed: int = 0) -> grid.Task:
    [task] = grid.tasks(folder, [VGG], [seed], [f'train.length={length}'])
    return task


def training(folder: pathlib.Path, epochs: int, seed: int = 0) -> Job:
    """A run, ten epochs of which take a second each, that has finished some of them."""
    task = task_in(folder, seed=seed)
    lines = [{'epoch': n, 'step': 5 * n, 'seconds': 1.0} for n in range(1, epochs + 1)]
    if lines:
        workdirs.write_metrics(task.workdir, lines)
    return Job(task)


def finished(task: grid.Task) -> None:
    """Writes what a finished run leaves."""
    workdirs.prepare(task.workdir, task.config, '')
    files.write_json(task.workdir.summary, {'finished': True})


def command(out: pathlib.Path) -> list[str]:
    """A sweep of three seeds, the last of which fails: its workdir holds somebody's files."""
    third = out / f'{NAME}-seed2'
    third.mkdir(exist_ok=True)
    (third / 'notes.txt').touch()
    return [sys.executable, '-m', 'cifar_jax.sweep', '--out', str(out), *TINY, *ALL]


def run(capsys, out: pathlib.Path, seeds: list[str]) -> tuple[int, dict]:
    """Runs a sweep to its end: its status, and the object on its last line."""
    with pytest.raises(SystemExit) as ended:
        sweep.main(['--out', str(out), *TINY, *seeds])
    return ended.value.code, json.loads(capsys.readouterr().out.splitlines()[-1])


def without_times(result: dict) -> list[dict]:
    timed = ('time a run', 'images/s')
    return [{key: row[key] for key in row if key not in timed} for row in result['table']]


def weights(result: dict) -> list[str | None]:
    return [run['summary'] and run['summary']['sha256'] for run in result['runs']]


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """A sweep that nothing disturbs, one of whose runs fails."""
    out = tmp_path_factory.mktemp('unbroken')
    words = command(out)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    return out, done


def test_every_config_runs_with_every_combination_and_seed():
    tasks = grid.tasks(
        pathlib.Path('out'),
        [VGG, str(ROOT / 'configs/senet.py:digits')],
        [0, 3],
        ['ema=0.5'],
        ['schedule.rate=0.1,0.01', 'train.batch_size=8,16'],
    )
    assert len(tasks) == len({task.name for task in tasks}) == 2 * 2 * 2 * 2
    assert [task.seed for task in tasks] == [0] * 8 + [3] * 8, 'the first seed of all comes first'
    last = tasks[-1]
    assert last.name == 'senet-digits-ema=0.5-rate=0.01-batch_size=16-seed3'
    assert last.group == 'senet-digits-ema=0.5-rate=0.01-batch_size=16'
    values = (last.config.schedule.rate, last.config.train.batch_size, last.config.seed)
    assert values == (0.01, 16, 3)
    assert last.arguments[-1] == '--config.seed=3'


def test_a_value_may_hold_commas_in_brackets_and_quotation_marks():
    assert grid.values('none,before') == ['none', 'before']
    assert grid.values('(32,), (32, 64)') == ['(32,)', '(32, 64)']
    assert grid.values('[{"name": "a,b"}],[]') == ['[{"name": "a,b"}]', '[]']
    assert grid.values("'a]',b") == ["'a]'", 'b']


@pytest.mark.parametrize('text', ['(1', '[(1]', '"a', '', '1,,2', '1,'])
def test_values_that_are_not_whole_are_refused(text):
    with pytest.raises(UserError, match=r'closing|empty value'):
        grid.values(text)


def test_names_are_safe_for_file_systems():
    widths = ['model.widths=(8,),(8, 16)']
    assert names(settings=['train.length=8 epochs'], grids=widths) == [
        'small_vgg-smoke-length=8_epochs-widths=8-seed0',
        'small_vgg-smoke-length=8_epochs-widths=8_16-seed0',
    ]


def test_names_say_the_whole_key_where_its_last_part_is_ambiguous():
    assert names(settings=['optimizer.name=sgd']) == ['small_vgg-smoke-optimizer.name=sgd-seed0']


def test_a_name_does_not_depend_on_the_other_runs_of_the_sweep():
    one = names(settings=['schedule.rate=0.1'])
    assert one[0] in names(grids=['schedule.rate=1,0.1'])


def test_long_names_are_cut_and_stay_distinct():
    augment = '[{"name": "translate", "pixels": 2}]'
    longer = augment[:-1] + ', {"name": "cutout", "size": 4}' * 5 + ']'
    run_names = names(grids=[f'data.augment={longer},{longer[:-2]}, "p": 0.5}}]'])
    assert len(set(run_names)) == 2
    assert all(len(name) < 150 for name in run_names)


def test_long_names_begin_with_what_differs_between_the_runs():
    first, second = names(settings=[LONG], grids=['schedule.rate=0.1,0.2'])
    assert first.startswith('small_vgg-smoke-rate=0.1-augment=')
    assert second.startswith('small_vgg-smoke-rate=0.2-augment=')


def test_a_long_name_of_an_older_sweep_is_kept(tmp_path):
    options = {'settings': [LONG], 'grids': ['schedule.rate=0.1']}
    [name] = names(**options)
    *_, digest, seed = name.split('-')
    augment = '_'.join(['name_cutout_size_4'] * 5)
    older = f'small_vgg-smoke-augment={augment}-rate=0.1'[:120] + f'-{digest}-{seed}'
    (tmp_path / older).mkdir()
    tasks = grid.tasks(tmp_path, [VGG], [0, 1], **options)
    assert [task.name for task in tasks] == [older, older[:-1] + '1']


def test_values_that_no_file_name_can_tell_apart_get_a_digest():
    run_names = names(grids=['model.widths=(8, 16),[8, 16]'])
    assert len(set(run_names)) == 2
    assert all(re.fullmatch(r'small_vgg-smoke-widths=8_16-[0-9a-f]{8}-seed0', n) for n in run_names)


@pytest.mark.parametrize(
    ('specs', 'options', 'sentence'),
    [
        (['configs/smal_vgg.py'], {}, 'No config file configs/smal_vgg.py'),
        ([f'{VGG}s'], {}, "no variant 'smokes'"),
        ([VGG], {'grids': ['schedule.rat=1,2']}, "No config key 'schedule.rat'"),
        ([VGG], {'grids': ['schedule.rate=1,fast']}, "rate='fast'"),
        ([VGG], {'grids': ['model.widths=(8,),8']}, 'widths'),
        ([VGG], {'settings': ['ema']}, 'write key=value'),
        ([VGG], {'settings': ['ema=0.5'], 'grids': ['ema=0.1']}, 'ema is set 2 times'),
        ([VGG], {'grids': ['seed=0,1']}, '--seeds'),
        ([VGG, VGG], {}, 'smoke is 2 times in the sweep'),
    ],
)
def test_mistakes_are_refused_before_anything_starts(specs, options, sentence):
    with pytest.raises(UserError) as caught:
        names(specs, **options)
    assert sentence in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['0.5', 'a', '', '1,'])
def test_seeds_are_whole_numbers(text):
    with pytest.raises(argparse.ArgumentTypeError, match='whole number'):
        sweep._seeds(text)


def test_all_runs_have_as_many_cores(monkeypatch):
    monkeypatch.setattr(jobs, 'cores', lambda: [2, 3, 5, 7, 8])
    assert jobs.shares(2) == [(2, 3), (5, 7)]
    assert jobs.shares(5) == [(2,), (3,), (5,), (7,), (8,)]
    assert jobs.shares(6) == [(2,), (3,), (5,), (7,), (8,), (2,)]
    assert jobs.shares(1) == [(2, 3, 5, 7, 8)]


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='the system pins no process')
def test_a_run_keeps_to_its_cores():
    core = jobs.cores()[-1]
    show_cores = [sys.executable, '-c', 'import os; print(os.sched_getaffinity(0))']
    words = [sys.executable, CHILD, str(os.getpid()), str(core), *show_cores]
    assert subprocess.check_output(words, text=True) == f'{{{core}}}\n'


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends a process with its parent')
def test_a_run_does_not_outlive_the_sweep():
    start = (
        'import os, subprocess, sys, time\n'
        "command = [sys.executable, sys.argv[1], str(os.getpid()), '', '/bin/sleep', '600']\n"
        'subprocess.Popen(command)\n'
        "print('started', flush=True)\n"
        'time.sleep(600)'
    )
    with subprocess.Popen([sys.executable, '-c', start, CHILD], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b'started\n'
        began = time.monotonic()
        parent.kill()
        assert parent.stdout.read() == b'', 'the pipe closes when both have ended'
    assert time.monotonic() - began < PATIENCE


def test_a_finished_run_on_another_folder_is_started_to_compare_the_images(tmp_path):
    """`main` then refuses it, unless the folder has moved and its digests are the same."""
    before, after = (
        grid.tasks(tmp_path, [VGG], [0], [f'data.source=folder:/{name}'])[0]
        for name in ('before', 'after')
    )
    finished(before)
    files.write_json(before.workdir.preprocessing, {'digests': {'train': 'ab'}})
    assert jobs.next_command(before, 'none') == ''
    moved = after._replace(workdir=before.workdir)
    assert jobs.next_command(moved, 'none') == 'main'


def test_a_finished_run_lacks_what_it_was_not_evaluated_on(tmp_path):
    task = task_in(tmp_path)
    assert jobs.next_command(task, 'none') == 'main'
    finished(task)
    assert jobs.next_command(task, 'none') == ''
    assert jobs.next_command(task, 'test') == 'evaluate'
    files.write_json(task.workdir.summary, {'finished': True, 'test': {}})
    assert jobs.next_command(task, 'test') == ''


def test_a_run_that_is_to_be_longer_or_began_again_is_not_finished(tmp_path):
    task = task_in(tmp_path)
    finished(task)
    longer = task_in(tmp_path, '20 epochs')._replace(workdir=task.workdir)
    assert jobs.next_command(longer, 'none') == 'main'
    # When it resumes, main writes the config again, and the summary at its end.
    workdirs.update_config(task.workdir, longer.config)
    os.utime(task.workdir.summary, (0, 0))
    assert jobs.next_command(longer, 'none') == 'main'


def test_a_workdir_of_another_config_is_refused(tmp_path):
    task = task_in(tmp_path)
    finished(task)
    other = task._replace(config=task_in(tmp_path, seed=1).config)
    with pytest.raises(UserError, match=r'seed \(0 there, 1 here\)'):
        jobs.next_command(other, 'none')


def test_no_time_left_is_shown_before_an_epoch_is_over(tmp_path):
    assert estimate.seconds_left([training(tmp_path, 0)], 1) is None


def test_time_left_is_that_of_the_epochs_which_are_missing(tmp_path):
    assert estimate.seconds_left([training(tmp_path, 4)], 1) == pytest.approx(6)


def test_runs_without_an_epoch_take_what_others_take(tmp_path):
    all_jobs = [training(tmp_path, 4), training(tmp_path, 0, seed=1), training(tmp_path, 0, seed=2)]
    assert estimate.seconds_left(all_jobs, 1) == pytest.approx(6 + 10 + 10)
    assert estimate.seconds_left(all_jobs, 2) == pytest.approx(6 + 10)
    all_jobs[0].state, all_jobs[0].seconds = 'finished', 12.0
    assert estimate.seconds_left(all_jobs, 2) == pytest.approx(12)
    all_jobs[1].state = 'failed'
    assert estimate.seconds_left(all_jobs, 2) == pytest.approx(12)


def test_a_run_that_trains_elsewhere_is_waited_for(tmp_path):
    task = task_in(tmp_path)
    finished(task)
    lock = locks.lock(task.workdir)
    states = []

    class Releases(show.Display):
        def report(self, job):
            states.append(job.state)
            if job.state == 'training elsewhere':
                lock.__exit__(None, None, None)

    with lock:
        assert state.is_training(task.workdir)
    assert not state.is_training(task.workdir)
    lock = locks.lock(task.workdir)
    lock.__enter__()
    job = Job(task)
    loop.run([job], [()], 'none', Releases([job], 1))
    assert states == ['training elsewhere', 'finished']


def test_a_run_that_another_process_locked_first_is_tried_again_even_if_that_has_ended(tmp_path):
    task = task_in(tmp_path)
    processes = []

    class Refused:
        """Found the workdir locked by a process that ended before this one."""

        def poll(self):
            finished(task)
            return 1

    def launch(words, log, cores):
        processes.append(Refused())
        log.write_text(f'cifar_jax: {locks.refusal(task.workdir)}\n')
        return processes[-1]

    job = Job(task, launch=launch)
    loop.run([job], [()], 'none', show.Display([job], 1))
    assert (job.state, len(processes)) == ('finished', 1)


def test_a_second_sweep_in_a_folder_is_refused(tmp_path):
    job = Job(task_in(tmp_path))
    with (
        locks.lock(Workdir(tmp_path)),
        pytest.raises(UserError, match=r'Another sweep .*--out'),
    ):
        loop.sweep([job], tmp_path, 1, 'none')
    assert job.state == 'waiting'


def test_a_dry_run_lists_the_commands_and_starts_none(tmp_path, capsys):
    sweep.main(['--out', str(tmp_path / 'out'), *TINY, *ALL, '--dry-run'])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith('waiting: python -m cifar_jax.main --config ') for line in lines)
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_leaves_the_others_alone(unbroken):
    _, done = unbroken
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert result['finished'] is False
    assert [run['state'] for run in result['runs']] == ['finished', 'finished', 'failed']
    [error] = done.stderr.splitlines()
    for part in (f'{NAME}-seed2 failed: ', 'holds files but no config.json', 'seed2.log'):
        assert part in error


@pytest.mark.slow
def test_the_last_table_has_a_row_a_config_with_mean_and_deviation(unbroken):
    result = json.loads(unbroken[1].stdout.splitlines()[-1])
    [row] = result['table']
    assert row['name'] == NAME
    assert (row['epochs'], row['state']) == ('12 12', '2 finished, 1 failed')
    accuracies = [run['summary']['test']['accuracy'] for run in result['runs'] if run['summary']]
    assert row['test'] == show.records.spread([100 * value for value in accuracies], 2) + ' %'
    assert '±' in row['validation']


@pytest.mark.slow
def test_finished_runs_are_not_run_and_evaluated_again(unbroken, capsys):
    out, done = unbroken
    before = {path: path.stat().st_mtime_ns for path in out.glob('*/*')}
    code, result = run(capsys, out, GOOD)
    assert (code, result['finished']) == (0, True)
    assert result['runs'] == json.loads(done.stdout.splitlines()[-1])['runs'][:2]
    changed = {p for p, at in before.items() if p.stat().st_mtime_ns != at and p.name != '.lock'}
    assert not changed


def wait_for(happened, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_sweep_that_is_stopped_and_then_killed_resumes_with_the_same_table(
    unbroken, tmp_path, capsys
):
    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def epochs() -> int:
        lines = [path.read_text().count('\n') for path in tmp_path.glob('*/metrics.jsonl')]
        return sum(lines)

    process = start()
    wait_for(lambda: epochs() > 0, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, out
    stopped = json.loads(out.splitlines()[-1])
    assert 'stopped' in [run['state'] for run in stopped['runs']]
    assert not any(state.is_training(Workdir(path)) for path in tmp_path.glob('*seed?'))

    before = epochs()
    process = start()
    wait_for(lambda: epochs() > before, process)
    process.kill()
    process.communicate()

    code, result = run(capsys, tmp_path, ALL)
    _, done = unbroken
    expected = json.loads(done.stdout.splitlines()[-1])
    assert code == 1
    assert without_times(result) == without_times(expected)
    assert weights(result) == weights(expected)
    logs = ''.join(path.read_text() for path in tmp_path.glob('*.log'))
    assert 'resumed at step' in logs
