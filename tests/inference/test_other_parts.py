"""What is asked of a source of other data, and how its labels become those of a run."""

import hashlib
import re

import numpy as np
import pytest

from cifar_jax.data import folders, sources
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import other_data

CONSTANTS = Normalizer(np.zeros((1, 1, 3), np.float32), np.ones((1, 1, 3), np.float32))
RUN_CLASSES = ('cat', 'dog', 'fox')


def arrays(labels, shape=(8, 8, 3), value=0):
    return Arrays(np.full((len(labels), *shape), value, np.uint8), np.array(labels, np.int32))


def load(tmp_path, source, split=None, shape=(8, 8, 3), **values):
    """Loads other data for a run of three classes."""
    workdir = Workdir(tmp_path)
    stored = preprocessing.Preprocessing(RUN_CLASSES, shape, CONSTANTS, {})
    preprocessing.write(workdir, stored)
    config = get_defaults().data
    config.update({'source': source, **values})
    return other_data.load(workdir, config, split)


@pytest.fixture
def asked(monkeypatch):
    """The configs with which a source is asked for its parts, of which it has two."""
    seen = []
    parts = {'train': arrays([0, 1, 1], value=1), 'test': arrays([1, 0], value=2)}

    def load_parts(config):
        seen.append(config)
        return parts, ('fox', 'cat')

    monkeypatch.setattr(sources, 'load_parts', load_parts)
    return seen


def test_labels_are_those_of_the_classes_of_the_same_name(tmp_path, asked):
    loaded = load(tmp_path, 'tfds:x')
    assert (loaded.source, loaded.split) == ('tfds:x', 'test')
    assert loaded.arrays.labels.tolist() == [0, 2]
    assert loaded.arrays.labels.dtype == np.int32
    assert np.all(loaded.arrays.images == 2)


@pytest.mark.parametrize(
    ('split', 'labels'), [('train', [2, 0, 0]), ('test', [0, 2]), ('all', [2, 0, 0, 0, 2])]
)
def test_the_split_chooses_a_part_or_all(tmp_path, asked, split, labels):
    loaded = load(tmp_path, 'tfds:x', split)
    assert loaded.split == split
    assert loaded.arrays.labels.tolist() == labels


def test_a_part_that_is_not_there_is_refused(tmp_path, asked):
    with pytest.raises(UserError, match="'tfds:x' has no part 'validation': use --split train or"):
        load(tmp_path, 'tfds:x', 'validation')


@pytest.mark.parametrize(
    ('source', 'shape', 'size'),
    [
        ('tfds:x', (8, 8, 3), 8),
        ('tfds:x', (8, 6, 3), 0),
        ('tfds:x', (32, 32, 3), 32),
        ('cifar10', (32, 32, 3), 0),
        ('cifar100', (32, 32, 3), 0),
        ('cifar10', (8, 8, 3), 8),
    ],
)
def test_images_are_asked_for_at_the_size_of_the_run(
    tmp_path, asked, monkeypatch, source, shape, size
):
    fitting = {'test': arrays([0], shape)}
    monkeypatch.setattr(
        sources, 'load_parts', lambda config: asked.append(config) or (fitting, ('cat',))
    )
    load(tmp_path, source, shape=shape)
    assert asked[0].image_size == size


def test_all_classes_and_images_are_asked_for_whatever_the_run_had(tmp_path, asked):
    load(tmp_path, 'tfds:x', classes=2, fraction=0.5)
    assert (asked[0].classes, asked[0].fraction) == (0, 1.0)


@pytest.mark.parametrize(
    ('source', 'labels'),
    [('tfds:x', 'fine'), ('cifar10', 'fine'), ('cifar100', 'coarse'), ('archive:x', 'coarse')],
)
def test_coarse_labels_are_asked_of_the_sets_that_have_them(tmp_path, asked, source, labels):
    load(tmp_path, source, labels='coarse')
    assert asked[0].labels == labels


def test_images_of_another_shape_are_refused(tmp_path, asked):
    words = re.escape('images of tfds:x are (8, 8, 3) and those of the run in')
    with pytest.raises(UserError, match=rf'{words} .* \(8, 6, 3\): give'):
        load(tmp_path, 'tfds:x', shape=(8, 6, 3))


@pytest.mark.parametrize(
    ('classes', 'named'),
    [
        (('cat', 'wolf'), "the class 'wolf', which"),
        (('wolf', 'bear', 'cat'), "the class 'wolf' and 1 more, which"),
        (('wolf', 'bear', 'emu'), "the class 'wolf' and 2 more, which"),
    ],
)
def test_a_class_that_the_run_does_not_have_is_named(tmp_path, monkeypatch, classes, named):
    monkeypatch.setattr(sources, 'load_parts', lambda config: ({'test': arrays([0])}, classes))
    with pytest.raises(UserError, match=named):
        load(tmp_path, 'tfds:x')


def test_a_folder_is_asked_for_by_its_resolved_path(tmp_path, monkeypatch):
    seen = []

    def load_part(*arguments):
        seen.append(arguments)
        return 'all', ('dog',), arrays([0])

    monkeypatch.setattr(folders, 'load_part', load_part)
    loaded = load(tmp_path, f'folder:{tmp_path}/a/../b', 'all')
    ((path, config, split),) = seen
    assert (path, config.image_size, split) == (tmp_path.resolve() / 'b', 8, 'all')
    assert loaded.arrays.labels.tolist() == [1]


def test_a_source_is_checked_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, 'load_part', None)
    with pytest.raises(UserError, match='folder:'):
        load(tmp_path, 'folder:')


def test_predictions_are_named_after_the_source_and_the_split():
    source = 'folder:/data/' + 'long ' * 8 + 'photos & more'
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    name = other_data.OtherData(source, 'all', arrays([0])).name
    last = ('long_' * 8 + 'photos_more')[-40:]
    assert name == f'other-{last}-{digest}-all'
    assert other_data.OtherData('tfds:a', 'test', arrays([0])).name.startswith('other-tfds_a-')
