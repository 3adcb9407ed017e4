"""Sweeps killed at random moments and started again give the results of an unbroken sweep."""

import json
import pathlib
import random
import shutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fault_campaigns import phases, processes, runs
from fault_campaigns.judge import Verdict, judge

_COMMON = ('data.fraction=0.3', 'eval_batch_size=100', 'log.pictures=', 'train.length=20 epochs')
# The config of each sweep, and its own values.
SWEEPS = (
    ('configs/numpy_cnn.py:digits', ()),
    ('configs/small_vgg.py:digits', ('model.widths=(4, 4)', 'checkpoint.every=2 steps')),
)
_TIMES = ('time a run', 'images/s')  # columns of its table
_PATIENCE = 20.0  # seconds until a run without its sweep has to have ended


class Reference(NamedTuple):
    """An unbroken sweep: its arguments without --out, its results and its time."""

    arguments: list[str]
    results: dict[str, Any]
    seconds: float


def reference(number: int, folder: pathlib.Path) -> Reference:
    """Runs a sweep from start to end, or reads what an earlier call left."""
    config, own = SWEEPS[number]
    values = [word for text in (*_COMMON, *own) for word in ('--set', text)]
    arguments = ['--config', str(runs.ROOT / config), *values, '--grid', 'schedule.rate=0.1,0.01']
    arguments += ['--jobs', '2', '--evaluate', 'test', '--json']
    out, kept = folder / f'sweep{number}', folder / f'sweep{number}.json'
    if not kept.exists():
        shutil.rmtree(out, ignore_errors=True)
        outcome = processes.run('sweep', [*arguments, '--out', out], folder / 'output')
        if outcome.code:
            raise RuntimeError(f'{config} is not swept undisturbed:\n{outcome.errors}')
        kept.write_text(json.dumps([results(out, outcome), outcome.seconds]))
    return Reference(arguments, *json.loads(kept.read_text()))


def results(out: pathlib.Path, outcome: processes.Outcome) -> dict[str, Any]:
    """Returns the table, the summaries and the metrics of a sweep, without times.

    A summary holds the checksum of the weights, of training and of the evaluation.
    """
    ended = json.loads(outcome.last_line)
    table = [{key: row[key] for key in row if key not in _TIMES} for row in ended['table']]
    records = {}
    for run in ended['runs']:
        name = pathlib.Path(run['workdir']).name
        summary = {key: run['summary'][key] for key in run['summary'] or {} if key != 'seconds'}
        records[name] = [run['state'], run['error'], summary, runs.lines(out / name)]
    return {'finished': ended['finished'], 'table': table, 'runs': records}


def case(reference: Reference, scratch: pathlib.Path, seed: int) -> Verdict:
    """Kills a sweep with or without its runs one to three times, lets it end, and compares it."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    out = scratch / 'out'
    arguments = [*reference.arguments, '--out', out]
    whole = generator.random() < 0.5
    started: set[int] = set()

    def run(due: Callable[[float], bool]) -> processes.Outcome:
        outcome = processes.run(
            'sweep', arguments, scratch / 'output', kill_when=due, with_children=whole
        )
        started.update(outcome.children)
        return outcome

    kills = phases.kill(
        run, lambda began: _phase(reference, out, began), out, generator, reference.seconds
    )
    outcome = processes.run('sweep', arguments, scratch / 'output')
    verdict = _compare(reference, out, outcome)
    if left := _left_running(started):
        verdict = Verdict('left running', f'{len(left)} processes')
    how = 'the sweep and its runs' if whole else 'the sweep alone'
    return Verdict(verdict.kind, f'{how}: {verdict.detail or "fine"}', kills)


def _phase(reference: Reference, out: pathlib.Path, began: float) -> str:
    """Returns the phase of the run that had come furthest; with a summary, it is evaluated."""
    found = {
        phases.phase(out / name, began, len(lines))
        for name, (*_, lines) in reference.results['runs'].items()
    }
    return next((phase for phase in ('checkpoint', 'training', 'end') if phase in found), 'start')


def _compare(reference: Reference, out: pathlib.Path, outcome: processes.Outcome) -> Verdict:
    verdict = judge(outcome)
    if verdict.kind != 'right':
        return Verdict(f'not continued: {verdict.kind}', verdict.detail or outcome.errors[-200:])
    found = results(out, outcome)
    for key, value in reference.results.items():
        if found[key] != value:
            return Verdict('silently wrong', f'{key} differ: {found[key]}'[:300])
    left = [path.name for path in out.rglob('*.tmp*')]
    return Verdict('silently wrong', f'left behind: {left}') if left else verdict


def _left_running(started: set[int]) -> list[int]:
    until = time.monotonic() + _PATIENCE
    while (left := [*filter(processes.running, started)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left
