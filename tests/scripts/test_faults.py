"""The campaigns of faults: what they judge a fault, and a small part of each."""

import json
import subprocess
import sys

import pytest

import faults
from fault_campaigns import judge
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
    command = [sys.executable, faults.__file__, '--out', str(tmp_path), '--cases', '2']
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    verdicts = [json.loads(line) for line in (tmp_path / 'verdicts.jsonl').read_text().splitlines()]
    assert len(verdicts) == 2 * len(faults.CASES)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout == done.stdout
