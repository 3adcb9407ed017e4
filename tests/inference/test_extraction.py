"""Features of data sets: their values, their keys, and computations that were interrupted."""

import json

import jax
import jax.numpy as jnp
import narrow_photographs
import numpy as np
import pytest
from narrow_photographs import COUNT, NAME, SIZE, WIDTH, Narrow, write_weights
from PIL import Image

from cifar_jax import features as command
from cifar_jax import models
from cifar_jax.data import image_files, kept_features, sources
from cifar_jax.errors import UserError
from cifar_jax.experiment import backbone
from cifar_jax.experiment import config as configs
from cifar_jax.inference import extraction
from cifar_jax.models.pretrained import safetensors_files
from cifar_jax.training import weights


@pytest.fixture
def config(monkeypatch, tmp_path):
    """A config of six images in each part, and of the narrow network."""
    monkeypatch.setitem(models.MODELS, NAME, Narrow)
    return narrow_photographs.config(tmp_path)


def read(folder, part='train'):
    return kept_features.read_part(folder, part, COUNT)


def refusal(config, out):
    with pytest.raises(UserError) as caught:
        extraction.extract(config, out)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_features_are_the_means_of_the_last_maps_of_resized_images(config, tmp_path):
    folder = extraction.extract(config, tmp_path / 'out').folder
    variables = write_weights(tmp_path / 'weights.safetensors')
    data = sources.load(config.data)
    for part in ('train', 'test'):
        images = getattr(data, part).images
        resized = np.stack([image_files.from_array(image, (SIZE, SIZE)) for image in images])
        inputs = (np.float32(resized) - 127) / 128
        expected = jax.jit(
            lambda v, x: Narrow(classes=3).apply(v, x, train=False, method='features')
        )(variables, inputs)
        features, labels = read(folder, part)
        # Pillow rounds the resized pixels to whole numbers.
        np.testing.assert_allclose(features[:, 0, 0], expected, rtol=0.02, atol=0.01)
        np.testing.assert_array_equal(labels, getattr(data, part).labels)


def test_features_are_those_of_the_images_alone_in_whatever_batch(config, tmp_path, monkeypatch):
    whole = read(extraction.extract(config, tmp_path / 'one').folder)
    monkeypatch.setattr(extraction, 'BATCH', 4)
    batches = read(extraction.extract(config, tmp_path / 'two').folder)
    np.testing.assert_allclose(batches.images, whole.images, rtol=1e-5)


def test_kept_features_are_found_again(config, tmp_path, monkeypatch):
    first = extraction.extract(config, tmp_path)
    monkeypatch.setattr(extraction, 'program', None)
    again = extraction.extract(config, tmp_path)
    assert (again.folder, again.images_per_second) == (first.folder, None)
    assert again.contents.sha256 == first.contents.sha256
    assert first.images_per_second > 0


def test_layers_that_are_added_to_the_published_network_make_no_difference(config, tmp_path):
    folder = extraction.extract(config, tmp_path).folder
    config.model.update(hidden=(4,), hidden_dropout=0.5)
    assert extraction.extract(config, tmp_path).folder == folder


def test_whatever_changes_gives_other_features(config, tmp_path):
    folders = [extraction.extract(config, tmp_path / 'out').folder]
    config.model.input_size = SIZE + 1
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    config.model.input_size, config.data.image_size = SIZE, 8
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    config.data.image_size = 9
    config.model.drop_path = 0.5
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    del config.model.drop_path
    config.precision = 'bfloat16'
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    config.precision = 'float32'
    write_weights(tmp_path / 'weights.safetensors', seed=1)
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    path = tmp_path / 'birds' / 'test' / 'wren' / '0.png'
    Image.new('RGB', (9, 9)).save(path)
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    path.with_name('2.png').rename(path.with_name('3.png'))
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    for part in ('train', 'test'):
        (tmp_path / 'birds' / part / 'wren').rename(tmp_path / 'birds' / part / 'wryneck')
    folders.append(extraction.extract(config, tmp_path / 'out').folder)
    # The names of test images alone have no influence.
    assert folders[-3] == folders[-2]
    assert len({*folders}) == len(folders) - 1


def test_the_head_of_the_weights_does_not_matter(config, tmp_path):
    first = extraction.extract(config, tmp_path / 'out').folder
    path = tmp_path / 'weights.safetensors'
    arrays = safetensors_files.read(path.read_bytes())
    body = {name: a for name, a in arrays.items() if not name.startswith('params/head/')}
    safetensors_files.write(path, body)
    assert extraction.extract(config, tmp_path / 'out').folder == first


