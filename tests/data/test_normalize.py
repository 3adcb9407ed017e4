"""Normalisation, which is fitted on the training part only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from cifar_jax.data import normalize, splits
from cifar_jax.data.arrays import Arrays, Dataset
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults


def config(**changes):
    data = get_defaults().data
    data.update(changes)
    return data


def pixels(count, seed=0, shape=(5, 4, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 600),
    seed=st.integers(0, 1000),
    method=st.sampled_from(['channel', 'pixel']),
)
def test_the_fit_is_numpys_mean_and_population_deviation(count, seed, method):
    images = pixels(count, seed)
    mean, std, _ = normalize.fit(images, config(normalize=method))
    axes = (0, 1, 2) if method == 'channel' else (0,)
    unit = images.astype(np.float64) / 255
    deviation = unit.std(axis=axes, keepdims=True)[0]
    np.testing.assert_allclose(mean, unit.mean(axis=axes, keepdims=True)[0], rtol=1e-6)
    np.testing.assert_allclose(std, np.where(deviation > 1e-12, deviation, 1), rtol=1e-6)
    assert mean.dtype == std.dtype == np.float32


@pytest.mark.parametrize('method', ['channel', 'pixel'])
def test_training_images_come_out_centred_with_unit_deviation(method):
    images = pixels(200)
    normalizer = normalize.fit(images, config(normalize=method))
    out = np.asarray(normalize.apply(normalizer, normalize.to_unit(jnp.asarray(images))))
    axes = (0, 1, 2) if method == 'channel' else 0
    np.testing.assert_allclose(out.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=axes), 1, atol=1e-5)


@pytest.mark.parametrize('method', ['channel', 'pixel', 'center', 'zca'])
@pytest.mark.parametrize('split', ['stratified', 'last', 'random'])
def test_validation_images_do_not_shape_the_normaliser(method, split):
    arrays = Arrays(pixels(100), (np.arange(100) % 5).astype(np.int32))
    classes = tuple('abcde')
    train, validation = splits.split(Dataset('', arrays, arrays, classes), split, 0.2, 0)
    expected = normalize.fit(train.images, config(normalize=method))
    spoilt = arrays.images.copy()
    held_out = (spoilt[:, None] == validation.images[None]).all(axis=(2, 3, 4)).any(axis=1)
    spoilt[held_out] = 255
    arrays = Arrays(spoilt, arrays.labels)
    train, _ = splits.split(Dataset('', arrays, arrays, classes), split, 0.2, 0)
    fitted = normalize.fit(train.images, config(normalize=method))
    for got, want in zip(fitted, expected, strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize('value', [0, 37, 255])
@pytest.mark.parametrize('method', ['channel', 'pixel'])
def test_a_constant_pixel_is_centred_and_not_blown_up(value, method):
    images = np.full((300, 4, 4, 3), value, np.uint8)
    normalizer = normalize.fit(images, config(normalize=method))
    assert np.all(normalizer.std == 1)
    out = normalize.apply(normalizer, normalize.to_unit(jnp.asarray(images[:2])))
    np.testing.assert_allclose(out, 0, atol=1e-7)


def test_the_sums_do_not_overflow():
    images = np.full((2000, 32, 32, 1), 255, np.uint8)
    images[:1000] = 254
    mean, std, _ = normalize.fit(images, config(normalize='channel'))
    assert mean.item() == pytest.approx(254.5 / 255, rel=1e-7)
    assert std.item() == pytest.approx(0.5 / 255, rel=1e-7)


def test_scale_leaves_pixels_between_0_and_1():
    images = jnp.asarray(pixels(3))
    normalizer = normalize.fit(np.asarray(images), config(normalize='scale'))
    out = normalize.apply(normalizer, normalize.to_unit(images))
    np.testing.assert_allclose(out, np.asarray(images, np.float32) / 255, rtol=1e-6)


def test_given_constants_are_taken_as_they_are():
    given_ = config(normalize='given', mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    mean, std, _ = normalize.fit(pixels(3), given_)
    np.testing.assert_array_equal(mean, np.float32([[[0.1, 0.2, 0.3]]]))
    np.testing.assert_array_equal(std, np.float32([[[0.5, 0.6, 0.7]]]))


def test_one_given_constant_stands_for_all_channels():
    mean, std, _ = normalize.fit(pixels(3), config(normalize='given', mean=(0.1,), std=(0.5,)))
    np.testing.assert_array_equal(mean, np.float32([[[0.1, 0.1, 0.1]]]))
    np.testing.assert_array_equal(std, np.float32([[[0.5, 0.5, 0.5]]]))


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_applying_keeps_the_dtype_in_a_jitted_step(dtype):
    images = jnp.full((2, 5, 4, 3), 0.25, dtype)
    normalizer = normalize.fit(pixels(10), config(normalize='pixel'))
    out = jax.jit(normalize.apply)(normalizer, images)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'normalize': 'chanel'}, "'channel'"),
        ({'normalize': 'given', 'std': (0.5, 0.0, 0.5)}, 'above 0'),
        ({'normalize': 'given', 'mean': (0.5, 0.5)}, 'each of 3 channels'),
    ],
)
def test_impossible_constants_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        normalize.fit(pixels(3), config(**changes))


def test_center_subtracts_the_mean_of_each_channel_alone():
    images = pixels(50)
    mean, std, whitening = normalize.fit(images, config(normalize='center'))
    np.testing.assert_allclose(mean[0, 0], images.mean(axis=(0, 1, 2)) / 255, rtol=1e-6)
    assert np.all(std == 1)
    assert whitening is None


def zca_by_keras(images, epsilon):
    """ImageDataGenerator's formula, in float64."""
    x = images / 255 - (images / 255).mean(axis=(0, 1, 2))
    flat = x.reshape(len(x), -1)
    u, s, _ = np.linalg.svd(flat.T @ flat / len(flat))
    return flat @ (u / np.sqrt(s + epsilon)) @ u.T


