"""scripts/reproduce.py: a kept run, repeated, has the same weights or the same accuracy."""

import json
import pathlib
import shlex
import subprocess
import sys

import kept_runs
import pytest

import reproduce
import results
from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.experiment import records
from tables import kept

HERE = kept_runs.ENVIRONMENT | {'devices': 1, 'jax': '0.10'}
OTHER = 'cd' * 32


def run(folder, *, sha256=kept_runs.SHA256, environment=HERE, **summary):
    """Returns a finished run with a command and accuracies."""
    kept_runs.make(folder, environment=environment)
    values = {'sha256': sha256, 'val_accuracy': 0.6, 'train_accuracy': 0.7} | summary
    change(folder / 'config.json', command='python -m cifar_jax.main --config configs/a.py')
    change(folder / 'summary.json', **values)
    return records.read(folder)


def change(path: pathlib.Path, **values: object) -> None:
    files.write_json(path, files.with_checksum(json.loads(path.read_text()) | values))


def test_equal_weights_are_reproduced_wherever_they_were_trained(tmp_path):
    before = run(tmp_path / 'a')
    again = run(tmp_path / 'b', environment=HERE | {'jax': '0.11'}, val_accuracy=0.1)
    verdict = reproduce.judge(before, [before], again)
    assert verdict == (True, f'the same weights, SHA-256 {kept_runs.SHA256}')


def test_other_weights_on_the_same_kind_of_machine_are_not_reproduced(tmp_path):
    before, again = run(tmp_path / 'a'), run(tmp_path / 'b', sha256=OTHER)
    verdict = reproduce.judge(before, [before], again)
    assert not verdict.reproduced
    assert OTHER in verdict.text
    assert 'the same kind of machine' in verdict.text


@pytest.mark.parametrize(
    ('accuracy', 'reproduced'), [(0.619, True), (0.581, True), (0.621, False), (0.579, False)]
)
def test_elsewhere_one_seed_may_differ_by_two_points(tmp_path, accuracy, reproduced):
    before = run(tmp_path / 'a')
    elsewhere = HERE | {'jax': '0.11'}
    again = run(tmp_path / 'b', sha256=OTHER, environment=elsewhere, val_accuracy=accuracy)
    verdict = reproduce.judge(before, [before], again)
    assert verdict.reproduced == reproduced
    assert f'validation accuracy {accuracy:.2%}, {"" if reproduced else "not "}within' in (
        verdict.text
    )
    assert 'jax 0.10 and 0.11' in verdict.text


def test_training_accuracy_counts_too(tmp_path):
    before = run(tmp_path / 'a')
    elsewhere = HERE | {'processor': 'Z80'}
    again = run(tmp_path / 'b', sha256=OTHER, environment=elsewhere, train_accuracy=0.6)
    assert not reproduce.judge(before, [before], again).reproduced


@pytest.mark.parametrize(
    ('others', 'expected'), [((), 0.02), ((0.6,), 0.01), ((0.8,), 2 * 0.2 / 2**0.5)]
)
def test_the_tolerance_is_two_deviations_over_the_seeds_or_a_point(tmp_path, others, expected):
    seeds = [run(tmp_path / 'a')]
    seeds += [run(tmp_path / str(i), val_accuracy=other) for i, other in enumerate(others)]
    assert reproduce.tolerance(seeds, 'val_accuracy') == pytest.approx(expected)


def test_instructions_that_were_not_recorded_count_as_different():
    now = HERE | {'instructions': 'avx2'}
    assert reproduce.differences(HERE, now) == ['instructions unknown and avx2']


def test_the_command_has_the_algorithm_and_the_devices_of_the_kept_run(tmp_path):
    before = run(tmp_path / 'a', environment=HERE | {'devices': 2})
    words = reproduce.command(before, tmp_path / 'again', 'data')
    assert words[1:] == [
        *['-m', 'cifar_jax.main', '--config', 'configs/a.py', f'--workdir={tmp_path}/again'],
        *['--config.ops.algorithm=auto', '--config.mesh.devices=2', '--config.data.dir=data'],
    ]


def test_a_row_that_does_not_exist_is_one_sentence(tmp_path):
    run(tmp_path / 'a')
    with pytest.raises(UserError, match=r"has no run 'b'; it has a\.$"):
        reproduce.find('b', tmp_path)


def test_seeds_of_one_command_are_found_together(tmp_path):
    for seed in range(2):
        run(tmp_path / str(seed))
        stored = json.loads((tmp_path / str(seed) / 'config.json').read_text())
        change(tmp_path / str(seed) / 'config.json', config=stored['config'] | {'seed': seed})
    found, seeds = reproduce.find('1', tmp_path)
    assert found.seed == 1
    assert [other.seed for other in seeds] == [0, 1]


@pytest.mark.slow
def test_a_kept_run_is_reproduced_to_the_bit(tmp_path, monkeypatch, capsys):
    command = 'python -m cifar_jax.main --config configs/numpy_cnn.py:digits --config.train.length'
    words = [*shlex.split(command), '1 epochs', '--config.log.pictures=']
    words = [sys.executable, *words[1:], f'--workdir={tmp_path}/first']
    subprocess.run(words, cwd=kept.ROOT, check=True)
    monkeypatch.setattr(kept, 'RESULTS', tmp_path / 'results')
    results.keep(tmp_path / 'first')
    with pytest.raises(SystemExit) as exit_:
        reproduce.main(['first', '--workdir', str(tmp_path / 'again')])
    assert exit_.value.code == 0
    assert 'first: reproduced: the same weights' in capsys.readouterr().out
    change(tmp_path / 'results' / 'first' / 'summary.json', sha256=OTHER)
    with pytest.raises(SystemExit) as exit_:
        reproduce.main(['first', '--workdir', str(tmp_path / 'again')])
    assert exit_.value.code == 1
    assert 'first: not reproduced: the weights have SHA-256' in capsys.readouterr().out
