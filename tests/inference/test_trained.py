"""The Python interface of a trained run: results, errors, and no side effects."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from classifiers_by_hand import SHAPE, images, narrow
from PIL import Image

import cifar_jax
from cifar_jax.data import normalize, pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import predictions
from cifar_jax.inference.trained import TrainedClassifier

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
SQUARE = (8, 8, 3)
# Everything of the process that loading and predicting could change, before and after.
SILENT = """
import logging, signal, sys
import jax, numpy as np
import cifar_jax
from cifar_jax import machine

def refuse(*_):
    raise AssertionError('the process is changed')

machine.keep_freed_memory = machine.use_compilation_cache = refuse
def state():
    loggers = [logging.getLogger(name) for name in ('', 'absl', 'cifar_jax')]
    handlers = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    return dict(jax.config.values), [signal.getsignal(n) for n in range(1, 20)], handlers

before = state()
classifier = cifar_jax.load(sys.argv[1])
classifier.predict(np.zeros((3, *classifier.image_shape), np.uint8))
after = state()
assert after == before, [(a, b) for a, b in zip(after, before) if a != b]
"""


@pytest.fixture(scope='module')
def by_hand():
    """A classifier without a run."""
    return TrainedClassifier(narrow('BaseNet', shape=SQUARE, devices=1), SQUARE)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The workdir of a short run."""
    folder = tmp_path_factory.mktemp('run') / 'workdir'
    overrides = ['train.length=1 epochs', 'train.batch_size=16', 'data.fraction=0.1']
    overrides = [f'--config.{text}' for text in overrides]
    run.train(configs.load(f'{CONFIGS}/numpy_cnn.py:smoke', overrides), folder)
    return folder


def test_logits_are_those_of_the_model_on_normalised_pixels(by_hand):
    batch = images(5, SQUARE)
    classifier = by_hand._classifier
    inputs = normalize.apply(classifier.normalizer, normalize.to_unit(jnp.asarray(batch)))
    variables = jax.tree.map(jnp.asarray, classifier.variables)
    expected = classifier.model.apply(variables, inputs, train=False)
    logits = by_hand.logits(batch)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_predict_names_the_class_of_the_highest_logit(by_hand):
    batch = images(5, SQUARE)
    labels = by_hand.logits(batch).argmax(-1)
    assert by_hand.predict(batch) == [by_hand.classes[label] for label in labels]


def test_features_are_what_the_head_makes_logits_from(by_hand):
    batch = images(3, SQUARE)
    features = by_hand.features(batch)
    classifier = by_hand._classifier
    variables = jax.tree.map(jnp.asarray, classifier.variables)
    logits = classifier.model.apply(
        variables, jnp.asarray(features), method=lambda model, x: model.head(x)
    )
    assert features.shape != logits.shape
    np.testing.assert_allclose(logits, by_hand.logits(batch), rtol=1e-4, atol=1e-5)


def test_one_image_has_results_without_the_axis_of_the_batch(by_hand):
    batch = images(2, SQUARE)
    assert by_hand.logits(batch[1]).shape == (len(by_hand.classes),)
    np.testing.assert_allclose(by_hand.logits(batch[1]), by_hand.logits(batch)[1], atol=1e-5)
    assert by_hand.predict(batch[1]) == by_hand.predict(batch)[1]


def test_a_classifier_shows_its_model_its_classes_and_the_shape_of_its_images(by_hand):
    assert repr(by_hand) == '<BaseNet of 5 classes, images (8, 8, 3)>'


def test_batch_norm_uses_its_moving_statistics():
    own = TrainedClassifier(narrow('ImprovedNet after', shape=SQUARE, devices=1), SQUARE)
    batch = images(4, SQUARE)
    np.testing.assert_allclose(own.logits(batch)[2], own.logits(batch[2]), rtol=1e-5, atol=1e-5)


def test_a_classifier_knows_the_step_of_its_weights(by_hand):
    assert TrainedClassifier(by_hand._classifier._replace(step=7), SQUARE).step == 7


def test_more_images_than_a_batch_of_evaluation_are_taken(by_hand, monkeypatch):
    monkeypatch.setitem(by_hand._classifier.config, 'eval_batch_size', 3)
    batch = images(7, SQUARE)
    logits = TrainedClassifier(by_hand._classifier, SQUARE).logits(batch)
    np.testing.assert_allclose(logits, by_hand.logits(batch), atol=1e-5)


