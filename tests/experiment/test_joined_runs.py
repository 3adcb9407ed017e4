"""Runs on features joined with their network: photographs are classified, and training goes on."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import narrow_photographs
import numpy as np
import pytest
from narrow_photographs import COUNT, NAME, SIZE, Narrow

import cifar_jax
from cifar_jax import models, predict
from cifar_jax.data import kept_features, pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import feature_runs, first_weights, run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import evaluation, extraction, predictions
from cifar_jax.training import plan as plans
from cifar_jax.training.trainer import Loaded

BIRDS = pathlib.Path(__file__).parents[2] / 'configs' / 'birds.py'
# Of published networks, all pixels are (x - 127) / 128 in 0 to 255.
PREPROCESSING = {
    'resize': 'crop',
    'normalize': 'given',
    'mean': (127 / 255,) * 3,
    'std': (128 / 255,) * 3,
}


@pytest.fixture(scope='module', autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(models.MODELS, NAME, Narrow)
        yield


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Photographs in `birds`, their features in `features`, and a run on them in `run`."""
    folder = tmp_path_factory.mktemp('joined')
    config = narrow_photographs.config(folder)
    config.data.resize = 'crop'
    extraction.extract(config, folder / 'features')
    values = {
        'data.source': f'features:{folder}/features',
        'data.validation': 'none',
        'model.hidden': '(4,)',
        'train.select': 'last',
        'train.length': '20 epochs',
        'train.batch_size': 2,
        'log.tensorboard': 'false',
    }
    arguments = [f'--config.{key}={value}' for key, value in values.items()]
    run.train(configs.load(f'{BIRDS}:two_dense', arguments), folder / 'run')
    return folder


@pytest.fixture
def fine_tuned(folder):
    """The config of a run that begins where the run on features ends."""
    config = narrow_photographs.get_defaults()
    config.model.update(name=NAME, hidden=(4,), input_size=SIZE)
    config.init_from = f'{folder}/run:chosen'
    config.data.source = f'folder:{folder}/birds'
    config.data.image_size, config.train.batch_size = 9, 2
    config.data.validation = 'none'
    config.data.update(PREPROCESSING)
    return config


def logits_of_features(folder):
    """The run's logits of the test photographs, from their features."""
    classifier = classifiers.load(Workdir(folder / 'run'))
    data = pipeline.prepare(classifier.config.data)
    return predictions.make_logits(classifier, COUNT)(data.test.images), data.test.labels


def photographs(folder):
    """The test photographs in the order of their labels."""
    return sorted((folder / 'birds' / 'test').rglob('*.png'))


def plan(config):
    data = pipeline.prepare(config.data)
    return plans.make(config, data, first_weights.reader(config, data))


def refusal(config):
    with pytest.raises(UserError) as caught:
        plans.match(plan(config))
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_photographs_have_the_logits_of_their_features(folder):
    expected, _ = logits_of_features(folder)
    assert np.ptp(expected, axis=0).min() > 0.1
    classifier = cifar_jax.load(folder / 'run')
    np.testing.assert_allclose(
        classifier.logits(photographs(folder)), expected, rtol=1e-3, atol=1e-3
    )
    assert classifier.image_shape == (9, 9, 3)


def test_the_command_classifies_photographs(folder, capsys):
    logits, _ = logits_of_features(folder)
    files = [str(path) for path in photographs(folder)]
    with pytest.raises(SystemExit) as ended:
        predict.main(['--workdir', str(folder / 'run'), '--json', '--top', '1', *files])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 0
    classes = [line['top'][0]['class'] for line in lines]
    assert classes == [('robin', 'wren')[label] for label in logits.argmax(1)]


def test_a_run_is_evaluated_on_photographs(folder):
    logits, labels = logits_of_features(folder)
    result = evaluation.evaluate(folder / 'run', source=f'folder:{folder}/birds', split='test')
    assert result['images'] == COUNT
    assert result['accuracy'] == np.mean(logits.argmax(1) == labels)


def test_fine_tuning_begins_with_the_head_and_its_network(fine_tuned, folder):
    planned = plan(fine_tuned)
    assert [line.split()[1] for line in plans.match(planned).account] == ['loaded:']
    images = pipeline.prepare(fine_tuned.data).test.images
    pixels = (jnp.asarray(images, jnp.float32) - 127) / 128
    logits_of = jax.jit(lambda v, x: planned.model.apply(v, x, train=False))
    logits = logits_of(plans.loaded_variables(planned), pixels)
    np.testing.assert_allclose(logits, logits_of_features(folder)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ('group', 'values', 'message'),
    [
        ('model', {'name': 'ResNet50'}, 'config.model.name: set config.model.name=EfficientNetL'),
        ('model', {'hidden': ()}, 'config.model.hidden: set config.model.hidden=(4,).'),
        ('model', {'convs': (4,)}, 'config.model.convs: set config.model.convs=().'),
        ('model', {'input_size': 16}, 'config.model.input_size: set config.model.input_size=12.'),
        ('data', {'std': (0.5,) * 3}, 'config.data.normalize: set config.data.normalize=given wi'),
        ('data', {'normalize': 'zca'}, 'config.data.normalize: set config.data.normalize=given w'),
        ('model', {'top': 6}, 'is of another network: '),
    ],
)
def test_another_network_or_preprocessing_is_refused(fine_tuned, group, values, message):
    fine_tuned[group].update(values)
    assert message in refusal(fine_tuned)


def test_other_classes_are_refused(fine_tuned, folder, tmp_path):
    shutil.copytree(folder / 'birds', tmp_path / 'birds')
    for part in ('train', 'test'):
        (tmp_path / 'birds' / part / 'wren').rename(tmp_path / 'birds' / part / 'wryneck')
    fine_tuned.data.source = f'folder:{tmp_path}/birds'
    assert 'wren missing; wryneck new' in refusal(fine_tuned)


def test_the_initial_weights_of_a_run_on_features_are_refused(fine_tuned, folder):
    fine_tuned.init_from = f'{folder}/run'
    assert f'write {folder}/run:chosen to begin with' in refusal(fine_tuned)


def test_weights_that_have_changed_since_are_refused(folder, tmp_path):
    weights_file = folder / 'weights.safetensors'
    content = weights_file.read_bytes()
    narrow_photographs.write_weights(weights_file, seed=1)
    try:
        with pytest.raises(UserError, match=r'with other weights than .*safetensors has now: rest'):
            cifar_jax.load(folder / 'run')
    finally:
        weights_file.write_bytes(content)


def test_a_network_of_another_kind_on_features_is_refused(folder, tmp_path):
    shutil.copytree(folder / 'run', tmp_path / 'run')
    path = tmp_path / 'run' / 'config.json'
    stored = json.loads(path.read_text())
    stored.pop('checksum', None)
    stored['config']['model'] = {'name': 'SmallVGG', 'widths': [2]}
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match='is a SmallVGG on features, and only a DenseHead can'):
        feature_runs.join(Workdir(tmp_path / 'run'), Loaded({}, 0))


def test_features_of_older_versions_learn_their_network_when_they_are_asked_for_again(folder):
    found = kept_features.find(folder / 'features')
    index = kept_features.read_index(found)
    kept_features.write_index(found, index._replace(network={}))
    config = narrow_photographs.get_defaults()
    config.model.update(name=NAME, input_size=SIZE)
    config.init_from = str(folder / 'weights.safetensors')
    config.data.source, config.data.image_size = f'folder:{folder}/birds', 9
    config.data.resize = 'crop'
    extraction.extract(config, folder / 'features')
    assert kept_features.read_index(found) == index
