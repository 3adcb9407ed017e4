"""A run is evaluated on its own data after they have moved, and on other data, kept apart."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

import cifar_jax
from cifar_jax import evaluate as command
from cifar_jax import files, report
from cifar_jax.data import cache, catalogue
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference.evaluation import evaluate
from cifar_jax.reporting import facts

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
CLASSES = ('cat', 'dog', 'fox')


def draw_images(folder, classes, count, seed=0):
    """Writes noisy images, brighter from class to class."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            brightness = np.uint8(80 * CLASSES.index(name)) if name in CLASSES else np.uint8(0)
            pixels = rng.integers(0, 60, (8, 8, 3), np.uint8) + brightness
            Image.fromarray(pixels).save(folder / name / f'{number}.png')


def train(root, source, epochs=1):
    """NumPy's network, which trains in a second."""
    overrides = {
        'data.source': source,
        'data.image_size': 8,
        'data.fraction': 1.0,
        'data.classes': 0,
        'model.layers': "[('reshape', {'output_shape': 'flatten'}), ('dense', {'neurons': 3})]",
        'train.batch_size': 8,
        'train.length': f'{epochs} epochs',
        'log.tensorboard': False,
    }
    overrides = [f'--config.{key}={value}' for key, value in overrides.items()]
    config = configs.load(f'{CONFIGS}/numpy_cnn.py:smoke', overrides)
    return run.train(config, root / 'w')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A folder of images, and the workdir of a run on it."""
    root = tmp_path_factory.mktemp('data')
    draw_images(root / 'images' / 'train', CLASSES, 16)
    draw_images(root / 'images' / 'test', CLASSES, 8, seed=1)
    train(root, f'folder:{root / "images"}')
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of the run, whose folder of images is elsewhere than its config says."""
    for name in ('images', 'w'):
        shutil.copytree(finished / name, tmp_path / name)
    (tmp_path / 'images').rename(tmp_path / 'moved')
    workdir = Workdir(tmp_path / 'w')
    text = json.dumps(workdirs.read_config_file(workdir)).replace(str(finished), str(tmp_path))
    files.write_json(workdir.config, files.with_checksum(json.loads(text)))
    return tmp_path


def summary(root):
    return json.loads((root / 'w' / 'summary.json').read_text())


def test_images_that_have_moved_are_evaluated_as_those_of_the_run(root):
    expected = evaluate(root / 'w', 'test', data_dir=str(root / 'moved'))
    (root / 'moved').rename(root / 'images')
    (root / 'w' / 'predictions' / 'test.npz').unlink()
    assert evaluate(root / 'w', 'test') == expected
    assert 'source' not in expected
    assert summary(root)['test'] == expected
    assert 'other' not in summary(root)


def test_images_of_the_run_under_another_path_are_recognised(root):
    source = f'folder:{root / "moved"}'
    assert evaluate(root / 'w', source=source) == evaluate(root / 'w', data_dir=f'{root / "moved"}')
    assert 'other' not in summary(root)


def test_a_report_finds_images_that_have_moved(root):
    with pytest.raises(UserError):
        facts.read(root / 'w', 'test')
    assert facts.read(root / 'w', 'test', str(root / 'moved')).by_class.images.sum()


def test_a_report_on_other_images_is_refused(root, capsys):
    draw_images(root / 'moved' / 'test' / 'cat', ('more',), 1)
    with pytest.raises(SystemExit):
        report.main(['--workdir', str(root / 'w'), '--data-dir', str(root / 'moved')])
    assert 'test images or labels are not those' in capsys.readouterr().err


def test_a_run_resumes_on_images_that_have_moved(root):
    source = f'folder:{root / "moved"}'
    assert train(root, source, epochs=2)['epoch'] == 2
    assert (
        json.loads((root / 'w' / 'config.json').read_text())['config']['data']['source'] == source
    )


def test_a_run_does_not_resume_on_other_images_under_another_path(root):
    draw_images(root / 'other', CLASSES, 16)
    with pytest.raises(UserError, match='images or labels are not those'):
        train(root, f'folder:{root / "other"}', epochs=2)


def test_a_run_that_began_with_a_relative_path_is_evaluated_from_any_directory(
    finished, tmp_path, monkeypatch
):
    monkeypatch.chdir(finished)
    train(tmp_path, 'folder:images')
    monkeypatch.chdir(tmp_path)
    assert evaluate(tmp_path / 'w')['images'] == 24
    monkeypatch.chdir(finished)
    assert train(tmp_path, 'folder:images', epochs=2)['epoch'] == 2


def test_other_images_have_the_logits_of_the_loaded_classifier_and_labels_by_name(root):
    draw_images(root / 'jpegs', ('dog', 'fox'), 4, seed=2)
    result = evaluate(root / 'w', source=f'folder:{root / "jpegs"}')
    classifier = cifar_jax.load(root / 'w')
    files = [root / 'jpegs' / name / f'{n}.png' for name in ('dog', 'fox') for n in range(4)]
    logits = classifier.logits(files)
    labels = np.repeat([classifier.classes.index('dog'), classifier.classes.index('fox')], 4)
    (path,) = (root / 'w' / 'predictions').glob('other-jpegs-*-all.npz')
    kept = np.load(path)
    np.testing.assert_allclose(kept['logits'], logits, rtol=1e-5)
    np.testing.assert_array_equal(kept['labels'], labels)
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    assert result['accuracy'] == (logits.argmax(-1) == labels).mean()
    assert result['loss'] == pytest.approx(-log_p[np.arange(8), labels].mean(), rel=1e-5)


