"""Runs on kept features, which are trained, evaluated and reported as runs on images are."""

import pathlib

import features_by_hand
import jax
import numpy as np
import pytest

import cifar_jax
from cifar_jax import predict
from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference.evaluation import evaluate
from cifar_jax.reporting import build, live

ROOT = pathlib.Path(__file__).parents[2]
PICTURES = {
    *('accuracy', 'loss', 'rate', 'class_counts', 'hits', 'errors_by_class', 'precision_recall'),
    *('confusion', 'confusion_errors', 'calibration', 'architecture'),
}


def config(folder):
    values = {
        'data.source': f'features:{folder}',
        'model.hidden': '(8,)',
        'train.length': '2 epochs',
        'train.batch_size': 8,
        'log.tensorboard': 'false',
    }
    arguments = [f'--config.{key}={value}' for key, value in values.items()]
    return configs.load(str(ROOT / 'configs' / 'birds.py') + ':two_dense_dropout', arguments)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folders of some features and of a run on them."""
    features, folder = tmp_path_factory.mktemp('features'), tmp_path_factory.mktemp('runs') / 'run'
    features_by_hand.write(features, {'train': 60, 'test': 30})
    assert run.train(config(features), folder)['finished']
    return features, folder


def test_a_run_on_features_is_evaluated(trained):
    features, folder = trained
    result = evaluate(folder)
    classifier = classifiers.load(Workdir(folder))
    test = pipeline.prepare(config(features).data).test
    params = jax.tree.map(np.asarray, classifier.variables['params'])
    x = test.images.reshape(30, -1)
    x = (x - classifier.normalizer.mean[0]) / classifier.normalizer.std[0]
    for name in ('hidden1', 'head'):
        x = x @ params[name]['kernel'] + params[name]['bias']
        x = np.maximum(x, 0) if name == 'hidden1' else x
    assert result['accuracy'] == np.mean(np.argmax(x, 1) == test.labels)


def test_a_run_is_evaluated_on_other_features(trained, tmp_path):
    _, folder = trained
    features_by_hand.write(tmp_path, {'train': 6, 'test': 9}, seed=1)
    assert evaluate(folder, source=f'features:{tmp_path}')['images'] == 9


def test_a_report_has_all_pictures_that_need_no_images(trained):
    _, folder = trained
    paths = map(pathlib.Path, build.write(folder, 'test')['pictures'])
    assert {path.stem for path in paths} == PICTURES
    page = (folder / 'report' / 'index.html').read_text()
    assert 'What the network looks at' not in page


def test_tensorboard_shows_the_confusion_alone(trained):
    features, folder = trained
    classifier = classifiers.load(Workdir(folder))
    pictures = live.draw(classifier, pipeline.prepare(config(features).data).test)
    assert [picture.name for picture in pictures] == ['confusion', 'confusion_errors']


def test_a_run_does_not_continue_with_other_features(trained, tmp_path):
    _, folder = trained
    features_by_hand.write(tmp_path, {'train': 60, 'test': 30}, seed=1)
    with pytest.raises(UserError, match='are not those that the run'):
        run.train(config(tmp_path), folder)


def test_a_run_continues_where_its_features_have_moved(trained, tmp_path):
    _, folder = trained
    features_by_hand.write(tmp_path / 'moved', {'train': 60, 'test': 30})
    assert run.train(config(tmp_path / 'moved'), folder)['finished']


def test_image_files_are_refused_where_the_network_is_unknown(trained, capsys):
    _, folder = trained
    with pytest.raises(SystemExit):
        predict.main(['--workdir', str(folder), 'bird.jpg'])
    assert 'was trained on features that do not name their network' in capsys.readouterr().err


def test_the_interface_for_images_refuses_such_a_run(trained):
    _, folder = trained
    with pytest.raises(UserError, match='features that do not name their network'):
        cifar_jax.load(folder)
