"""The benchmark: its arithmetic, options, processes and messages."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

import benchmark
from bench import growth, measure, ours, plots, results
from bench.process import ContestantError, Process
from bench.results import Row
from bench.task import TENSORS, USUAL, Task

SECONDS = {
    'ours:auto': [1.0, 2.0, 1.0],
    'ours:xla': [4.0, 4.0, 4.0],
    'torch:eager': [2.0, 8.0, 2.0],
    'torch:compile': [1.5, 3.0, 1.4],
    'keras:jit': [4.0, 1.0, 5.0],
}
ROW = Row('SmallVGG', 'float32', 30, 'step', 30, SECONDS, 1e9, ('keras:fit: it died',))
TASK = Task('SmallVGG', 8, 'float32', 1, '')


@pytest.fixture
def folder(tmp_path):
    """A folder with 24 images, as the contestants read them."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / 'images.npy', generator.integers(0, 256, (24, 32, 32, 3), np.uint8))
    np.save(tmp_path / 'labels.npy', generator.integers(0, 10, 24).astype(np.int32))
    return str(tmp_path)


def test_speed_is_the_median_over_rounds():
    assert results.speed(ROW, 'keras:jit') == 30 / 4


def test_fastest_considers_only_the_given_frameworks():
    assert results.fastest(ROW, ['torch']) == 'torch:compile'
    assert results.fastest(ROW, ['torch', 'keras']) == 'torch:compile'
    assert results.fastest(ROW, ['unknown']) is None


def test_ratio_is_the_median_of_the_rounds_own_ratios():
    assert results.ratio([1.0, 10.0, 2.0], [2.0, 30.0, 2.0]) == 2.0


def test_record_compares_our_first_backend_with_the_fastest_peer():
    values = results.record(ROW, {'float32': 60.0})
    assert values['fastest_peer'] == 'torch:compile'
    assert values['ratio'] == 1.5
    assert values['gflops'] == 30.0
    assert values['share_of_peak'] == 0.5
    json.dumps(values, allow_nan=False)


def test_record_without_peers_has_no_ratio():
    values = results.record(ROW._replace(seconds={'ours:auto': [1.0]}), {})
    assert 'ratio' not in values
    assert 'share_of_peak' not in values


def test_table_shows_speeds_ratio_share_and_notes():
    not_measured = Row('SENet', 'bfloat16', 128, benchmark.NO_BFLOAT16, 0, {})
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(results.table([ROW, not_measured], {'float32': 60.0}, 'title'))
    text = console.export_text()
    for part in ('20 (compile)', '1.50', '50%', 'it died', 'no bf16 here'):
        assert part in text


def test_plots_are_written(tmp_path):
    plots.comparison([ROW], 'title', tmp_path / 'a.svg')
    points = [growth.Point('SmallVGG', 'batch', value, 8, 1.0, 1e9) for value in (1.0, 2.0)]
    plots.growths(points, 'title', tmp_path / 'b.png')
    assert '</svg>' in (tmp_path / 'a.svg').read_text()
    assert (tmp_path / 'b.png').read_bytes()[:4] == b'\x89PNG'


def test_growth_of_a_square_has_exponent_two():
    points = [growth.Point('a', 'width', w, 8, w**2, 5.0) for w in (0.5, 1.0, 2.0)]
    assert growth.exponents(points) == pytest.approx({'seconds': 2.0, 'bytes': 0.0})


def test_growth_records_a_failed_point():
    point = growth.Point('a', 'width', 1.0, 8, math.nan, math.nan, 'it died')
    assert growth.record(point)['seconds'] is None


def test_flops_exclude_the_gradient_for_the_images(folder):
    description = ours.describe(TASK._replace(folder=folder))
    convolutions = [(32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64), (8, 64, 128)]
    convolutions.append((8, 128, 128))
    multiply_adds = [side**2 * 9 * a * b for side, a, b in convolutions]
    assert description['flops'] == 2 * (3 * (sum(multiply_adds) + 2048 * 10) - multiply_adds[0])
    assert description['parameters'] == 307_498
    assert description['optimizer']['name'] == 'adam'


