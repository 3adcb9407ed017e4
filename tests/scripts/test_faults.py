"""The campaigns of faults: what they judge a fault, and a small part of each."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

import faults
from fault_campaigns import judge, phases, processes, sweeps
from fault_campaigns.processes import Outcome

SENTENCE = 'cifar_jax: w/config.json is damaged: restore it from a copy.\n'


def verdict(code=0, output='', errors='', hung=False):
    outcome = Outcome(code, output, errors, 1.0, hung)
    return judge.judge(outcome, {'sha256': 'ab', 'accuracy': 0.5})


@pytest.mark.parametrize(
    ('outcome', 'kind'),
    [
        (dict(output='{"sha256": "ab", "accuracy": 0.5}'), 'right'),
        (dict(output='{"sha256": "ab", "accuracy": 0.6}'), 'silently wrong'),
        (dict(output='checkpoint 3 is damaged\n{"sha256": "cd", "accuracy": 0.6}'), 'said'),
        (dict(output='{"sha256": "ab", "accuracy": NaN}'), 'no JSON'),
        (dict(code=1, errors=SENTENCE), 'refused'),
        (dict(code=1, errors=2 * SENTENCE), 'no sentence'),
        (dict(code=1), 'no sentence'),
        (dict(code=1, errors='Traceback (most recent call last)\nKeyError: 1'), 'traceback'),
        (dict(code=-11), 'crash'),
        (dict(code=-9, hung=True), 'hang'),
    ],
)
def test_outcomes_are_judged(outcome, kind):
    assert verdict(**outcome).kind == kind
    assert verdict(**outcome).fault == (kind not in ('right', 'refused', 'said'))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='the campaigns fork')
def test_a_small_part_of_every_campaign_shows_no_fault(tmp_path):
    campaigns = [name for name in faults.CASES if name != 'sweeps']
    done, verdicts = campaign(tmp_path, campaigns, 2)
    assert len(verdicts) == 2 * len(campaigns)
    again, _ = campaign(tmp_path, campaigns, 2)
    assert again == done


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='the campaigns fork')
def test_a_killed_sweep_ends_with_the_results_of_an_unbroken_one(tmp_path):
    _, [(name, _, kind, _, kills)] = campaign(tmp_path, ['sweeps'], 1)
    assert (name, kind) == ('sweeps', 'right')
    assert kills


def campaign(out, names, cases):
    """Runs campaigns, which must show no fault; returns the printed table and the verdicts."""
    command = [sys.executable, faults.__file__, '--out', str(out), '--cases', str(cases)]
    done = subprocess.run(
        [*command, '--campaigns', ','.join(names)], capture_output=True, text=True
    )
    assert not done.returncode, done.stdout + done.stderr
    lines = (out / 'verdicts.jsonl').read_text().splitlines()
    return done.stdout, [json.loads(line) for line in lines]


def test_a_kill_that_comes_too_late_is_drawn_again_earlier(tmp_path):
    moments = []

    def run(due):
        (tmp_path / 'out').mkdir()  # Each start finds an empty folder until a kill is in time.
        moments.append(next(n for n in range(100) if due(n / 10)) / 10)
        return outcome(killed=moments[-1] < 2)

    phases_ = phases.kill(run, lambda began: 'end', tmp_path / 'out', NeverAgain(1), 10)
    assert phases_ == ('end',)
    assert len(moments) > 1
    assert moments == sorted(moments, reverse=True)


@pytest.mark.parametrize(
    ('phase', 'delay', 'expected'),
    [
        ('start', 1, 1),  # phases below: start at 0 s, training at 2 s, checkpoint at 5 s...
        ('start', 9, 9),
        ('training', 0, 2),
        ('training', 2, 4),
        ('checkpoint', 0, 5),
        ('checkpoint', 4, 8),
        ('end', 1, 10),
    ],
)
def test_a_kill_waits_for_its_phase_and_then_for_its_delay(phase, delay, expected):
    course = ['start'] * 2 + ['training'] * 3 + ['checkpoint'] + ['training'] * 2
    course += ['checkpoint', 'end', 'end', 'end']
    seen = []
    due = phases._due(phase, delay, lambda: course[seen[-1]])
    for second in range(len(course)):
        seen.append(second)
        if due(float(second)):
            break
    assert seen[-1] == expected


class NeverAgain(random.Random):
    """Draws one kill, in the last phase, and always the latest moment."""

    def randint(self, a, b):
        return a

    def choice(self, values):
        return values[-1]

    def random(self):
        return 1.0


def outcome(killed):
    return Outcome(-9 if killed else 0, '', '', 1.0, hung=False, killed=killed)


def test_a_kill_after_the_end_of_a_run_that_was_killed_before_does_not_count(tmp_path):
    ended = iter([outcome(killed=True), outcome(killed=False)])
    generator = random.Random(0)
    generator.randint = lambda *_: 3
    kills = phases.kill(lambda _: next(ended), lambda _: 'end', tmp_path / 'x', generator, 1)
    assert kills == ('end',)


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        ((), 'start'),
        (('preprocessing.json',), 'training'),
        (('preprocessing.json', 'checkpoints/4/weights'), 'training'),
        (('preprocessing.json', 'checkpoints/4.orbax-checkpoint-tmp/x'), 'checkpoint'),
        (('preprocessing.json', 'checkpoints/tmpabc.tmp'), 'checkpoint'),
        (('preprocessing.json', 'metrics.jsonl'), 'end'),
    ],
)
def test_what_a_killed_run_left_shows_what_it_was_doing(tmp_path, files, expected):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('{}\n{}\n{"cut')
    assert phases.phase(tmp_path, time.time() - 1, epochs=2) == expected
    assert phases.phase(tmp_path, time.time() - 1, epochs=3) == expected.replace('end', 'training')


def test_a_start_that_has_not_restored_its_run_yet_is_told_by_the_time(tmp_path):
    (tmp_path / 'preprocessing.json').touch()
    assert phases.phase(tmp_path, time.time() + 1, epochs=1) == 'start'


def test_the_table_counts_kills_of_living_runs_by_what_they_were_doing(capsys):
    verdicts = {
        ('kills', 0): judge.Verdict('right', '', ('start', 'training')),
        ('kills', 1): judge.Verdict('right', '', ('training',)),
        ('kills', 2): judge.Verdict('right'),
    }
    assert faults._show(['kills'], verdicts) == 0
    heading, row = (
        [cell.strip() for cell in re.split('[┃│]', line)[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if 'kills' in line
    )
    counts = dict(zip(heading, row, strict=True))
    assert (counts['cases'], counts['killed alive']) == ('3', '2')
    assert [counts[f'kills: {name}'] for name in phases.PHASES] == ['1', '2', '0', '0']


@pytest.mark.skipif(sys.platform != 'linux', reason='the campaigns read /proc')
@pytest.mark.parametrize('with_children', [False, True])
def test_a_kill_takes_the_children_or_spares_them(with_children):
    parent = subprocess.Popen(['sh', '-c', 'sleep 100 & wait'])
    while not processes.below(parent.pid):
        time.sleep(0.01)
    (child,) = processes._kill(parent.pid, with_children)
    assert parent.wait() == -signal.SIGKILL
    until = time.monotonic() + (5 if with_children else 0.2)
    while processes.running(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert processes.running(child) == (not with_children)
    if not with_children:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != 'linux', reason='the campaigns fork')
def test_a_command_that_is_killed_at_once_has_no_output(tmp_path):
    (tmp_path / 'stdout').write_text('of the command before')
    program = (  # of its own, since a process that has started JAX must not fork
        'import pathlib, sys\n'
        'from fault_campaigns import processes\n'
        'folder = pathlib.Path(sys.argv[1])\n'
        'outcome = processes.run("evaluate", [], folder, kill_when=lambda _: True)\n'
        'assert (outcome.killed, outcome.output, outcome.errors) == (True, "", "")'
    )
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, '-c', program, str(tmp_path)], check=True, env=environment)


@pytest.mark.parametrize('accuracy', [0.5, 0.6])
def test_a_sweep_whose_results_differ_is_silently_wrong(tmp_path, accuracy):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/metrics.jsonl').write_text('{"seconds": 3, "loss": 1}\n')

    def ended(accuracy, seconds):
        run = {'workdir': str(tmp_path / 'run'), 'state': 'finished', 'error': ''}
        run['summary'] = {'accuracy': accuracy, 'seconds': seconds}
        table = [{'name': 'run', 'time a run': seconds, 'test': accuracy}]
        text = json.dumps({'finished': True, 'table': table, 'runs': [run]})
        return Outcome(0, text, '', 1.0, hung=False)

    unbroken = sweeps.Reference([], sweeps.results(tmp_path, ended(0.5, 3)), 1.0)
    found = sweeps._compare(unbroken, tmp_path, ended(accuracy, 4))
    assert found.kind == ('right' if accuracy == 0.5 else 'silently wrong')