def test_an_interrupted_computation_continues(config, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_features, 'CHUNK', 2)
    whole = extraction.extract(config, tmp_path / 'whole').folder
    written = []

    def write_chunk(folder, part, number, *arrays):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append((part, number))
        real(folder, part, number, *arrays)

    real = kept_features.write_chunk
    monkeypatch.setattr(kept_features, 'write_chunk', write_chunk)
    with pytest.raises(KeyboardInterrupt):
        extraction.extract(config, tmp_path / 'out')
    monkeypatch.setattr(kept_features, 'write_chunk', lambda *a: (written.append(a[1:3]), real(*a)))
    continued = extraction.extract(config, tmp_path / 'out').folder
    assert written == [(part, number) for part in ('train', 'test') for number in range(3)]
    for part in ('train', 'test'):
        for ours, theirs in zip(read(continued, part), read(whole, part), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_damaged_file_is_computed_again(config, tmp_path):
    folder = extraction.extract(config, tmp_path / 'out').folder
    before = read(folder).images
    (folder / 'train-00000.npz').write_bytes(b'PK')
    (folder / kept_features.INDEX).unlink()
    extraction.extract(config, tmp_path / 'out')
    np.testing.assert_array_equal(read(folder).images, before)


def test_photographs_are_read_at_the_size_of_the_network(config, tmp_path):
    config.data.image_size = 0
    by_default = extraction.extract(config, tmp_path).folder
    config.data.image_size = SIZE
    assert extraction.extract(config, tmp_path).folder == by_default


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'init_from': ''}, "config.init_from='' names no published weights: write --config."),
        ({'init_from': 'runs/senet'}, "config.init_from='runs/senet' names no published weights"),
        ({'init_from': 'nowhere.pth'}, 'There is no file nowhere.pth'),
        ({'model.name': 'SENet'}, 'There are no published weights of SENet'),
        ({'model.name': 'ResNet50'}, 'is of another network'),
        ({'model.top': 7}, 'top_norm/bias is float32[5] there and float32[7] here'),
        ({'init_skip': ('params/top/kernel',)}, 'leaves out params/top/kernel'),
        ({'init_skip': ('*_norm/*',)}, 'mean, and 13 more, on which the features depend'),
        ({'data.source': 'features:x'}, 'config.data.source names features'),
        ({'data.source': 'folder:nowhere'}, 'There is no folder'),
    ],
)
def test_what_gives_no_features_is_refused(config, tmp_path, changes, message):
    with config.ignore_type(), config.model.unlocked(), config.model.ignore_type():
        for key, value in changes.items():
            group, _, leaf = key.rpartition('.')
            (config[group] if group else config)[leaf] = value
    assert message in refusal(config, tmp_path / 'out')


def test_the_end_of_a_network_can_be_cut_off(config, tmp_path):
    """As in S1's open question about ResNet50."""
    model = models.create('ResNet50', 3, widths=(4, 8), blocks=(1, 1))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    whole = jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)
    safetensors_files.write(tmp_path / 'resnet.safetensors', weights.named(whole))
    arguments = {
        'data.source': config.data.source,
        'init_from': tmp_path / 'resnet.safetensors',
        'model.input_size': 32,
    }
    shorter = {
        'model.widths': '(4,)',
        'model.blocks': '(1,)',
        'init_skip': "['*/stage2_*']",
    }
    cut = {'model.widths': '(4, 8)', 'model.blocks': '(1, 1)', 'model.last_stage': 1}
    features = []
    for options in (shorter, cut):
        overrides = [f'--config.{key}={value}' for key, value in (arguments | options).items()]
        config = configs.load('configs/birds.py:resnet50', overrides)
        features.append(read(extraction.extract(config, tmp_path / 'out').folder).images)
    assert features[0].shape == (COUNT, 1, 1, 16)
    np.testing.assert_array_equal(*features)


def test_images_are_resized_as_the_network_was_published_by_default(config):
    with config.unlocked():
        del config.model.input_size
    assert backbone.load(config).model.input_size == 224


def test_weights_of_other_names_are_renamed(config, tmp_path):
    expected = extraction.extract(config, tmp_path / 'out')
    arrays = safetensors_files.read((tmp_path / 'weights.safetensors').read_bytes())
    renamed = {name.replace('params/', 'params/body/'): a for name, a in arrays.items()}
    safetensors_files.write(tmp_path / 'renamed.safetensors', renamed)
    config.init_from = str(tmp_path / 'renamed.safetensors')
    config.init_rename = (('params/body/', 'params/'),)
    assert extraction.extract(config, tmp_path / 'out').folder == expected.folder


def test_a_folder_without_images_is_refused(config, tmp_path):
    (tmp_path / 'empty' / 'train' / 'robin').mkdir(parents=True)
    (tmp_path / 'empty' / 'test' / 'robin').mkdir(parents=True)
    config.data.source = f'folder:{tmp_path / "empty"}'
    assert 'robin' in refusal(config, tmp_path / 'out')


def test_truncated_weights_are_refused(config, tmp_path):
    path = tmp_path / 'weights.safetensors'
    path.write_bytes(path.read_bytes()[:-50])
    assert 'cannot be read as weights of safetensors, Keras or PyTorch' in refusal(config, tmp_path)


def test_weights_that_are_not_finite_are_refused(config, tmp_path):
    path = tmp_path / 'weights.safetensors'
    arrays = safetensors_files.read(path.read_bytes())
    arrays['params/top_norm/bias'] = np.full(WIDTH, np.nan, np.float32)
    safetensors_files.write(path, arrays)
    assert 'weights.safetensors is damaged (params/top_norm/bias is not finite)' in refusal(
        config, tmp_path / 'out'
    )


def test_features_that_are_not_finite_are_refused(config, tmp_path):
    path = tmp_path / 'weights.safetensors'
    arrays = safetensors_files.read(path.read_bytes())
    arrays['batch_stats/stem_norm/var'] = np.full(4, -1, np.float32)
    safetensors_files.write(path, arrays)
    config.model.activation = 'swish'
    message = refusal(config, tmp_path / 'out')
    assert 'features of the train images 0 to 5 are not finite' in message


def test_the_command_prints_where_the_features_are(config, tmp_path, capsys):
    overrides = {
        'init_from': config.init_from,
        'data.source': config.data.source,
        'data.image_size': 9,
        'model.input_size': SIZE,
        'data.validation_fraction': 0.34,
    }
    config_file = 'configs/birds.py'
    arguments = [f'--config.{key}={value}' for key, value in overrides.items()]
    out = ['--out', str(tmp_path / 'out'), '--probe', '--json']
    command.main(['--config', config_file, *out, *arguments])
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert lines[-2] == f'train on them with --config.data.source=features:{result["folder"]}'
    assert (result['images'], result['features']) == ({'train': COUNT, 'test': COUNT}, WIDTH)
    assert {*result['probes']} == {'linear', 'neighbours'}
