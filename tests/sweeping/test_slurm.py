"""Sweeps on a SLURM cluster, by submitit: its local executor, and a SLURM of shell scripts."""

import functools
import json
import os
import pathlib
import pickle
import stat
import sys
import time

import pytest

from cifar_jax import sweep
from cifar_jax.errors import UserError
from cifar_jax.sweeping import slurm

ROOT = pathlib.Path(__file__).parents[2]
VGG = str(ROOT / 'configs/small_vgg.py:smoke')
PATIENCE = 120  # seconds, on a machine with much else to do

submitit = pytest.importorskip('submitit')


def in_python(text):
    return [sys.executable, '-c', text]


def wait(process):
    until = time.monotonic() + PATIENCE
    while (code := process.poll()) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    return code


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """SLURM's programs: sbatch keeps what it is given, and sacct says what is in a file."""
    folder = tmp_path / 'cluster'
    folder.mkdir()
    header = 'JobID|State|NodeList'
    scripts = {
        'srun': '',
        'sbatch': f'cp "$1" {folder}/script; echo x >> {folder}/submitted; '
        f'echo Submitted batch job $(wc -l < {folder}/submitted)',
        'sacct': f'echo "{header}"; cat {folder}/states',
        'scancel': f'echo $@ >> {folder}/cancelled',
    }
    for name, text in scripts.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / 'states').write_text('')
    monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
    yield folder
    submitit.SlurmJob.watcher.clear()


def test_a_command_runs_as_a_job_with_its_output_in_the_log(tmp_path):
    launch = slurm.launcher(tmp_path, slurm.Options(), cluster='local')
    log = tmp_path / 'rates-seed0.log'
    log.write_text('before\n')
    process = launch(in_python('print("trained"); raise SystemExit(3)'), log, (0,))
    assert wait(process) == 3
    assert log.read_text() == 'before\ntrained\n'
    assert wait(launch(in_python('print("evaluated")'), log, ())) == 0
    assert log.read_text().endswith('evaluated\n'), 'the first has ended'


def test_a_job_gets_what_it_asks_for(tmp_path, cluster):
    options = slurm.Options(
        partition='long', minutes=90, gpus=2, cpus=8, memory_gb=40, others={'account': 'vision'}
    )
    launch = slurm.launcher(tmp_path, options)
    launch(in_python(''), tmp_path / 'rates-seed0.log', ())
    script = (cluster / 'script').read_text()
    for option in (
        'job-name=rates-seed0',
        'partition=long',
        'time=90',
        'gpus-per-node=2',
        'cpus-per-task=8',
        'mem=40GB',
        'account=vision',
    ):
        assert f'#SBATCH --{option}\n' in script


def test_by_default_a_job_asks_for_a_day_and_nothing_else(tmp_path, cluster):
    slurm.launcher(tmp_path, slurm.Options())(in_python(''), tmp_path / 'a.log', ())
    lines = [line for line in (cluster / 'script').read_text().splitlines() if '#SBATCH' in line]
    asked = {line.split('--')[1].split('=')[0] for line in lines}
    assert '#SBATCH --time=1440' in lines
    assert not asked & {'partition', 'gpus-per-node', 'cpus-per-task', 'mem', 'account'}


@pytest.mark.parametrize(
    ('state', 'submitted'),
    [('PENDING', 1), ('RUNNING', 1), ('COMPLETED', 2), ('CANCELLED by 7', 2), ('', 2)],
)
def test_a_sweep_that_starts_again_finds_jobs_that_have_not_ended(
    tmp_path, cluster, state, submitted
):
    """SLURM says nothing about a job that it has forgotten."""
    log = tmp_path / 'a-seed0.log'
    slurm.launcher(tmp_path, slurm.Options())(in_python(''), log, ())
    if state:
        (cluster / 'states').write_text(f'1|{state}|node1\n')
    slurm.launcher(tmp_path, slurm.Options())(in_python(''), log, ())
    assert (cluster / 'submitted').read_text().count('x') == submitted