@pytest.mark.parametrize('epsilon', [1e-6, 0.1])
def test_zca_is_that_of_keras(epsilon):
    images = pixels(400)
    normalizer = normalize.fit(images, config(normalize='zca', zca_epsilon=epsilon))
    out = normalize.apply(normalizer, normalize.to_unit(jnp.asarray(images)))
    expected = zca_by_keras(images, epsilon).reshape(images.shape)
    np.testing.assert_allclose(out, expected, atol=2e-4)


def test_zca_is_scikit_learns_whitening_turned_back():
    # With every image's negative the mean of each pixel is that of its channel.
    images = np.concatenate([pixels(300), 255 - pixels(300)])
    normalizer = normalize.fit(images, config(normalize='zca', zca_epsilon=1e-12))
    flat = images.reshape(600, -1) / 255
    pca = PCA(whiten=True, svd_solver='full').fit(flat)
    expected = pca.transform(flat) @ pca.components_ * np.sqrt(600 / 599)
    out = normalize.apply(normalizer, normalize.to_unit(jnp.asarray(images)))
    np.testing.assert_allclose(np.asarray(out).reshape(600, -1), expected, atol=2e-4)


def test_zca_counts_each_of_many_images_once():
    """The moments are summed in chunks of 4096 images."""
    images = np.zeros((4098, 2, 1, 1), np.uint8)
    images[4095], images[4096, 0], images[4097, 1] = 90, 255, 170
    normalizer = normalize.fit(images, config(normalize='zca', zca_epsilon=0.1))
    x = (images / 255 - (images / 255).mean()).reshape(len(images), 2)
    values, vectors = np.linalg.eigh(x.T @ x / len(images))
    expected = vectors / np.sqrt(values + 0.1) @ vectors.T
    np.testing.assert_allclose(normalizer.whitening, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('count', [1, 5])
def test_zca_of_fewer_images_than_pixels_is_finite(count):
    images = pixels(count)
    normalizer = normalize.fit(images, config(normalize='zca'))
    out = normalize.apply(normalizer, normalize.to_unit(jnp.asarray(images)))
    assert np.isfinite(out).all()


def test_a_matrix_for_zca_that_takes_the_memory_allowed_is_made():
    images = pixels(3, shape=(4, 4, 1))
    allowed = 8 * 16**2 / 2**30
    assert normalize.fit(images, config(normalize='zca', memory_gb=allowed)).whitening is not None


def test_a_matrix_for_zca_that_takes_too_much_memory_is_refused_before_it_is_made():
    images = np.zeros((2, 224, 224, 3), np.uint8)
    with pytest.raises(UserError, match=r'150,528 x 150,528 takes 169 GB.*image_size.*memory_gb'):
        normalize.fit(images, config(normalize='zca'))


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize('key', ['mean', 'std'])
def test_constants_that_are_not_finite_in_float32_are_refused(key, value):
    with pytest.raises(UserError, match=f'data.{key}=.* finite numbers'):
        normalize.check(config(normalize='given', **{key: (0.5, value, 0.5)}))


def test_constants_at_the_limits_of_float32_are_taken():
    largest, tiny = (float(x) for x in (np.finfo(np.float32).max, np.finfo(np.float32).tiny))
    normalize.check(config(normalize='given', mean=(-largest, largest), std=(tiny, largest)))


def test_a_deviation_that_is_0_in_float32_is_refused():
    with pytest.raises(UserError, match='above 0'):
        normalize.check(config(normalize='given', std=(1e-50,)))


@pytest.mark.parametrize('epsilon', [0.0, np.inf])
def test_zca_without_a_finite_epsilon_above_0_is_refused(epsilon):
    with pytest.raises(UserError, match=rf'zca_epsilon={epsilon} must be above 0'):
        normalize.fit(pixels(3), config(normalize='zca', zca_epsilon=epsilon))
