"""Comparisons of runs: rows and notes, which are the same in every file."""

import csv
import html.parser
import json
import pathlib
import re
import statistics

import numpy as np
import pytest
from kept_runs import keep_predictions, make
from PIL import Image

from cifar_jax import compare as command
from cifar_jax.experiment import records
from cifar_jax.reporting.comparisons import curves as comparison_curves
from cifar_jax.reporting.comparisons import groups, render, significance
from cifar_jax.reporting.comparisons.compare import compare

ROOT = pathlib.Path(__file__).parents[2]
LABELS = np.arange(200) % 10
EMPTY = '\N{EN DASH}'  # of a cell


@pytest.fixture
def seeds(tmp_path):
    """Three seeds of one config and one of another."""
    folders = [
        make(tmp_path / f'x_{seed}', [0.2, accuracy], test=accuracy - 0.01, seed=seed)
        for seed, accuracy in enumerate((0.50, 0.53, 0.47))
    ]
    return [*folders, make(tmp_path / 'y', [0.3, 0.6, 0.55], test=0.5, schedule__rate=0.2)]


def wrong_at(*places):
    """Predictions of LABELS that are right but for some."""
    classes = LABELS.copy()
    classes[list(places)] += 1
    return classes % 10


def notes(*folders, split='test'):
    return ' '.join(compare(folders, split).notes)


class Cells(html.parser.HTMLParser):
    """The texts of the cells of a page's tables, row by row."""

    def __init__(self):
        super().__init__()
        self.rows, self.addresses, self._open = [], [], False

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in ('src', 'href')]
        if tag == 'tr':
            self.rows.append([])
        if tag in ('th', 'td'):
            self._open = True
            self.rows[-1].append('')

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ('th', 'td')

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data


def page_of(folder):
    page = Cells()
    page.feed((folder / 'comparison.html').read_text())
    return page


def markdown_rows(folder):
    lines = (folder / 'comparison.md').read_text().splitlines()
    return [line.strip('| ').split(' | ') for line in lines if line.startswith('|')]


def test_a_row_has_means_and_sample_deviations_over_its_seeds(seeds):
    first, second = compare(seeds).rows
    assert (first.name, first.seeds, first.epochs) == ('x', (0, 1, 2), (2, 2, 2))
    values = [0.50, 0.53, 0.47]
    assert first.validation == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    assert first.test == pytest.approx((statistics.mean(values) - 0.01, statistics.stdev(values)))
    assert second.validation == (0.55, None)
    assert (first.seconds_to_best, second.seconds_to_best) == (20, 20)


def test_page_markdown_and_csv_hold_the_same_numbers(seeds, tmp_path):
    comparison = compare(seeds)
    render.write(comparison, tmp_path / 'out', 'command')
    expected = [[*render.cells(row)] for row in comparison.rows]
    assert page_of(tmp_path / 'out').rows[1:3] == expected
    assert markdown_rows(tmp_path / 'out')[2:4] == expected
    with (tmp_path / 'out' / 'comparison.csv').open(newline='') as file:
        lines = [*csv.DictReader(file)]
    for line, cells in zip(lines, expected, strict=True):
        row = dict(zip(render.COLUMNS, cells, strict=True))
        assert line['run'] == row['run']
        assert f'{int(line["parameters"]):,}' == row['parameters']
        for key in ('validation', 'test'):
            text = f'{100 * float(line[f"{key}_accuracy"]):.2f}'
            if line[f'{key}_deviation']:
                text += f' ± {100 * float(line[f"{key}_deviation"]):.2f}'
            assert f'{text} %' == row[key]


def test_the_page_needs_no_other_file_and_escapes_names(tmp_path):
    folder = make(tmp_path / '<b>&amp;')
    render.write(compare([folder]), tmp_path / 'out', '<i>')
    page = page_of(tmp_path / 'out')
    assert page.addresses
    assert all(address.startswith('data:image/svg+xml;base64,') for address in page.addresses)
    assert page.rows[1][0] == '<b>&amp;'
    text = (tmp_path / 'out' / 'comparison.html').read_text()
    assert '<b>' not in text
    assert '<i>' not in text
    assert '{%' not in text


def test_pictures_are_written_as_png_and_svg_and_the_same_bytes_every_time(seeds, tmp_path):
    comparison = compare(seeds)
    first, again = (
        {path.name: path.read_bytes() for path in render.write(comparison, folder, 'command')}
        for folder in (tmp_path / 'a', tmp_path / 'b')
    )
    assert first == again
    names = {f'{metric}_{along}' for metric in ('accuracy', 'loss') for along in ('epochs', 'time')}
    assert {name[:-4] for name in first if name.endswith('.png')} == names
    assert {name[:-4] for name in first if name.endswith('.svg')} == names
    with Image.open(tmp_path / 'a' / 'accuracy_epochs.png') as image:
        assert np.asarray(image.convert('L')).std() > 10


