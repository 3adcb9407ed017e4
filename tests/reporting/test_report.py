"""The report of a workdir: its files, its page, and damaged workdirs."""

import configparser
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from cifar_jax import report as command
from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import predictions
from cifar_jax.inference.evaluation import evaluate
from cifar_jax.reporting import build as report
from cifar_jax.reporting import pictures

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
NAMES = (
    *('accuracy', 'loss', 'rate', 'samples', 'class_counts', 'hits', 'errors_by_class'),
    *('precision_recall', 'confusion', 'confusion_errors', 'calibration', 'predictions'),
    *('mistakes', 'architecture', 'filters', 'feature_maps', 'grad_cam'),
)


def trained(folder: pathlib.Path, config: str, *overrides: str) -> pathlib.Path:
    values = ('data.fraction=0.2', 'log.tensorboard=false', 'train.length=2 epochs', *overrides)
    arguments = [f'--config.{value}' for value in values]
    run.train(configs.load(f'{CONFIGS}/{config}', arguments), folder, command='python -m x <y>')
    return folder


@pytest.fixture(scope='module')
def reported(tmp_path_factory):
    """The workdir of a short run in NumPy, and the result of `report.write`."""
    folder = trained(tmp_path_factory.mktemp('run') / 'workdir', 'numpy_cnn.py:smoke')
    return folder, report.write(folder, 'test')


@pytest.fixture
def workdir(reported, tmp_path):
    """A copy that a test may modify."""
    return shutil.copytree(reported[0], tmp_path / 'workdir')


@pytest.fixture
def no_pictures(monkeypatch):
    """Makes reports without pictures, for tests of the page's text."""
    monkeypatch.setattr(pictures, 'SECTIONS', ())


def page(folder: pathlib.Path) -> str:
    return (folder / 'report' / 'index.html').read_text()


def numbers(folder: pathlib.Path) -> dict[str, str]:
    return dict(re.findall('<data id="([a-z0-9]+)" value="([^"]*)"', page(folder)))


def error_message(folder: pathlib.Path) -> str:
    with pytest.raises(UserError) as exc_info:
        report.write(folder, 'test')
    assert str(exc_info.value).endswith('.')
    return str(exc_info.value)


def test_every_picture_is_written_as_png_and_svg_and_embedded(reported):
    folder, result = reported
    expected = {f'{name}.{suffix}' for name in NAMES for suffix in ('png', 'svg')}
    assert {path.name for path in (folder / 'report').iterdir()} == expected | {'index.html'}
    assert {pathlib.Path(path).name for path in result['pictures']} == expected
    assert result['report'] == str(folder / 'report' / 'index.html')
    assert page(folder).count('<img src="data:image/svg+xml;base64,') == len(NAMES)


def test_the_page_needs_no_other_resource(reported):
    without_pictures = re.sub('data:[^"]*', '', page(reported[0]))
    assert not re.search(r'https?:|//|url\(|@import|<script|<link|href=', without_pictures)


@pytest.mark.slow
def test_the_same_workdir_gives_the_same_bytes(reported):
    folder = reported[0]
    before = {path.name: path.read_bytes() for path in (folder / 'report').iterdir()}
    report.write(folder, 'test')
    assert {path.name: path.read_bytes() for path in (folder / 'report').iterdir()} == before


def test_the_metrics_equal_those_of_evaluate(reported):
    folder, result = reported
    expected = evaluate(folder, 'test')
    on_page = numbers(folder)
    for key in ('split', 'images', 'loss', 'accuracy', 'top5', 'sha256'):
        assert result[key] == expected[key]
    for key in ('images', 'loss', 'accuracy', 'top5'):
        assert float(on_page[key]) == expected[key]
    assert float(on_page['ece']) == result['ece']


def test_the_page_has_changed_settings_environment_and_command(reported):
    folder, _ = reported
    differing, others = page(folder).split('settings with their default values')
    assert '<td>0.2</td><td class="soft">1.0</td>' in differing.split('<h2>Config')[1]
    assert 'clip_norm' not in differing
    assert 'clip_norm' in others
    environment = json.loads((folder / 'config.json').read_text())['environment']
    assert environment['processor'] in others
    assert 'python -m x &lt;y&gt;\npython -m cifar_jax.report --workdir' in others


@pytest.mark.slow
def test_a_run_of_jax_without_validation_is_reported(tmp_path, no_pictures):
    folder = trained(tmp_path / 'w', 'cifar100_25.py:base_smoke', 'data.validation=none')
    with pytest.raises(UserError, match='without a validation split: use --split test'):
        report.write(folder, 'validation')
    report.write(folder, 'test')
    assert 'best epoch' not in page(folder)