def test_a_stopped_sweep_cancels_its_jobs(tmp_path, cluster):
    launch = slurm.launcher(tmp_path, slurm.Options())
    for name in ('a', 'b'):
        launch(in_python(''), tmp_path / f'{name}.log', ()).terminate()
    assert (cluster / 'cancelled').read_text().split() == ['1', '2']
    assert slurm.Submitted.kill is slurm.Submitted.terminate


def test_a_job_that_is_lost_has_failed_with_a_line_in_its_log(tmp_path, cluster):
    (cluster / 'states').write_text('1|OUT_OF_MEMORY|node1\n')
    log = tmp_path / 'a.log'
    process = slurm.launcher(tmp_path, slurm.Options())(in_python(''), log, ())
    process._job._results_timeout_s = 0
    assert wait(process) == 1
    assert 'job 1 ended without a result (OUT_OF_MEMORY); its output is in ' in log.read_text()


def test_a_command_at_its_time_limit_ends_with_a_checkpoint_and_continues(tmp_path):
    """submitit calls `checkpoint` from the handler of a signal, which interrupts `__call__`."""
    log = tmp_path / 'a.log'
    saves = (
        'import signal, sys, time\n'
        'def save(*_): print("saved", flush=True); sys.exit(75)\n'
        'signal.signal(signal.SIGTERM, save)\n'
        'print("started", flush=True)\n'
        'time.sleep(600)'
    )
    command = slurm.Command(in_python(saves), log)
    submitted = []

    def at_the_limit(seconds):
        if not submitted and 'started' in log.read_text():
            submitted.append(None)
            submitted[0] = command.checkpoint()
        sleep(seconds)

    sleep = time.sleep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm.time, 'sleep', at_the_limit)
        assert command() == 75
    assert log.read_text() == 'started\nsaved\n'
    again = pickle.loads(pickle.dumps(submitted[0].function))
    assert (again._words, again._log, again._process) == (in_python(saves), log, None)


def test_a_command_that_has_not_started_is_submitted_again_as_it_is(tmp_path):
    command = slurm.Command(in_python(''), tmp_path / 'a.log')
    assert command.checkpoint().function._words == in_python('')


def test_without_submitit_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(UserError, match=r"pip install 'cifar_jax\[cluster\]'"):
        slurm.launcher(tmp_path, slurm.Options())


def test_without_slurm_the_sweep_ends_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match=r'SLURM is not on this machine .*: start the sweep where'):
        slurm.launcher(tmp_path, slurm.Options())


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--gpus', '1'], '--gpus is for a cluster: add --launcher slurm.'),
        (['--sbatch', 'account=a'], '--sbatch is for a cluster: add --launcher slurm.'),
        (['--launcher', 'slurm', '--sbatch', 'account'], "--sbatch 'account' sets nothing: write"),
    ],
)
def test_mistakes_are_refused(arguments, sentence, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        sweep.main(['--out', str(tmp_path / 'out'), '--config', VGG, *arguments])
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_needs_no_cluster(tmp_path, capsys):
    words = ['--out', str(tmp_path / 'out'), '--config', VGG, '--launcher', 'slurm', '--dry_run']
    sweep.main([*words, '--partition', 'long', '--sbatch', 'account=a'])
    assert capsys.readouterr().out.startswith('waiting: python -m cifar_jax.main --config ')
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_sweep_of_jobs_has_the_same_table_and_is_not_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(slurm, 'launcher', functools.partial(slurm.launcher, cluster='local'))
    words = ['--out', str(tmp_path), '--config', VGG, '--set', 'model.widths=(4,)', '--json']
    table = []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            sweep.main([*words, '--launcher', 'slurm', '--minutes', '10'])
        assert ended.value.code == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [run['state'] for run in result['runs']] == ['finished']
        table.append(result['table'])
    assert table[0] == table[1]
    [log] = tmp_path.glob('*.log')
    assert log.read_text().count('weights sha256') == 1