def test_a_curve_has_mean_lowest_and_highest_of_the_seeds_that_still_trained(tmp_path):
    folders = [
        make(tmp_path / 'x_0', [0.2, 0.4, 0.5], seconds=10),
        make(tmp_path / 'x_1', [0.3, 0.6], seed=1, seconds=30),
    ]
    (group,) = groups.grouped([records.read(folder) for folder in folders])
    curve = comparison_curves.curve(group, 'val_accuracy')
    assert curve.epochs == (1, 2, 3)
    assert curve.mean == pytest.approx((0.25, 0.5, 0.5))
    assert curve.low == (0.2, 0.4, 0.5)
    assert curve.high == (0.3, 0.6, 0.5)
    assert curve.seconds == (20, 40, 50)
    assert comparison_curves.curve(group, 'val_f1') is None


def test_pairs_are_tested_on_the_same_images(tmp_path):
    one, two = make(tmp_path / 'one'), make(tmp_path / 'two', schedule__rate=0.2)
    ours, theirs = wrong_at(0, 1), wrong_at(1, 2, 3, 4, 5, 6)
    keep_predictions(one, LABELS, ours)
    keep_predictions(two, LABELS, theirs)
    (pair,) = compare([one, two]).pairs
    assert (pair.first, pair.second, pair.images) == ('one', 'two', 200)
    right, wrong = ours == LABELS, theirs == LABELS
    assert pair.mcnemar == significance.mcnemar(right, wrong)
    assert pair.mcnemar[:2] == (5, 1)
    assert pair.interval == significance.bootstrap(right.astype(float), wrong.astype(float))
    assert pair.interval.difference == pytest.approx(4 / 200)


def test_of_several_seeds_all_count_in_the_interval_and_the_first_one_in_the_test(tmp_path):
    one = make(tmp_path / 'one')
    seeds = [make(tmp_path / f'x_{seed}', seed=seed, schedule__rate=0.2) for seed in (0, 1)]
    keep_predictions(one, LABELS, LABELS)
    for folder, classes in zip(seeds, (wrong_at(0, 1), wrong_at(1)), strict=True):
        keep_predictions(folder, LABELS, classes)
    (pair,) = compare([one, *reversed(seeds)]).pairs
    assert pair.interval.difference == pytest.approx((1 + 2) / 2 / 200)
    assert pair.mcnemar[:2] == (2, 0)


def test_without_predictions_the_notes_say_how_to_get_them(tmp_path):
    one, two = make(tmp_path / 'one'), make(tmp_path / 'two', schedule__rate=0.2)
    (one / 'checkpoints').mkdir()
    text = notes(one, two, split='validation')
    assert f'python -m cifar_jax.evaluate --workdir {one} --split validation' in text
    assert f'{two}, which keeps neither predictions of the validation images nor a check' in text
    assert compare([one, two]).pairs == []


def test_predictions_of_other_weights_or_other_images_are_not_compared(tmp_path):
    one, two = make(tmp_path / 'one'), make(tmp_path / 'two', schedule__rate=0.2)
    keep_predictions(one, LABELS, LABELS)
    keep_predictions(two, LABELS, LABELS, sha256='cd' * 32)
    assert f'No test of {two}' in notes(one, two)
    keep_predictions(two, LABELS[::-1].copy(), LABELS)
    assert 'The test images are not the same for one and two' in notes(one, two)
    assert compare([one, two]).pairs == []


def test_other_images_with_the_same_labels_are_not_compared_one_by_one(tmp_path):
    one, two = make(tmp_path / 'one'), make(tmp_path / 'two', schedule__rate=0.2)
    labels = np.arange(10)
    for folder in (one, two):
        keep_predictions(folder, labels, labels, data=folder.name)
    assert compare([one, two]).pairs == []
    assert 'The test images are not the same for one and two' in notes(one, two)


def test_other_images_and_other_machines_are_noted(tmp_path):
    one = make(tmp_path / 'one', data__fraction=0.5, data__split_seed=1)
    two = make(tmp_path / 'two', environment={'processor': 'Slide rule', 'cores': 1})
    text = notes(one, two)
    assert 'not on the same images' in text
    assert 'they differ in data.fraction and data.split_seed.' in text
    assert 'different machines' in text
    assert notes(one) == ''


