"""Predictions compared with a direct computation, and their metrics with scikit-learn."""

import pathlib

import jax
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from cifar_jax.data import normalize, pipeline
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import predictions
from cifar_jax.inference.evaluation import evaluate

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module', params=['small_vgg.py:smoke', 'numpy_cnn.py:smoke'])
def trained(request, tmp_path_factory):
    """A short run of either backend: its workdir, the test images and its predictions for them."""
    folder = tmp_path_factory.mktemp('run') / 'workdir'
    overrides = ['--config.train.length=1 epochs', '--config.data.fraction=0.2']
    run.train(configs.load(f'{CONFIGS}/{request.param}', overrides), folder)
    workdir = Workdir(folder)
    classifier = classifiers.load(workdir)
    test = pipeline.prepare(classifier.config.data, classifier.normalizer).test
    return workdir, classifier, test


def test_logits_equal_those_of_the_model(trained):
    workdir, classifier, test = trained
    inputs = normalize.apply(
        classifier.normalizer, normalize.to_unit(jax.numpy.asarray(test.images))
    )
    variables = jax.tree.map(jax.numpy.asarray, classifier.variables)
    expected = classifier.model.apply(variables, inputs, train=False)
    predicted = predictions.of(workdir, classifier, 'test', test)
    np.testing.assert_allclose(predicted.logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        predicted.probabilities, jax.nn.softmax(expected), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(predicted.labels, test.labels)


def test_evaluate_gives_scikit_learn_s_metrics_of_them(trained):
    workdir, classifier, test = trained
    predicted = predictions.of(workdir, classifier, 'test', test)
    result = evaluate(workdir.path, 'test')
    kinds = range(len(classifier.classes))
    assert result['accuracy'] == sklearn_metrics.accuracy_score(test.labels, predicted.classes)
    assert result['loss'] == pytest.approx(
        sklearn_metrics.log_loss(test.labels, predicted.probabilities, labels=kinds), rel=1e-9
    )
    assert result['top5'] == sklearn_metrics.top_k_accuracy_score(
        test.labels, predicted.logits, k=5, labels=kinds
    )
    assert result['sha256'] == predicted.sha256


def test_evaluate_agrees_with_the_validation_in_training(trained):
    workdir, _, _ = trained
    line = workdirs.read_metrics(workdir)[-1]
    result = evaluate(workdir.path, 'validation')
    assert result['accuracy'] == line['val_accuracy']
    assert result['loss'] == pytest.approx(line['val_loss'], rel=1e-5)


def test_an_image_alone_gets_the_logits_that_it_gets_among_others(trained):
    _, classifier, test = trained
    logits = predictions.make_logits(classifier, 7)
    images = np.asarray(test.images[:7])
    np.testing.assert_allclose(logits(images[3:4]), logits(images)[3:4], rtol=1e-5, atol=1e-6)


def test_what_is_kept_is_read_and_not_computed_again(trained, monkeypatch):
    workdir, classifier, test = trained
    before = predictions.of(workdir, classifier, 'test', test)
    monkeypatch.setattr(predictions, 'make_logits', None)
    after = predictions.of(workdir, classifier, 'test', test)
    np.testing.assert_array_equal(after.logits, before.logits)


@pytest.mark.parametrize('damage', [b'', b'PK\x03\x04', b'no archive'])
def test_a_damaged_file_is_computed_again(trained, damage):
    workdir, classifier, test = trained
    before = predictions.of(workdir, classifier, 'test', test)
    workdir.predictions('test').write_bytes(damage)
    assert predictions.read(workdir, 'test') is None
    after = predictions.of(workdir, classifier, 'test', test)
    np.testing.assert_array_equal(after.logits, before.logits)


def test_what_other_weights_said_is_computed_again(trained):
    workdir, classifier, test = trained
    before = predictions.of(workdir, classifier, 'test', test)
    double = jax.tree.map(lambda a: a * 2, classifier.variables)
    after = predictions.of(workdir, classifier._replace(variables=double), 'test', test)
    assert after.sha256 != before.sha256
    assert not np.array_equal(after.logits, before.logits)


def test_predictions_for_other_images_with_the_same_labels_are_computed_again(trained):
    workdir, classifier, test = trained
    before = predictions.of(workdir, classifier, 'test', test)
    black = test._replace(images=np.zeros_like(test.images))
    after = predictions.of(workdir, classifier, 'test', black)
    assert not np.array_equal(after.logits, before.logits)
