"""Classifiers in one file: written from a run, and read without it."""

import configparser
import json
import os
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors import numpy as safetensors

import cifar_jax
import export
from cifar_jax import predict
from cifar_jax.data import sources
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.inference import exported, new_images, pretrained
from cifar_jax.models.pretrained import catalogue, safetensors_files

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
REAL = pathlib.Path(os.environ.get('CIFAR_JAX_DATA', '~/tensorflow_datasets')).expanduser()


def config(*overrides):
    """A narrow SENet on a few digits, for two steps."""
    narrow = ['model.widths=(4,)', 'model.blocks=(1,)', 'data.fraction=0.1', 'train.batch_size=16']
    overrides = [*narrow, 'train.length=2 steps', *overrides]
    return configs.load(
        str(CONFIGS / 'senet.py:digits'), [f'--config.{text}' for text in overrides]
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the run of a narrow SENet, `run`, and its classifier, `run.safetensors`."""
    folder = tmp_path_factory.mktemp('exported')
    cropped = 'data.resize=crop', 'data.image_size=32'
    run.train(config('data.normalize=pixel', *cropped), folder / 'run')
    exported.write(folder / 'run', folder / 'run.safetensors')
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f'{number}.png')
    return folder


def files(folder):
    return sorted(folder.glob('*.png'))


def changed(folder, tmp_path, change):
    """The file of the classifier with other arrays or another description."""
    content = (folder / 'run.safetensors').read_bytes()
    arrays = safetensors_files.read(content)
    described = json.loads(safetensors_files.metadata(content)['classifier'])
    change(arrays, described)
    path = tmp_path / 'changed.safetensors'
    safetensors_files.write(path, arrays, classifier=json.dumps(described))
    return path


def test_a_file_gives_the_logits_of_its_run(folder):
    expected = [answer.logits for answer in new_images.predict(folder / 'run', files(folder))]
    name = str(folder / 'run.safetensors')
    answers = [*new_images.predict_pretrained(name, None, files(folder))]
    np.testing.assert_allclose([a.logits for a in answers], expected, rtol=1e-5, atol=1e-6)
    assert answers[0].classes == cifar_jax.load(folder / 'run').classes


def test_a_file_needs_nothing_of_its_run(folder, tmp_path, capsys):
    shutil.copy(folder / 'run.safetensors', tmp_path / 'alone.safetensors')
    with pytest.raises(SystemExit) as ended:
        predict.main(
            ['--pretrained', str(tmp_path / 'alone.safetensors'), '--json', str(files(folder)[0])]
        )
    assert ended.value.code == 0
    assert len(json.loads(capsys.readouterr().out)['top']) == 5


def test_a_file_is_loaded_from_python(folder):
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    alone, of_run = (cifar_jax.load(folder / name) for name in ('run.safetensors', 'run'))
    np.testing.assert_allclose(alone.logits(images), of_run.logits(images), rtol=1e-5, atol=1e-6)
    assert (alone.image_shape, alone.step) == ((32, 32, 3), 2)


def test_a_run_can_begin_with_a_file(folder):
    init_from = f'init_from={folder}/run.safetensors'
    second = config(
        'data.normalize=pixel', init_from, 'schedule.name=constant', 'schedule.rate=0.0'
    )
    run.train(second, folder / 'second')
    images = np.zeros((1, 32, 32, 3), np.uint8)
    first, second = (cifar_jax.load(folder / name).features(images) for name in ('run', 'second'))
    # One step moves the statistics of batch norm by a tenth.
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5


def test_files_are_resized_as_in_training_or_as_asked(folder):
    assert exported.read(f'{folder}/run.safetensors').classifier.config.data.resize == 'crop'
    read = exported.read(f'{folder}/run.safetensors', 'stretch')
    assert read.classifier.config.data.resize == 'stretch'


def test_the_script_writes_a_file_and_says_its_size(folder, tmp_path, capsys):
    path = tmp_path / 'written.safetensors'
    export.main(['--workdir', str(folder / 'run'), str(path)])
    written, expected = (x.read_bytes() for x in (path, folder / 'run.safetensors'))
    # The order of the two texts in the metadata is not fixed.
    assert safetensors_files.metadata(written) == safetensors_files.metadata(expected)
    assert capsys.readouterr().out.startswith(f'{path}: 0.1 MiB, sha256 ')


def test_another_suffix_is_refused(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        export.main(['--workdir', str(folder / 'run'), str(tmp_path / 'weights.npz')])
    assert ended.value.code == 1
    assert 'weights.npz must end with .safetensors.' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda a, d: a.pop('params/head/bias'), 'params/head/bias is absent there and float32[10'),
        (lambda a, d: d.pop('classes'), "not written by scripts/export.py ('classes')"),
        (lambda a, d: d['classes'].pop(), 'is not SENet with 9 classes: params/head/bias is float'),
        (lambda a, d: d['model'].update(name='SENett'), "config.model.name='SENett'"),
        (lambda a, d: d['model'].update(widths=[8]), 'is not SENet with 10 classes: batch_stats'),
        (lambda a, d: d.update(mean=[1.0, 2.0]), 'not written by scripts/export.py (operands coul'),
        (lambda a, d: d.update(image_shape='x'), 'not written by scripts/export.py (invalid lit'),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(folder, tmp_path, change, message):
    path = changed(folder, tmp_path, change)
    with pytest.raises(UserError) as caught:
        exported.read(str(path))
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_changed_tensor_is_noticed(folder, tmp_path):
    content = (folder / 'run.safetensors').read_bytes()
    path = tmp_path / 'damaged.safetensors'
    path.write_bytes(content[:-4] + b'\0\0\0\1')
    with pytest.raises(UserError, match=r'do not match its checksum\): name another file\.$'):
        exported.read(str(path))


def test_files_of_other_programs_are_one_sentence(tmp_path):
    path = tmp_path / 'other.safetensors'
    safetensors.save_file({'a': np.zeros(2, np.float32)}, path)
    with pytest.raises(UserError, match='is damaged, or not written by'):
        exported.read(str(path))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(
        UserError, match=r'cannot be read .No such file or directory.: name another'
    ):
        exported.read(f'{tmp_path}/none.safetensors')


def test_the_precision_is_that_of_training(folder, tmp_path):
    path = changed(folder, tmp_path, lambda a, d: d.update(precision='bfloat16'))
    assert exported.read(str(path)).classifier.dtype == jnp.bfloat16


def test_images_that_are_not_square_are_refused_for_files(folder, tmp_path):
    path = changed(
        folder,
        tmp_path,
        lambda a, d: d.update(image_shape=[32, 16, 3], mean=[[[0.5] * 3]], std=[[[1.0] * 3]]),
    )
    assert cifar_jax.load(path).image_shape == (32, 16, 3)
    with pytest.raises(UserError, match='images of 32 x 16, and files are read as squares'):
        pretrained.load(str(path))


def test_other_weights_for_a_file_are_refused(folder):
    with pytest.raises(UserError, match='has its own weights: leave out --weights'):
        pretrained.load(str(folder / 'run.safetensors'), 'imagenet')


def test_images_whitened_by_zca_are_refused(folder, tmp_path):
    run.train(config('data.normalize=zca'), tmp_path / 'run')
    with pytest.raises(UserError, match='was trained on images whitened by ZCA, which cannot be'):
        exported.write(tmp_path / 'run', tmp_path / 'run.safetensors')
    assert not (tmp_path / 'run.safetensors').exists()


def test_a_trained_classifier_that_has_changed_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, '_FOLDER', folder)
    monkeypatch.setattr(catalogue, 'TRAINED', {'run': '0' * 64})
    with pytest.raises(UserError, match=r'run\.safetensors is damaged, or is not the published'):
        pretrained.load('run')


def test_the_package_has_the_classifiers_that_it_names():
    settings = configparser.ConfigParser()
    settings.read(CONFIGS.parent / 'setup.cfg')
    patterns = settings['options.package_data']['cifar_jax.models.pretrained'].split(', ')
    for name in catalogue.TRAINED:
        path = catalogue.trained(name)
        assert any(path.match(pattern) for pattern in patterns)
        classifier = cifar_jax.load(name)
        assert classifier.logits(np.zeros((2, *classifier.image_shape), np.uint8)).shape == (2, 10)


@pytest.mark.realdata
def test_the_network_of_the_package_knows_the_test_images_of_cifar10():
    if not [*REAL.glob('cifar10/*/dataset_info.json')]:
        pytest.skip(f'cifar10 is not prepared in {REAL}')
    real = get_defaults().data
    real.dir = str(REAL)
    data = sources.load(real).test
    answers = cifar_jax.load('senet_cifar10').logits(data.images[:1000]).argmax(1)
    assert 0.9 < np.mean(answers == data.labels[:1000]) < 0.94
