"""The outline of a data set agrees with the set that is loaded, and reads no image."""

import json

import numpy as np
import pytest
from PIL import Image

from cifar_jax.data import archives, cache, kept_features, outline, pipeline, sources
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults

INFO = {
    'splits': [
        {'name': 'train', 'shardLengths': ['30', '20']},
        {'name': 'test', 'shardLengths': ['9']},
    ]
}
FEATURES = {
    'image': {'image': {'shape': {'dimensions': ['28', '30', '1']}}},
    'label': {'classLabel': {'numClasses': '7'}},
}


def config_of(**keys):
    """`config.data` with some keys set."""
    config = get_defaults().data
    config.update(keys)
    return config


def folder_of(path, parts):
    """Writes a folder of images of two classes: part ('' for none) -> images of each class."""
    for part, count in parts.items():
        for label in ('a', 'b'):
            (path / part / label).mkdir(parents=True)
            for number in range(count):
                Image.new('RGB', (3, 2)).save(path / part / label / f'{number}.png')
    return f'folder:{path}'


def counts_of(prepared):
    parts = prepared.train, prepared.validation, prepared.test
    return [0 if part is None else len(part.labels) for part in parts]


@pytest.mark.parametrize(
    'keys',
    [
        {},
        {'validation': 'none'},
        {'image_size': 20, 'validation_fraction': 0.1},
        {'classes': 3, 'fraction': 0.5},
    ],
)
def test_digits_have_the_outline_of_the_loaded_set(keys):
    config = config_of(source='digits', **keys)
    prepared, seen = pipeline.prepare(config), outline.read(config)
    assert [*seen[:3]] == counts_of(prepared)
    assert seen.image_shape == prepared.train.images.shape[1:]
    assert seen.classes == len(prepared.classes)
    assert seen.image_bytes == prepared.train.images[0].nbytes


@pytest.mark.parametrize('parts', [{'': 20}, {'train': 8, 'test': 3}, {'train': 8, 'val': 4}])
@pytest.mark.parametrize('validation', ['last', 'none'])
def test_a_folder_is_counted_by_names(parts, validation, tmp_path, monkeypatch):
    config = config_of(
        source=folder_of(tmp_path / 'images', parts), dir=str(tmp_path), validation=validation
    )
    prepared = pipeline.prepare(config) if validation == 'none' else None
    monkeypatch.setattr(Image, 'open', lambda *_: pytest.fail('an image was opened'))
    seen = outline.read(config)
    assert (seen.image_shape, seen.classes) == ((32, 32, 3), 2)
    if prepared is not None:
        assert [*seen[:3]] == counts_of(prepared)
    else:
        assert seen.validation == round(0.2 * (seen.train + seen.validation)) > 0


def test_a_validation_part_of_a_folder_is_not_drawn(tmp_path):
    source = folder_of(tmp_path, {'train': 8, 'val': 4, 'test': 2})
    assert outline.read(config_of(source=source))[:3] == (16, 8, 4)
    assert outline.read(config_of(source=source, validation='none'))[:3] == (16, 0, 4)


@pytest.mark.parametrize(
    ('keys', 'expected'),
    [
        ({'source': 'cifar10'}, (40_000, 10_000, 10_000, (32, 32, 3), 10)),
        ({'source': 'cifar10', 'fraction': 0.1}, (4_000, 1_000, 1_000, (32, 32, 3), 10)),
        ({'source': 'cifar100', 'labels': 'coarse'}, (40_000, 10_000, 10_000, (32, 32, 3), 20)),
        (
            {'source': 'cifar100', 'classes': 25, 'validation_fraction': 0.1, 'image_size': 64},
            (11_250, 1_250, 2_500, (64, 64, 3), 25),
        ),
    ],
)
def test_cifar_need_not_be_there(keys, expected):
    assert outline.read(config_of(dir='nowhere', **keys))[:5] == expected


