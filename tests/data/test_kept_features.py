"""Kept features as a source of data: their files, and what is damaged or ambiguous."""

import json

import features_by_hand
import numpy as np
import pytest

from cifar_jax.data import kept_features, pipeline, sources
from cifar_jax.data.kept_features import CHUNK
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults

COUNTS = {'train': CHUNK + 5, 'test': 7}
WIDTH = 6


def write(folder, counts=None, names=None):
    return features_by_hand.write(folder, counts or COUNTS, WIDTH, names)


def config(folder, **changes):
    data = get_defaults().data
    data.update(source=f'features:{folder}', **changes)
    return data


def refusal(folder, **changes):
    with pytest.raises(UserError) as caught:
        sources.load(config(folder, **changes))
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_features_are_read_as_they_were_written(tmp_path):
    parts = write(tmp_path)
    data = sources.load(config(tmp_path))
    for part, arrays in parts.items():
        np.testing.assert_array_equal(getattr(data, part).images, arrays.images)
        np.testing.assert_array_equal(getattr(data, part).labels, arrays.labels)
    assert data.train.images.shape == (CHUNK + 5, 1, 1, WIDTH)
    assert (data.classes, data.validation) == (features_by_hand.CLASSES, None)


def test_a_part_has_as_many_files_as_it_needs(tmp_path):
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.glob('*.npz')) == [
        'test-00000.npz',
        'train-00000.npz',
        'train-00001.npz',
    ]


def test_the_only_features_in_a_folder_are_found(tmp_path):
    write(tmp_path / 'one')
    assert len(sources.load(config(tmp_path)).test.labels) == 7


def test_several_features_in_a_folder_are_refused(tmp_path):
    write(tmp_path / 'one')
    write(tmp_path / 'two')
    message = refusal(tmp_path)
    assert 'holds 2 sets of features, of different weights, images or sizes' in message
    assert f'name one of them, such as features:{tmp_path}/one' in message


def test_a_folder_without_features_is_refused(tmp_path):
    assert 'holds no features: compute them with python -m cifar_jax.features' in refusal(tmp_path)


def test_features_that_were_interrupted_are_not_read(tmp_path):
    write(tmp_path)
    (tmp_path / kept_features.INDEX).unlink()
    assert 'holds no features' in refusal(tmp_path)


def test_validation_images_are_drawn_by_name_as_from_the_images(tmp_path):
    write(tmp_path, names=[f'{number}.png' for number in range(COUNTS['train'])])
    assert sources.load(config(tmp_path)).names[:2] == ('0.png', '1.png')
    assert sources.load(config(tmp_path, draw='count')).names is None


def test_a_validation_part_is_used_unless_all_images_are_to_be_trained_on(tmp_path):
    write(tmp_path, {'train': 9, 'validation': 4, 'test': 5})
    assert len(sources.load(config(tmp_path)).validation.labels) == 4
    assert sources.load(config(tmp_path, validation='none')).validation is None


def test_standardised_features_have_mean_0_and_deviation_1(tmp_path):
    write(tmp_path)
    data = pipeline.prepare(config(tmp_path, normalize='channel'))
    scaled = (data.train.images - data.normalizer.mean) / data.normalizer.std
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std((0, 1, 2)), 1, atol=1e-5)


def test_features_cannot_be_whitened_or_augmented(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match='normalize=zca is for pixels'):
        pipeline.prepare(config(tmp_path, normalize='zca'))
    assert 'must be () for features' in refusal(tmp_path, augment=({'name': 'flip'},))


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / 'train-00001.npz'
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal(tmp_path).startswith(f'{path} is damaged')


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / 'test-00000.npz').unlink()
    message = refusal(tmp_path)
    assert message.endswith('00.npz is missing: run python -m cifar_jax.features again.')


def test_a_file_of_another_part_is_refused(tmp_path):
    write(tmp_path)
    content = (tmp_path / 'train-00001.npz').read_bytes()
    (tmp_path / 'test-00000.npz').write_bytes(content)
    assert 'does not hold 7 float32 features' in refusal(tmp_path)


def test_features_of_other_images_are_refused(tmp_path):
    parts = write(tmp_path)
    images, labels = parts['test']
    kept_features.write_chunk(tmp_path, 'test', 0, images[:, 0, 0] + 1, labels)
    assert 'has test features that are not those of its index' in refusal(tmp_path)


def test_a_changed_index_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / kept_features.INDEX
    path.write_text(json.dumps({**json.loads(path.read_text()), 'width': 3}))
    assert 'index.json does not match its own checksum' in refusal(tmp_path)


def test_an_index_of_another_version_is_refused(tmp_path):
    (tmp_path / kept_features.INDEX).write_text('{"of": 1}')
    assert 'is of another version, or damaged' in refusal(tmp_path)


def test_features_that_need_too_much_memory_are_refused(tmp_path):
    write(tmp_path)
    assert 'memory_gb' in refusal(tmp_path, memory_gb=1e-6)