def test_test_images_that_changed_between_the_runs_are_noted(tmp_path):
    folders = [make(tmp_path / name, seed=seed) for seed, name in enumerate(('one', 'two'))]
    constants = {'mean': [[[0]]], 'std': [[[1]]], 'whitened': True}
    stored = {'classes': [*'0123456789'], 'image_shape': [32, 32, 3]} | constants
    for folder, digest in zip(folders, ('ab', 'cd'), strict=True):
        content = stored | {'digests': {'test': digest}}
        (folder / 'preprocessing.json').write_text(json.dumps(content))
    assert notes(*folders).startswith('The test images of the runs differ')
    (folders[1] / 'preprocessing.json').write_text(json.dumps(stored))  # of an older version
    assert notes(*folders) == ''


def test_a_kept_result_without_its_whitening_matrix_is_compared():
    comparison = compare([ROOT / 'results' / 'cifar100_25-base_b'])
    assert comparison.rows[0].size is not None


def test_other_validation_images_of_one_set_are_noted(tmp_path):
    one, two = make(tmp_path / 'one'), make(tmp_path / 'two', data__validation='last')
    expected = 'The rows do not have the same validation images, so their validation accuracies'
    assert notes(one, two).startswith(expected)


def test_interrupted_runs_and_runs_without_validation_have_their_row(tmp_path):
    folders = [
        make(tmp_path / 'whole', [None, None], test=0.4, data__validation='none'),
        make(tmp_path / 'stopped', [0.3, 0.4], finished=False, schedule__rate=0.2),
        make(tmp_path / 'begun', [], finished=False, schedule__rate=0.3),
    ]
    comparison = compare(folders)
    whole, stopped, begun = map(render.cells, comparison.rows)
    assert whole[-4:] == ('2', '', '40.00 %', '')
    assert stopped[-4:] == ('2', '40.00 %', '', '20.0 s')
    assert begun[-4:] == ('0', '', '', '')
    assert f'{folders[1]} has not finished: it is at epoch 2.' in comparison.notes
    render.write(comparison, tmp_path / 'out', 'command')
    assert page_of(tmp_path / 'out').rows[1][-3:] == [EMPTY, '40.00 %', EMPTY]


def test_runs_that_have_no_epoch_have_no_curves(tmp_path):
    comparison = compare([make(tmp_path / 'w', [], finished=False)])
    assert comparison_curves.draw(comparison.groups) == ()
    written = render.write(comparison, tmp_path / 'out', 'command')
    assert [path.suffix for path in written] == ['.html', '.md', '.csv']


def test_seeds_that_are_not_tested_yet_are_counted(tmp_path):
    folders = [make(tmp_path / 'x_0', test=0.4), make(tmp_path / 'x_1', seed=1)]
    assert 'The test accuracy of x is that of 1 of its 2 seeds.' in notes(*folders)


def test_a_workdir_twice_counts_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make(tmp_path / 'w')
    comparison = compare([folder, pathlib.Path('w')])
    assert [row.seeds for row in comparison.rows] == [(0,)]
    assert comparison.notes == ['A workdir that is given twice counts once.']


def test_the_keys_that_differ_are_listed_with_their_values(tmp_path):
    one = make(tmp_path / 'one', ops__backend='jax')
    two = make(tmp_path / 'two', data__augment=({'name': 'flip'},))
    assert compare([one, two]).differences == [
        ('data.augment', ('[]', '[{"name": "flip"}]')),
        ('ops.backend', ('jax', 'auto')),
    ]


def test_the_command_ends_with_one_object(seeds, tmp_path, capsys):
    command.main([*map(str, seeds), '--out', str(tmp_path / 'out'), '--json'])
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert [run['run'] for run in result['runs']] == ['x', 'y']
    assert result['runs'][1]['test_accuracy'] == 0.5
    assert all(pathlib.Path(path).is_file() for path in result['files'])
    assert str(tmp_path / 'out' / 'comparison.html') in lines


def test_a_workdir_that_does_not_exist_is_one_sentence(seeds, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([str(seeds[0]), str(tmp_path / 'none'), '--out', str(tmp_path / 'out')])
    assert ended.value.code == 1
    assert re.fullmatch('cifar_jax: No workdir .*none.*\n', capsys.readouterr().err)
    assert not (tmp_path / 'out').exists()


def test_the_table_of_cifar10_md_is_the_one_of_the_results():
    """If not: write docs/s4 again by the command in docs/cifar10.md, and copy its table."""
    names = ('plain_cnn_ours_30', 'senet_30', 'inception_30')
    comparison = compare([ROOT / 'results' / name for name in names])
    table = render.markdown_rows(comparison)
    page = (ROOT / 'docs' / 'cifar10.md').read_text()
    assert f'<!-- S4 -->\n\n{table}\n\n<!-- end of S4 -->' in page
    assert table in (ROOT / 'docs' / 's4' / 'comparison.md').read_text()