def test_an_interrupted_run_is_reported_with_its_finished_epochs(workdir, no_pictures):
    (workdir / 'summary.json').unlink()
    with (workdir / 'metrics.jsonl').open('a') as file:
        file.write('{"epoch": 3, "ste')
    report.write(workdir, 'test')
    assert numbers(workdir)['epochs'] == '2'
    assert '2 so far' in page(workdir)
    assert 'accuracy' in numbers(workdir)


def test_names_of_classes_are_escaped(workdir, no_pictures, monkeypatch):
    path = workdir / 'preprocessing.json'
    stored = json.loads(path.read_text())
    del stored['sha256']
    stored['classes'][:2] = ['<script>alert(1)</script>', '$x_{$ & "y"']
    path.write_text(json.dumps(stored))
    prepare = pipeline.prepare

    def with_these_classes(*arguments):
        return prepare(*arguments)._replace(classes=tuple(stored['classes']))

    monkeypatch.setattr(pipeline, 'prepare', with_these_classes)
    report.write(workdir, 'test')
    assert '<script' not in page(workdir)
    assert '&lt;script&gt;alert(1)' in page(workdir)


def test_a_folder_that_is_not_a_workdir_is_one_sentence(tmp_path):
    assert 'No workdir' in error_message(tmp_path / 'nowhere')
    assert 'is not the workdir of a run' in error_message(tmp_path)


def test_a_run_without_a_checkpoint_is_one_sentence(workdir):
    shutil.rmtree(workdir / 'checkpoints')
    assert 'has no checkpoint yet: train it first' in error_message(workdir)


@pytest.mark.parametrize(
    ('name', 'content', 'part'),
    [
        ('config.json', '{"config', 'is damaged'),
        ('config.json', '{"config": {"seed": 0}}', 'of another version of cifar_jax or damaged'),
        ('preprocessing.json', '{}', 'is damaged'),
        ('summary.json', '{"finished', 'is damaged'),
        ('summary.json', '[]', 'is damaged'),
    ],
)
def test_a_damaged_file_is_one_sentence(workdir, name, content, part):
    (workdir / name).write_text(content)
    message = error_message(workdir)
    assert name in message
    assert part in message


@pytest.mark.parametrize('change', [{'rate': None}, {'val_loss': 'low'}, {'seconds': True}])
def test_an_invalid_line_of_metrics_is_named(workdir, change):
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    lines[1] |= change
    (workdir / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    message = error_message(workdir)
    assert 'metrics.jsonl' in message
    assert 'damaged in line 2' in message


def test_outputs_that_are_not_finite_is_one_sentence(workdir, monkeypatch):
    stored = predictions.read(Workdir(workdir), 'test')
    stored.logits[0, 0] = float('nan')
    monkeypatch.setattr(predictions, 'of', lambda *_: stored)
    assert 'not finite' in error_message(workdir)


def test_a_config_without_an_environment_is_one_sentence(workdir):
    stored = json.loads((workdir / 'config.json').read_text())
    del stored['environment'], stored['checksum']
    (workdir / 'config.json').write_text(json.dumps(stored))
    assert 'of another version of cifar_jax or damaged' in error_message(workdir)


def test_a_run_with_zca_whitening_is_reported(reported, workdir, no_pictures):
    path = workdir / 'preprocessing.json'
    stored = json.loads(path.read_text())
    del stored['sha256']
    path.write_text(json.dumps(stored | {'whitened': True}))
    assert 'whitening.npz is missing' in error_message(workdir)
    np.savez(workdir / 'whitening.npz', whitening=np.eye(3072, dtype=np.float32))
    shutil.rmtree(workdir / 'predictions')
    assert report.write(workdir, 'test')['accuracy'] == reported[1]['accuracy']


def test_the_command_prints_the_path_and_json(workdir, no_pictures, capsys):
    command.main(['--workdir', str(workdir), '--json'])
    *_, path, last = capsys.readouterr().out.splitlines()
    assert path == str(workdir / 'report' / 'index.html')
    assert json.loads(last)['report'] == path


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['--augmentations', '--config', 'configs/senet.py'],
        ['--workdir', 'w', '--config.seed=1'],
        ['--workdir', 'w', '--augmentations'],
    ],
)
def test_options_of_the_two_forms_of_the_command_are_not_mixed(arguments, capsys):
    with pytest.raises(SystemExit) as exc_info:
        command.main(arguments)
    assert exc_info.value.code == 2
    assert 'error:' in capsys.readouterr().err


def test_the_templates_are_package_data():
    settings = configparser.ConfigParser()
    settings.read(CONFIGS.parent / 'setup.cfg')
    patterns = settings['options.package_data']['cifar_jax.reporting'].split(', ')
    folder = CONFIGS.parent / 'cifar_jax' / 'reporting'
    packaged = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert packaged == {path.name for path in folder.iterdir() if path.suffix in ('.html', '.css')}