def test_no_test_part_is_announced_where_all_images_are_evaluated(root, capsys):
    draw_images(root / 'jpegs', CLASSES, 5)
    arguments = ['--workdir', str(root / 'w'), '--data', f'folder:{root / "jpegs"}']
    command.main(arguments)
    printed = capsys.readouterr().out
    assert 'is kept apart' in printed
    assert 'a fixed fifth of the images is the test set' not in printed


def test_the_result_on_other_images_is_kept_apart(root, capsys):
    own = evaluate(root / 'w', data_dir=str(root / 'moved'))
    predictions = (root / 'w' / 'predictions' / 'test.npz').read_bytes()
    draw_images(root / 'jpegs', ('dog',), 1)
    arguments = ['--workdir', str(root / 'w'), '--data', f'folder:{root / "jpegs"}', '--json']
    command.main(arguments)
    printed = capsys.readouterr().out
    source = f'folder:{root / "jpegs"}'
    result = json.loads(printed.splitlines()[-1])
    assert f'{source} is not a split of the data of the run' in printed
    assert 'other data' in printed
    assert 'images of 1 of the 3 classes' in printed
    assert (result['source'], result['split'], result['images']) == (source, 'all', 1)
    assert summary(root)['test'] == own
    assert summary(root)['other'] == {source: {'all': result}}
    assert (root / 'w' / 'predictions' / 'test.npz').read_bytes() == predictions


@pytest.mark.parametrize(('split', 'images'), [(None, 9), ('test', 9), ('train', 15), ('all', 24)])
def test_the_split_chooses_a_part_of_another_folder(root, split, images):
    draw_images(root / 'other' / 'training', CLASSES, 5, seed=3)
    draw_images(root / 'other' / 'Val', CLASSES, 3, seed=4)
    result = evaluate(root / 'w', split, source=f'folder:{root / "other"}')
    assert (result['images'], result['split']) == (images, split or 'test')


def test_a_set_of_tensorflow_datasets_may_have_only_a_test_part(root, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    decoded = cache.Decoded(
        {'test_images': images, 'test_fine': np.array([1, 1, 1, 0], np.int32)},
        {'fine': ['cat', 'dog']},
    )
    monkeypatch.setattr(catalogue, 'load', lambda *_, whole: decoded)
    result = evaluate(root / 'w', source='tfds:some_set')
    assert (result['split'], result['images']) == ('test', 4)
    with pytest.raises(UserError, match="no part 'train': use --split test or --split all"):
        evaluate(root / 'w', 'train', source='tfds:some_set')


def test_a_class_that_the_run_does_not_know_is_named(root):
    draw_images(root / 'jpegs', ('dog', 'wolf'), 1)
    with pytest.raises(UserError, match=r"the class 'wolf', which the run in .* not trained on"):
        evaluate(root / 'w', source=f'folder:{root / "jpegs"}')


def test_a_part_that_the_other_source_lacks_is_named(root):
    draw_images(root / 'jpegs', CLASSES, 1)
    with pytest.raises(UserError, match="no part 'train': use --split all"):
        evaluate(root / 'w', 'train', source=f'folder:{root / "jpegs"}')


def test_all_images_are_for_other_data(root):
    with pytest.raises(UserError, match='--split all'):
        evaluate(root / 'w', 'all')


def damaged(root):
    draw_images(root / 'jpegs', CLASSES, 1)
    (root / 'jpegs' / 'cat' / '0.png').write_bytes(b'damaged')
    return ['--data', f'folder:{root / "jpegs"}']


@pytest.mark.parametrize(
    ('arguments', 'advice'),
    [
        (lambda root: [], 'name where it is now with --data-dir PATH'),
        (lambda root: ['--data', f'folder:{root / "nowhere"}'], "--data 'folder:PATH'"),
        (lambda root: ['--data', f'archive:{root / "nowhere"}'], "--data 'archive:PATH'"),
        (lambda root: ['--data', 'jpegs'], "--data 'jpegs' is not valid"),
        (lambda root: ['--data-dir', str(root / 'nowhere')], '--data-dir PATH'),
        (
            lambda root: ['--data-dir', '~nobody_of_this_name/x'],
            "--data-dir '~nobody_of_this_name/x' must",
        ),
        (damaged, '0.png'),
    ],
)
def test_errors_name_options_of_the_command(root, capsys, arguments, advice):
    with pytest.raises(SystemExit):
        command.main(['--workdir', str(root / 'w'), *arguments(root)])
    error = capsys.readouterr().err
    assert advice in error
    assert '--config' not in error
    assert 'config.data' not in error
