"""Changed data of a run are detected and reported."""

import errno
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from cifar_jax import files
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference.evaluation import evaluate

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
pytestmark = pytest.mark.slow
CLASSES = ('cat', 'dog', 'fox')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A folder of images, and the workdir of a run on it."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for part, count in (('train', 24), ('test', 8)):
        for label, name in enumerate(CLASSES):
            (root / 'images' / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (8, 8, 3), np.uint8) + np.uint8(80 * label)
                Image.fromarray(pixels).save(root / 'images' / part / name / f'{number}.png')
    train(root)
    evaluate(root / 'w', 'test')
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of the run, whose images may be changed; the run finds them by `data.source`."""
    for name in ('images', 'w'):
        shutil.copytree(finished / name, tmp_path / name)
    workdir = Workdir(tmp_path / 'w')
    text = json.dumps(workdirs.read_config_file(workdir)).replace(str(finished), str(tmp_path))
    files.write_json(workdir.config, files.with_checksum(json.loads(text)))
    return tmp_path


def train(root, epochs=1):
    overrides = {
        'data.source': f'folder:{root / "images"}',
        'data.image_size': 32,
        'data.fraction': 1.0,
        'data.validation': 'stratified',
        'train.batch_size': 8,
        'train.length': f'{epochs} epochs',
        'log.tensorboard': False,
    }
    overrides = [f'--config.{key}={value}' for key, value in overrides.items()]
    return run.train(configs.load(f'{CONFIGS}/small_vgg.py:smoke', overrides), root / 'w')


def content(root):
    files = (path for path in (root / 'w').rglob('*') if path.is_file() and path.name != '.lock')
    return {path: path.read_bytes() for path in files}


def paint_black(root, part):
    for path in (root / 'images' / part).rglob('*.png'):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def swap(root, part):
    folder = root / 'images' / part
    for old, new in (('cat', 'x'), ('dog', 'cat'), ('x', 'dog')):
        (folder / old).rename(folder / new)


@pytest.mark.parametrize('change', [paint_black, swap])
def test_other_test_images_are_not_evaluated_as_those_of_the_run(root, change):
    change(root, 'test')
    with pytest.raises(UserError, match='test images or labels are not those'):
        evaluate(root / 'w', 'test')


def test_other_training_images_are_reported_and_leave_the_test_result(root, caplog):
    before = evaluate(root / 'w', 'test')
    paint_black(root, 'train')
    assert evaluate(root / 'w', 'test') == before
    assert 'the train images or labels have changed' in caplog.text


@pytest.mark.parametrize('part', ['train', 'test'])
def test_a_run_does_not_resume_with_other_images_and_nothing_is_overwritten(root, part):
    paint_black(root, part)
    before = content(root)
    with pytest.raises(UserError, match=f'{part}.* images or labels are not those'):
        train(root, epochs=2)
    assert content(root) == before


def test_a_folder_that_was_moved_is_named_by_data_dir(root):
    before = evaluate(root / 'w', 'test')
    (root / 'images').rename(root / 'moved')
    with pytest.raises(UserError, match='images'):
        evaluate(root / 'w', 'test')
    assert evaluate(root / 'w', 'test', data_dir=str(root / 'moved')) == before


def rename(root):
    for part in ('train', 'test'):
        (root / 'images' / part / 'cat').rename(root / 'images' / part / 'zebra')


def add(root):
    for part in ('train', 'test'):
        shutil.copytree(root / 'images' / part / 'cat', root / 'images' / part / 'zebra')


def remove(root):
    for part in ('train', 'test'):
        shutil.rmtree(root / 'images' / part / 'cat')


@pytest.mark.parametrize(
    ('change', 'named'),
    [(rename, 'cat missing; zebra new'), (add, 'zebra new'), (remove, 'cat missing')],
)
def test_other_classes_are_named_and_nothing_is_overwritten(root, change, named):
    change(root)
    before = content(root)
    for use in (lambda: evaluate(root / 'w', 'test'), lambda: train(root, epochs=2)):
        with pytest.raises(UserError, match=named):
            use()
    assert content(root) == before


def test_restored_data_let_the_run_resume(root):
    rename(root)
    with pytest.raises(UserError):
        train(root, epochs=2)
    for part in ('train', 'test'):
        (root / 'images' / part / 'zebra').rename(root / 'images' / part / 'cat')
    assert train(root, epochs=2)['epoch'] == 2


def test_predictions_that_are_kept_depend_on_the_preprocessing(root):
    """A preprocessing.json of an older version has no checksum, and may be edited by hand."""
    path = root / 'w' / 'preprocessing.json'
    before = evaluate(root / 'w', 'test')
    stored = json.loads(path.read_text())
    del stored['sha256']
    stored['mean'] = (np.array(stored['mean']) + 3).tolist()
    path.write_text(json.dumps(stored))
    assert evaluate(root / 'w', 'test')['loss'] != before['loss']


def test_a_preprocessing_json_that_was_changed_is_refused(root):
    path = root / 'w' / 'preprocessing.json'
    path.write_text(path.read_text().replace('"dog"', '"dig"'))
    with pytest.raises(UserError, match='does not match its own checksum'):
        evaluate(root / 'w', 'test')


def test_an_older_run_resumes_and_keeps_digests_from_then_on(root, caplog):
    path = root / 'w' / 'preprocessing.json'
    stored = json.loads(path.read_text())
    digests = stored.pop('digests')
    del stored['sha256']
    path.write_text(json.dumps(stored))
    with caplog.at_level('INFO', logger='cifar_jax'):
        train(root, epochs=2)
    assert json.loads(path.read_text())['digests'] == digests
    assert 'added digests of the data' in caplog.text


@pytest.mark.parametrize(
    'error',
    [
        PermissionError(errno.EACCES, 'Permission denied'),
        OSError(errno.EROFS, 'Read-only file system'),
        OSError(errno.ENOSPC, 'No space left on device'),
    ],
)
def test_a_workdir_that_cannot_be_written_to_is_evaluated(root, monkeypatch, caplog, error):
    expected = evaluate(root / 'w', 'test')
    (root / 'w' / 'predictions' / 'test.npz').unlink()

    def refuse(path, content):
        raise error

    monkeypatch.setattr('cifar_jax.files.write', refuse)
    assert evaluate(root / 'w', 'test') == expected
    warnings = [r.getMessage() for r in caplog.records if r.name == 'cifar_jax']
    assert warnings == [
        f'{root / "w"}: {error.strerror}, so that the {results} are not kept there'
        for results in ('predictions', 'results')
    ]


def test_another_error_of_writing_is_not_hidden(root, monkeypatch):
    (root / 'w' / 'predictions' / 'test.npz').unlink(missing_ok=True)

    def fail(path, content):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr('cifar_jax.files.write', fail)
    with pytest.raises(OSError, match='Input/output error'):
        evaluate(root / 'w', 'test')