def test_images_of_another_size_are_resized_as_files_are(by_hand, tmp_path):
    large = images(1, (32, 24, 3))[0]
    Image.fromarray(large).save(tmp_path / 'large.png')
    np.testing.assert_array_equal(by_hand.logits(large), by_hand.logits(tmp_path / 'large.png'))


def test_paths_are_one_or_several(by_hand, tmp_path):
    batch = images(2, SQUARE)
    paths = [tmp_path / f'{number}.png' for number in range(2)]
    for path, image in zip(paths, batch, strict=True):
        Image.fromarray(image).save(path)
    assert by_hand.predict(paths) == by_hand.predict(batch)
    assert by_hand.predict(paths[:1]) == by_hand.predict(batch[:1])
    assert by_hand.predict(str(paths[0])) == by_hand.predict(batch[0])


@pytest.mark.parametrize(
    ('array', 'sentence'),
    [
        (np.zeros((2, *SQUARE), np.float32), r'float32, and must be uint8 .*\(255 \* images\)'),
        (np.zeros((2, *SQUARE), np.int64), r'int64, and must be uint8 pixels from 0 to 255\.'),
        (np.zeros((2, 3, 8, 8), np.uint8), r'\(2, 3, 8, 8\).*move the channels last'),
        (np.zeros((3, 8, 8), np.uint8), r'\(3, 8, 8\).*move the channels last'),
        (np.zeros((2, 8, 8, 1), np.uint8), r'must be \[n, height, width, 3\]'),
        (np.zeros((8, 8), np.uint8), r'\(8, 8\), and must be'),
        (np.zeros((0, *SQUARE), np.uint8), 'holds no image'),
    ],
    ids=[
        'float',
        'int',
        'channels first',
        'one with channels first',
        'grey',
        'no channels',
        'empty',
    ],
)
def test_arrays_that_are_no_images_are_a_sentence(by_hand, array, sentence):
    with pytest.raises(UserError, match=sentence):
        by_hand.predict(array)


def test_a_file_that_is_no_image_is_a_sentence(by_hand, tmp_path):
    (tmp_path / 'a.png').write_text('text')
    with pytest.raises(UserError, match=r'a\.png cannot be read as an image'):
        by_hand.predict(tmp_path / 'a.png')


def test_files_are_refused_where_the_training_images_are_not_square(tmp_path):
    oblong = TrainedClassifier(narrow('BaseNet', devices=1), SHAPE)
    with pytest.raises(UserError, match='trained on images of 12 x 8'):
        oblong.predict(tmp_path / 'a.png')


@pytest.mark.slow
def test_a_run_is_loaded_by_its_folder_and_computes_what_evaluate_computes(folder):
    classifier = cifar_jax.load(folder)
    trained = classifier._classifier
    test = pipeline.prepare(trained.config.data, trained.normalizer).test
    expected = predictions.of(Workdir(folder), trained, 'test', test).logits
    np.testing.assert_allclose(classifier.logits(test.images), expected, atol=1e-5)
    assert classifier.classes == tuple(map(str, range(10)))
    assert trained.mesh.size == 1


@pytest.mark.slow
def test_loading_prints_nothing_and_changes_no_setting_of_the_process(folder):
    done = subprocess.run(
        [sys.executable, '-c', SILENT, str(folder)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('https://example.org/senet', 'is a URL'),
        ('{parent}/senett', "did you mean '.*senet'"),
        ('{parent}/senet', 'is not the workdir of a run'),
    ],
)
def test_what_is_no_workdir_is_a_sentence(tmp_path, name, sentence):
    (tmp_path / 'senet').mkdir()
    with pytest.raises(UserError, match=sentence):
        cifar_jax.load(name.format(parent=tmp_path))


def test_a_checkpoint_that_does_not_exist_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no checkpoint 'bset': did you mean 'best'"):
        cifar_jax.load(tmp_path, checkpoint='bset')


def test_the_package_alone_imports_no_jax():
    code = 'import sys, cifar_jax; sys.exit("jax" in sys.modules or "numpy" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_it_computes_on_one_device_whatever_there_are(by_hand):
    assert len(jax.devices()) > 1
    assert by_hand._classifier.mesh.size == 1
