"""What an evaluation asks of the data, and how it puts their errors; data are not read twice."""

import pathlib

import numpy as np
import pytest

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import evaluation, other_data, predictions

CONFIG = f'{pathlib.Path(__file__).parents[2]}/configs/numpy_cnn.py:smoke'
OVERRIDES = ('train.length=1 epochs', 'train.batch_size=16', 'data.fraction=0.1')


def train(folder, *overrides):
    overrides = [f'--config.{text}' for text in (*OVERRIDES, *overrides)]
    run.train(configs.load(CONFIG, overrides), folder)
    return folder


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The workdir of a short run, and its data."""
    folder = train(tmp_path_factory.mktemp('run') / 'w')
    _, classifier = evaluation._load(folder, 'chosen')
    return folder, pipeline.prepare(classifier.config.data, classifier.normalizer)


@pytest.fixture
def prepared(trained, monkeypatch):
    """The configs with which data are prepared."""
    seen = []
    monkeypatch.setattr(
        pipeline, 'prepare', lambda config, normalizer: seen.append(config) or trained[1]
    )
    return seen


def test_a_split_has_its_own_images(trained, prepared):
    folder, data = trained
    for split in ('train', 'validation', 'test'):
        evaluated = evaluation.predict(folder, split)
        assert evaluated.arrays is getattr(data, split)
        np.testing.assert_array_equal(evaluated.predictions.labels, evaluated.arrays.labels)


def test_the_data_of_the_run_are_prepared_as_in_training(trained, prepared):
    evaluation.predict(trained[0], 'test')
    (config,) = prepared
    assert (config.source, config.dir) == ('digits', configs.load(CONFIG).data.dir)


def test_a_data_dir_is_that_of_the_sets_of_tensorflow_datasets(trained, prepared):
    evaluation.predict(trained[0], 'test', data_dir='elsewhere')
    (config,) = prepared
    assert (config.source, config.dir) == ('digits', 'elsewhere')


def test_a_run_without_validation_images_says_so(trained, monkeypatch):
    folder, data = trained
    without = data._replace(validation=None)
    monkeypatch.setattr(pipeline, 'prepare', lambda config, normalizer: without)
    with pytest.raises(UserError, match='trained without a validation split: use --split test'):
        evaluation.evaluate(folder, 'validation')


@pytest.mark.parametrize(
    ('source', 'error', 'message'),
    [
        (None, 'Nothing in --config.data.dir=x.', 'Nothing in --data-dir x.'),
        (None, 'Nothing: set --config.data.dir.', 'Nothing: set --data-dir.'),
        (None, 'config.data.source=x is wrong.', '--data-dir x is wrong.'),
        (None, 'Is damaged: copy it: --config.data.new=1 skips it.', 'Is damaged: copy it.'),
        ('tfds:x', 'config.data.source=x is wrong.', '--data x is wrong.'),
        ('tfds:x', "Write --config.data.source='y'.", "Write --data 'y'."),
        ('tfds:x', 'Nothing in config.data.dir=x.', 'Nothing in --data-dir x.'),
    ],
)
def test_an_error_of_the_data_names_options_of_this_command(
    trained, monkeypatch, source, error, message
):
    def refuse(*_):
        raise UserError(error)

    monkeypatch.setattr(pipeline, 'prepare', refuse)
    monkeypatch.setattr(other_data, 'load', refuse)
    with pytest.raises(UserError) as caught:
        evaluation.evaluate(trained[0], source=source)
    assert str(caught.value) == message


def test_the_result_of_the_run_s_weights_is_added_to_its_summary(trained, prepared):
    folder, _ = trained
    before = workdirs.read_summary(Workdir(folder))
    result = evaluation.evaluate(folder)
    assert (result['split'], result['images']) == ('test', len(trained[1].test.labels))
    assert workdirs.read_summary(Workdir(folder)) == before | {'test': result}


def test_the_result_of_other_weights_leaves_the_summary_as_it_is(trained, prepared):
    folder, _ = trained
    summary = Workdir(folder).summary
    content = workdirs.read_summary(Workdir(folder)) | {'sha256': 'of other weights'}
    before = summary.read_bytes()
    try:
        workdirs.write_summary(Workdir(folder), content)
        evaluation.evaluate(folder, 'validation')
        assert workdirs.read_summary(Workdir(folder)) == content
    finally:
        summary.write_bytes(before)


def test_a_run_without_a_summary_is_evaluated(trained, prepared):
    folder, _ = trained
    summary = Workdir(folder).summary
    before = summary.read_bytes()
    summary.unlink()
    try:
        assert evaluation.evaluate(folder)['split'] == 'test'
        assert not summary.exists()
    finally:
        summary.write_bytes(before)


@pytest.fixture
def other(trained, monkeypatch):
    """The configs and splits with which other data are loaded, which have one class."""
    seen = []

    def load(workdir, config, split, image_shape):
        seen.append((config, split))
        arrays = trained[1].test.take(np.flatnonzero(trained[1].test.labels == 3))
        return other_data.OtherData(config.source, split or 'all', arrays)

    monkeypatch.setattr(other_data, 'load', load)
    return seen


def test_other_data_are_loaded_with_an_absolute_path_and_kept_apart_by_source_and_split(
    trained, other, caplog, monkeypatch
):
    folder, data = trained
    monkeypatch.chdir(folder)
    with caplog.at_level('INFO', 'cifar_jax'):
        first = evaluation.evaluate(folder, source='folder:x', data_dir='elsewhere')
    second = evaluation.evaluate(folder, 'train', source='folder:x')
    third = evaluation.evaluate(folder, 'train', source='folder:y')
    assert [(config.source, split) for config, split in other] == [
        (f'folder:{folder}/x', None),
        (f'folder:{folder}/x', 'train'),
        (f'folder:{folder}/y', 'train'),
    ]
    assert other[0][0].dir == 'elsewhere'
    assert other[1][0].dir == configs.load(CONFIG).data.dir
    assert first['images'] == (data.test.labels == 3).sum()
    kept = workdirs.read_summary(Workdir(folder))['other']
    assert kept == {
        f'folder:{folder}/x': {'all': first, 'train': second},
        f'folder:{folder}/y': {'train': third},
    }
    assert caplog.messages == [
        f'folder:{folder}/x is not a split of the data of the run: its result is kept apart.',
        f'folder:{folder}/x has images of 1 of the 10 classes.',
    ]
    assert list((folder / 'predictions').glob('other-x-*-all.npz'))


def test_data_of_all_classes_are_not_said_to_lack_any(trained, monkeypatch, caplog):
    folder, data = trained
    monkeypatch.setattr(
        other_data, 'load', lambda *_: other_data.OtherData('tfds:x', 'test', data.test)
    )
    with caplog.at_level('INFO', 'cifar_jax'):
        evaluation.evaluate(folder, source='tfds:x')
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ('source', 'change', 'own'),
    [
        ('digits', lambda data: {}, True),
        ('tfds:digits', lambda data: {}, False),
        ('digits', lambda data: {'classes': tuple('abcdefghij')}, False),
        ('digits', lambda data: {'test': data.validation}, False),
        ('digits', lambda data: {'train': data.validation}, True),
    ],
)
def test_a_source_is_that_of_the_run_if_its_kind_its_classes_and_the_split_are(
    trained, other, monkeypatch, source, change, own
):
    folder, data = trained
    monkeypatch.setattr(pipeline, 'prepare', lambda *_: data._replace(**change(data)))
    result = evaluation.evaluate(folder, source=source)
    assert ('source' not in result) == own
    assert bool(other) != own


def test_a_source_that_cannot_be_prepared_like_the_run_s_is_other_data(trained, other, monkeypatch):
    def refuse(*_):
        raise UserError('no')

    monkeypatch.setattr(pipeline, 'prepare', refuse)
    assert evaluation.evaluate(trained[0], source='digits')['source'] == 'digits'


def test_predictions_are_those_that_are_kept(trained, prepared):
    folder, _ = trained
    evaluated = evaluation.predict(folder, 'test')
    kept = predictions.read(Workdir(folder), 'test')
    np.testing.assert_array_equal(kept.logits, evaluated.predictions.logits)
    assert evaluated.split == 'test'
    assert evaluated.workdir.path == folder
