"""The report of a workdir: its files, its page, and workdirs that are not whole."""

import configparser
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from cifar_jax import report as command
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
    """The workdir of a short run in NumPy, and what its report returned."""
    folder = trained(tmp_path_factory.mktemp('run') / 'workdir', 'numpy_cnn.py:smoke')
    return folder, report.write(folder, 'test')


@pytest.fixture
def workdir(reported, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(reported[0], tmp_path / 'workdir')


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without pictures, for tests of the page's words."""
    monkeypatch.setattr(pictures, 'SECTIONS', ())


def page(folder: pathlib.Path) -> str:
    return (folder / 'report' / 'index.html').read_text()


def numbers(folder: pathlib.Path) -> dict[str, str]:
    return dict(re.findall('<data id="([a-z0-9]+)" value="([^"]*)"', page(folder)))


def refusal(folder: pathlib.Path) -> str:
    with pytest.raises(UserError) as caught:
        report.write(folder, 'test')
    assert str(caught.value).endswith('.')
    return str(caught.value)


def test_every_picture_is_there_as_png_and_svg_and_in_the_page(reported):
    folder, result = reported
    wanted = {f'{name}.{suffix}' for name in NAMES for suffix in ('png', 'svg')}
    assert {path.name for path in (folder / 'report').iterdir()} == wanted | {'index.html'}
    assert {pathlib.Path(path).name for path in result['pictures']} == wanted
    assert result['report'] == str(folder / 'report' / 'index.html')
    assert page(folder).count('<img src="data:image/svg+xml;base64,') == len(NAMES)


def test_the_page_asks_for_nothing_else(reported):
    without_pictures = re.sub('data:[^"]*', '', page(reported[0]))
    assert not re.search(r'https?:|//|url\(|@import|<script|<link|href=', without_pictures)


@pytest.mark.slow
def test_the_same_workdir_gives_the_same_bytes(reported):
    folder = reported[0]
    before = {path.name: path.read_bytes() for path in (folder / 'report').iterdir()}
    report.write(folder, 'test')
    assert {path.name: path.read_bytes() for path in (folder / 'report').iterdir()} == before


def test_the_numbers_are_those_of_evaluate(reported):
    folder, result = reported
    wanted = evaluate(folder, 'test')
    shown = numbers(folder)
    for key in ('split', 'images', 'loss', 'accuracy', 'top5', 'sha256'):
        assert result[key] == wanted[key]
    for key in ('images', 'loss', 'accuracy', 'top5'):
        assert float(shown[key]) == wanted[key]
    assert float(shown['ece']) == result['ece']


def test_the_page_has_the_config_s_differences_the_environment_and_the_command(reported):
    folder, _ = reported
    differing, others = page(folder).split('keys that have their defaults')
    assert '<td>0.2</td><td class="soft">1.0</td>' in differing.split('<h2>Config')[1]
    assert 'clip_norm' not in differing
    assert 'clip_norm' in others
    environment = json.loads((folder / 'config.json').read_text())['environment']
    assert environment['processor'] in others
    assert 'python -m x &lt;y&gt;\npython -m cifar_jax.report --workdir' in others


@pytest.mark.slow
def test_a_run_of_jax_without_validation_is_reported(tmp_path, undrawn):
    folder = trained(tmp_path / 'w', 'cifar100_25.py:base_smoke', 'data.validation=none')
    with pytest.raises(UserError, match='without a validation split: use --split test'):
        report.write(folder, 'validation')
    report.write(folder, 'test')
    assert 'best epoch' not in page(folder)


def test_an_interrupted_run_is_reported_with_the_epochs_that_ended(workdir, undrawn):
    (workdir / 'summary.json').unlink()
    with (workdir / 'metrics.jsonl').open('a') as file:
        file.write('{"epoch": 3, "ste')
    report.write(workdir, 'test')
    assert numbers(workdir)['epochs'] == '2'
    assert '2 so far' in page(workdir)
    assert 'accuracy' in numbers(workdir)


def test_names_of_classes_are_data(workdir, undrawn):
    path = workdir / 'preprocessing.json'
    stored = json.loads(path.read_text())
    stored['classes'][:2] = ['<script>alert(1)</script>', '$x_{$ & "y"']
    path.write_text(json.dumps(stored))
    report.write(workdir, 'test')
    assert '<script' not in page(workdir)
    assert '&lt;script&gt;alert(1)' in page(workdir)


def test_a_folder_that_is_no_workdir_is_answered_with_one_sentence(tmp_path):
    assert 'No workdir' in refusal(tmp_path / 'nowhere')
    assert 'is not the workdir of a run' in refusal(tmp_path)


def test_a_run_without_a_checkpoint_is_answered_with_one_sentence(workdir):
    shutil.rmtree(workdir / 'checkpoints')
    assert 'has no checkpoint yet: train it first' in refusal(workdir)


@pytest.mark.parametrize(
    ('name', 'content', 'part'),
    [
        ('config.json', '{"config', 'cannot be read'),
        ('config.json', '{"config": {"seed": 0}}', 'of another version of cifar_jax or damaged'),
        ('preprocessing.json', '{}', 'is damaged'),
        ('summary.json', '{"finished', 'cannot be read'),
        ('summary.json', '[]', 'of another version of cifar_jax or damaged'),
    ],
)
def test_a_damaged_file_is_answered_with_one_sentence(workdir, name, content, part):
    (workdir / name).write_text(content)
    message = refusal(workdir)
    assert name in message
    assert part in message


@pytest.mark.parametrize('change', [{'rate': None}, {'val_loss': 'low'}, {'seconds': True}])
def test_a_line_of_metrics_of_another_version_is_named(workdir, change):
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    lines[1] |= change
    (workdir / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    assert 'metrics.jsonl is of another version of cifar_jax or damaged in line 2' in refusal(
        workdir
    )


def test_outputs_that_are_not_finite_are_answered_with_one_sentence(workdir, monkeypatch):
    found = predictions.read(Workdir(workdir), 'test')
    found.logits[0, 0] = float('nan')
    monkeypatch.setattr(predictions, 'of', lambda *_: found)
    assert 'not finite' in refusal(workdir)


def test_an_environment_of_another_version_is_named(workdir):
    stored = json.loads((workdir / 'config.json').read_text())
    del stored['environment']
    (workdir / 'config.json').write_text(json.dumps(stored))
    assert 'of another version of cifar_jax or damaged' in refusal(workdir)


def test_a_run_with_zca_s_matrix_is_reported(reported, workdir, undrawn):
    path = workdir / 'preprocessing.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'whitened': True}))
    assert 'whitening.npz is missing' in refusal(workdir)
    np.savez(workdir / 'whitening.npz', whitening=np.eye(3072, dtype=np.float32))
    shutil.rmtree(workdir / 'predictions')
    assert report.write(workdir, 'test')['accuracy'] == reported[1]['accuracy']


def test_the_command_prints_the_path_and_ends_with_one_object(workdir, undrawn, capsys):
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
def test_the_command_refuses_what_belongs_to_its_other_form(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert 'error:' in capsys.readouterr().err


def test_a_wheel_holds_the_templates():
    settings = configparser.ConfigParser()
    settings.read(CONFIGS.parent / 'setup.cfg')
    patterns = settings['options.package_data']['cifar_jax.reporting'].split(', ')
    folder = CONFIGS.parent / 'cifar_jax' / 'reporting'
    held = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert held == {path.name for path in folder.iterdir() if path.suffix in ('.html', '.css')}
