"""Properties of augmentations with any options: pixels stay in range, labels stay correct."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifar_jax.data import augment
from cifar_jax.data.augment import Batch

MODES = st.sampled_from(['nearest', 'reflect', 'constant'])
SHARE = st.floats(0, 1)
OPTIONS = {
    'alternating_flip': {},
    'color': {
        **dict.fromkeys(('brightness', 'contrast', 'saturation'), SHARE),
        'hue': st.floats(0, 0.5),
    },
    'cutmix': {'alpha': st.floats(0.05, 10)},
    'cutout': {'size': st.integers(0, 12), 'fill': SHARE},
    'elastic': {'alpha': st.floats(0, 100), 'sigma': st.floats(0.1, 8), 'mode': MODES},
    'erase': {
        'area': st.tuples(SHARE, SHARE).map(sorted).map(tuple),
        'aspect': st.floats(0.1, 1),
        'fill': st.one_of(st.just('random'), SHARE),
    },
    'flip': {},
    'grid_distortion': {'steps': st.integers(1, 7), 'limit': st.floats(0, 0.9)},
    'mixup': {'alpha': st.floats(0.05, 10)},
    'rand_augment': {'operations': st.integers(1, 2), 'magnitude': st.floats(0, 30)},
    'random_resized_crop': {
        'scale': st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
        'ratio': st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)).map(sorted).map(tuple),
    },
    'rotate': {'degrees': st.floats(0, 180), 'mode': MODES, 'fill': SHARE},
    'shift': {'fraction': st.one_of(SHARE, st.tuples(SHARE, SHARE)), 'mode': MODES, 'fill': SHARE},
    'translate': {'pixels': st.integers(0, 6), 'mode': st.sampled_from(['reflect', 'zero'])},
    'trivial_augment': {},
    'zoom': {'fraction': st.floats(0, 0.9), 'mode': MODES, 'fill': SHARE},
}
MIXING = ('mixup', 'cutmix')


@functools.cache
def batch():
    """Twelve images of three classes, each a noise of its class's channel alone."""
    labels = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    noise = np.random.default_rng(0).random((12, 8, 7, 1), np.float32)
    noise[0], noise[1] = 0, 1
    return Batch(
        jnp.asarray(noise * labels[:, None, None]),
        jnp.asarray(labels),
        jnp.arange(12, dtype=jnp.int32),
        jnp.int32(0),
        jax.random.key(7),
    )


def augmented(entry, seed, images=None):
    before = batch() if images is None else batch()._replace(images=images)
    return jax.jit(lambda key: augment.augment(key, before, (entry,)))(jax.random.key(seed))


def test_every_augmentation_is_specified_here():
    assert set(OPTIONS) == {*augment.AUGMENTATIONS, *augment.BATCH_AUGMENTATIONS}


@pytest.mark.parametrize('name', sorted(OPTIONS))
@settings(deadline=None, max_examples=2, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_pixels_stay_finite_and_in_range_and_labels_are_those_of_the_images(name, data):
    options = {key: data.draw(values, key) for key, values in OPTIONS[name].items()}
    if name != 'alternating_flip':
        options['p'] = data.draw(SHARE, 'p')
    augment.check([{'name': name, **options}], (8, 7, 3))
    out = augmented({'name': name, **options}, data.draw(st.integers(0, 999), 'seed'))
    assert np.isfinite(out.images).all()
    assert 0 <= out.images.min() <= out.images.max() <= 1
    np.testing.assert_allclose(out.labels.sum(axis=1), 1, rtol=1e-5)
    if name not in MIXING:
        np.testing.assert_array_equal(out.labels, batch().labels)


@pytest.mark.parametrize('name', MIXING)
@settings(deadline=None, max_examples=2)
@given(alpha=st.floats(0.05, 10), p=SHARE, seed=st.integers(0, 999))
def test_a_mixed_label_has_the_shares_of_the_pixels(name, alpha, p, seed):
    # Pixels that are the label themselves: the mean of a mixed image says what it should be.
    pure = jnp.broadcast_to(batch().labels[:, None, None], (12, 8, 7, 3))
    out = augmented({'name': name, 'alpha': alpha, 'p': p}, seed, pure)
    np.testing.assert_allclose(out.images.mean(axis=(1, 2)), out.labels, atol=1e-5)
