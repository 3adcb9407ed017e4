"""The linear probe and the nearest neighbours: what they choose by, and what is kept."""

import json

import features_by_hand
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.inference import probes


@pytest.fixture
def folder(tmp_path):
    """Features of classes that overlap: 60 for training, 30 for testing."""
    features_by_hand.write(tmp_path, {'train': 60, 'test': 30}, width=8)
    return tmp_path


def config(**changes):
    data = get_defaults().data
    data.update(changes)
    return data


def parts(folder):
    """Standardised features and labels of the three parts."""
    data = pipeline.prepare(config(source=f'features:{folder}'))
    scaler = StandardScaler().fit(data.train.images.reshape(-1, 8))
    return [
        (scaler.transform(part.images.reshape(-1, 8)), part.labels)
        for part in (data.train, data.validation, data.test)
    ]


@pytest.mark.parametrize(
    ('name', 'make'),
    [
        ('linear', lambda value: LogisticRegression(C=value, max_iter=1000)),
        (
            'neighbours',
            lambda value: KNeighborsClassifier(value, metric='cosine', weights='distance'),
        ),
    ],
)
def test_the_value_is_chosen_on_validation_images_and_tested_once(folder, name, make):
    result = probes.probe(folder, config())[name]
    train, validation, test = parts(folder)
    curve = {value: make(value).fit(*train).score(*validation) for value, _ in result['curve']}
    assert dict(result['curve']) == pytest.approx(curve)
    assert result['value'] == max(curve, key=curve.get)
    assert result['validation'] == pytest.approx(max(curve.values()))
    both = [np.concatenate(arrays) for arrays in zip(train, validation, strict=True)]
    assert result['test'] == pytest.approx(make(result['value']).fit(*both).score(*test))
    assert result['images'] == 30


def test_more_neighbours_than_images_are_not_tried(folder):
    small = probes.probe(folder, config(validation_fraction=0.8))
    assert [value for value, _ in small['neighbours']['curve']] == [1, 2, 3, 5, 8, 10]


def test_a_repeated_probe_does_not_look_at_the_test_images_again(folder, monkeypatch):
    first = probes.probe(folder, config())
    monkeypatch.setattr(probes.pipeline, 'prepare', None)
    again = probes.probe(folder, config())
    assert again == json.loads(json.dumps(first))


def test_other_validation_images_are_another_probe(folder):
    probes.probe(folder, config())
    before = json.loads((folder / probes.FILE).read_text())
    probes.probe(folder, config(split_seed=1))
    after = json.loads((folder / probes.FILE).read_text())
    assert before['key']['split_seed'] == 0
    assert after['key']['split_seed'] == 1


def test_damaged_results_are_computed_again(folder):
    first = probes.probe(folder, config())
    (folder / probes.FILE).write_text('{"probes"')
    assert probes.probe(folder, config())['linear']['test'] == first['linear']['test']


def test_probes_need_validation_images(folder):
    with pytest.raises(UserError, match='validation=none leaves no images to choose'):
        probes.probe(folder, config(validation='none'))