def test_flops_exclude_the_gradient_of_a_frozen_first_layer(folder):
    description = ours.describe(TASK._replace(folder=folder, model='AirbenchShape'))
    first = 31**2 * 4 * 3 * 24
    sides = [(31, 24, 64), (15, 64, 64), (15, 64, 256), (7, 256, 256), (7, 256, 256), (3, 256, 256)]
    rest = sum(side**2 * 9 * a * b for side, a, b in sides) + 2560
    assert description['flops'] == 2 * (first + 3 * rest)


@pytest.mark.slow
def test_our_contestant_trains(folder, monkeypatch):
    monkeypatch.setenv('CIFAR_JAX_CACHE', '')
    contestant = ours.build(TASK._replace(folder=folder, width=0.25, images=16), 'auto')
    contestant.epoch(USUAL, None)


@pytest.mark.slow
def test_our_contestant_computes_the_features_of_published_networks():
    with Process(
        'ours', 'auto', TASK._replace(model='EfficientNetLite0', features=True)
    ) as process:
        assert process.parameters == 3_371_008
        assert process.steps(1) > 0


def test_pytorch_contestant_answers_over_its_pipe(folder):
    pytest.importorskip('torch', reason='PyTorch is not installed')
    optimizer = dict(name='adam', rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, l2=0.0)
    settings = dict(optimizer=optimizer, mean=(0.5,) * 3, std=(0.5,) * 3, workers=0)
    with Process('torch', 'eager', TASK._replace(folder=folder, **settings)) as process:
        assert process.parameters == 307_498
        assert process.steps(2) > 0
        assert process.epoch(USUAL) > 0
        assert process.epoch(TENSORS, 1) > 0


def test_a_contestant_that_dies_gives_the_reason():
    with pytest.raises(ContestantError, match='mxnet'):
        Process('mxnet', 'eager', TASK)


class FakeProcess:
    """Takes a second per step; Keras is not installed."""

    def __init__(self, framework, mode, task):
        if framework == 'keras':
            raise ContestantError('keras is not installed')
        self.framework, self.parameters = framework, 7
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    close = __exit__

    def steps(self, count):
        return count * (1.0 if self.framework == 'ours' else 2.0)

    def epoch(self, form, batches=None):
        return 3.0 if form == USUAL else 2.0


def test_a_missing_peer_is_noted_and_the_others_are_measured(monkeypatch):
    monkeypatch.setattr(measure, 'Process', FakeProcess)
    rows = measure.measure(
        TASK,
        ['ours:auto', 'torch:eager', 'keras:jit'],
        measure.Effort(rounds=2, epoch_rounds=1, seconds=1, images=20),
        {'parameters': 7, 'flops': 1},
        lambda _: None,
    )
    assert [row.what for row in rows] == ['step', *measure.EPOCHS.values()]
    assert rows[0].seconds == {'ours:auto': [1.0, 1.0], 'torch:eager': [2.0, 2.0]}
    assert rows[0].notes == ('keras:jit: keras is not installed',)
    assert rows[1].seconds == {'ours:auto': [2.0], 'torch:eager': [3.0]}
    assert rows[2].seconds == {'ours:auto': [2.0], 'torch:eager': [2.0]}
    assert rows[1].images == 16


def test_a_peer_stands_for_all_of_its_modes():
    options = benchmark.parse(['--peers', 'torch:eager,keras', '--ours', 'auto,xla'])
    names = benchmark.contestants(options)
    assert names[:3] == ['ours:auto', 'ours:xla', 'torch:eager']
    assert names[3:] == [f'keras:{mode}' for mode in benchmark.PEERS['keras']]


@pytest.mark.parametrize(
    'words',
    [
        ['--models', 'Nothing'],
        ['--peers', 'mxnet'],
        ['--threads', '0'],
        ['--rounds', '0'],
        ['--epoch-images', '100'],
    ],
)
def test_impossible_options_are_refused_with_the_option_named(words, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(words)
    assert words[0] in capsys.readouterr().err