def test_features_are_counted_by_their_index(tmp_path):
    images, names = {'train': 30, 'validation': 6, 'test': 10}, ('a', 'b', 'c')
    index = kept_features.Index({}, names, 5, images, dict.fromkeys(images, ''), None)
    kept_features.write_index(tmp_path, index)
    seen = outline.read(config_of(source=f'features:{tmp_path}'))
    assert seen == outline.Outline(30, 6, 10, (1, 1, 5), 3, pixels=False)
    alone = outline.read(config_of(source=f'features:{tmp_path}', validation='none'))
    assert alone == seen._replace(validation=0)
    assert seen.image_bytes == 5 * 4


def prepared_set(folder, features):
    version = folder / 'shapes' / '1.0.0'
    version.mkdir(parents=True)
    (version / 'dataset_info.json').write_text(json.dumps(INFO))
    text = json.dumps({'featuresDict': {'features': features}})
    (version / 'features.json').write_text(text)


def test_a_prepared_set_is_known_by_its_metadata(tmp_path):
    prepared_set(tmp_path, FEATURES)
    config = config_of(source='tfds:shapes', dir=str(tmp_path), validation='none')
    assert outline.read(config)[:5] == (50, 0, 9, (28, 30, 3), 7)


def test_a_set_that_does_not_say_how_many_classes_it_has_is_damaged(tmp_path):
    prepared_set(tmp_path, {**FEATURES, 'label': {'classLabel': {}}})
    with pytest.raises(UserError, match='cannot be read'):
        outline.read(config_of(source='tfds:shapes', dir=str(tmp_path)))


def test_a_set_that_is_not_prepared_can_be_described(tmp_path):
    with pytest.raises(UserError, match=r'not prepared in .*: .* --images 50000 --classes 10'):
        outline.read(config_of(source='tfds:shapes', dir=str(tmp_path)))
    assumed = outline.assumed(1000, 7, config_of(image_size=48, validation_fraction=0.1))
    assert assumed == outline.Outline(900, 100, 0, (48, 48, 3), 7)


def test_an_archive_is_read(monkeypatch, tmp_path):
    arrays = {}
    for part, count in (('train', 20), ('test', 5)):
        arrays |= {f'{part}_images': np.zeros((count, 32, 32, 3), np.uint8)}
        arrays |= {f'{part}_fine': np.arange(count, dtype=np.int32) % 2}
    monkeypatch.setattr(archives, 'load', lambda path: cache.Decoded(arrays, {'fine': ['a', 'b']}))
    seen = outline.read(config_of(source=f'archive:{tmp_path}'))
    assert seen[:5] == (16, 4, 5, (32, 32, 3), 2)


def test_more_classes_than_a_set_has_are_refused():
    with pytest.raises(UserError, match=r'classes=11 must be at most 10, the classes of cifar10'):
        outline.read(config_of(classes=11))


@pytest.mark.parametrize('method', ['scale', 'given', 'channel', 'pixel', 'center', 'zca'])
def test_blank_data_have_the_shapes_of_the_real_ones(method):
    config = config_of(source='digits', image_size=4, normalize=method)
    blank, real = outline.blank(outline.read(config), config), pipeline.prepare(config)
    assert counts_of(blank) == counts_of(real)
    assert blank.train.images.shape == real.train.images.shape
    assert blank.train.images.dtype == real.train.images.dtype
    for ours, theirs in zip(blank.normalizer, real.normalizer, strict=True):
        assert np.shape(ours) == np.shape(theirs)
        assert getattr(ours, 'dtype', None) == getattr(theirs, 'dtype', None)


def test_blank_data_take_no_memory_however_many_they_are():
    large = outline.Outline(10**9, 10**8, 10**8, (512, 512, 3), 1000)
    data = outline.blank(large, config_of())
    assert data.train.images.nbytes > 2**49
    assert data.train.images.base.nbytes <= 1
    assert len(data.classes) == 1000


def test_sources_that_a_config_can_name_all_have_an_outline():
    """`read` tells the kinds apart by these names."""
    assert {*sources.SOURCES, *sources.PREFIXES} == {
        *('cifar10', 'cifar100', 'digits'),
        *('archive', 'features', 'folder', 'tfds'),
    }
