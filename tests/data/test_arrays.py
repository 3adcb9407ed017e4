"""The digest of a data set, by which a run recognises its data."""

import hashlib

import numpy as np
import pytest

from cifar_jax.data.arrays import Arrays, digest
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared


@pytest.fixture
def arrays():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    return Arrays(images, np.arange(6, dtype=np.int32) % 3)


def test_a_digest_is_the_sha256_of_shape_pixels_and_labels(arrays):
    content = b'(6, 4, 5, 3)' + arrays.images.tobytes() + arrays.labels.astype('<i4').tobytes()
    assert digest(arrays) == hashlib.sha256(content).hexdigest()


def test_a_digest_does_not_depend_on_how_the_arrays_lie_in_memory(arrays):
    strided = np.repeat(arrays.images, 2, axis=0)[::2]
    assert not strided.flags.c_contiguous
    assert digest(Arrays(strided, arrays.labels.astype('>i4'))) == digest(arrays)


@pytest.mark.parametrize('change', ['pixel', 'label', 'order', 'shape', 'missing'])
def test_a_digest_tells_any_change_of_images_or_labels(arrays, change):
    images, labels = arrays.images.copy(), arrays.labels.copy()
    if change == 'pixel':
        images[5, 3, 4, 2] ^= 1
    elif change == 'label':
        labels[0] = 1
    elif change == 'order':
        images[[0, 3]] = images[[3, 0]]  # of the same class
    elif change == 'shape':
        images = images.reshape(6, 5, 4, 3)
    else:
        images, labels = images[:5], labels[:5]
    assert digest(Arrays(images, labels)) != digest(arrays)


def test_prepared_data_have_a_digest_for_each_part_that_there_is(arrays):
    test = Arrays(arrays.images[:3], arrays.labels[:3])
    normalizer = Normalizer(np.zeros((1, 1, 3), np.float32), np.ones((1, 1, 3), np.float32))
    data = Prepared(arrays, None, test, ('a', 'b', 'c'), normalizer)
    assert data.digests() == {'train': digest(arrays), 'test': digest(test)}
    validated = data._replace(validation=test)
    assert [*validated.digests()] == ['train', 'validation', 'test']
