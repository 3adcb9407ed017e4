"""Augmentations compared with images moved by hand, and as pure functions of a key."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from cifar_jax.data import augment as augmentation
from cifar_jax.data.augment import (
    AUGMENTATIONS,
    BATCH_AUGMENTATIONS,
    Batch,
    cutout,
    flip,
    translate,
)
from cifar_jax.errors import UserError


def jitted(function, **options):
    return jax.jit(functools.partial(function, **options))


def augment(key, images, policy):
    return augmentation.augment(key, batch_of(images), policy).images


def batch_of(images, epoch=0, classes=3):
    """A batch with the labels 0, 1, 2, 0, ... and the indices 0, 1, 2, ..."""
    count = np.arange(len(images), dtype=np.int32)
    labels = jax.nn.one_hot(count % classes, classes)
    return Batch(
        jnp.asarray(images), labels, jnp.asarray(count), jnp.int32(epoch), jax.random.key(7)
    )


POLICY = ({'name': 'flip'}, {'name': 'translate', 'pixels': 2}, {'name': 'cutout', 'size': 3})


def random_images(count, height=6, width=7, channels=2):
    return np.random.default_rng(0).random((count, height, width, channels), np.float32) * 0.4


def test_flip_gives_each_image_or_its_mirror_at_the_stated_rate():
    images = random_images(2000)
    out = np.asarray(jitted(flip, p=0.3)(jax.random.key(0), images))
    mirrored = [np.array_equal(o, i[:, ::-1]) for o, i in zip(out, images, strict=True)]
    kept = [np.array_equal(o, i) for o, i in zip(out, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert np.mean(mirrored) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))


@pytest.mark.parametrize('probability', [0, 1])
def test_flip_takes_the_extreme_rates_literally(probability):
    images = jnp.asarray(random_images(50))
    out = jitted(flip, p=probability)(jax.random.key(0), images)
    assert np.array_equal(out, images[:, :, ::-1] if probability else images)


def shifted_by_hand(image, down, right, pixels, mode):
    """Returns the crop of a padded image, pixel by pixel."""
    height, width, channels = image.shape
    padded = np.pad(
        image,
        ((pixels, pixels), (pixels, pixels), (0, 0)),
        **({'mode': 'reflect'} if mode == 'reflect' else {'mode': 'constant'}),
    )
    out = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                source = (row - down + pixels, column - right + pixels, channel)
                out[row, column, channel] = padded[source]
    return out


@pytest.mark.parametrize('mode', ['reflect', 'zero'])
@pytest.mark.parametrize('pixels', [1, 5])
def test_translate_gives_crops_of_the_padded_image(mode, pixels):
    images = random_images(60)
    out = np.asarray(jitted(translate, pixels=pixels, mode=mode)(jax.random.key(1), images))
    shifts = range(-pixels, pixels + 1)
    crop = functools.lru_cache(None)(
        lambda i, d, r: shifted_by_hand(images[i], d, r, pixels, mode).tobytes()
    )
    for i, image in enumerate(out):
        assert any(image.tobytes() == crop(i, d, r) for d in shifts for r in shifts)


def test_translate_draws_every_pair_of_shifts_about_equally_often():
    marked = np.zeros((4000, 5, 5, 1), np.float32)
    marked[:, 2, 2] = 1
    out = np.asarray(jitted(translate, pixels=2, mode='zero')(jax.random.key(0), marked))
    counts = out.sum(axis=(0, 3))
    assert counts.sum() == 4000
    assert np.abs(counts - 160).max() < 5 * math.sqrt(160)


def square_by_hand(height, width, row, column, size):
    hidden = np.zeros((height, width), bool)
    for i in range(size):
        for j in range(size):
            y, x = row - size // 2 + i, column - size // 2 + j
            if 0 <= y < height and 0 <= x < width:
                hidden[y, x] = True
    return hidden


@pytest.mark.parametrize('size', [1, 2, 3, 4])
def test_cutout_fills_one_square_that_the_border_clips(size):
    images = random_images(400)
    out = np.asarray(jitted(cutout, size=size, fill=0.5)(jax.random.key(2), images))
    squares = {
        square_by_hand(6, 7, row, column, size).tobytes() for row in range(6) for column in range(7)
    }
    seen = set()
    for before, after in zip(images, out, strict=True):
        hidden = (after == 0.5).all(axis=-1)
        assert np.array_equal(after, np.where(hidden[:, :, None], np.float32(0.5), before))
        seen.add(hidden.tobytes())
    assert seen == squares


def test_cutout_of_no_size_changes_nothing():
    images = jnp.asarray(random_images(5))
    assert np.array_equal(jitted(cutout, size=0)(jax.random.key(0), images), images)


@pytest.mark.parametrize('name', sorted(AUGMENTATIONS))
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float64'])
def test_every_augmentation_keeps_shape_and_dtype(name, dtype):
    with jax.enable_x64(dtype == 'float64'):
        images = jax.ShapeDtypeStruct((4, 6, 7, 3), dtype)
        out = jax.eval_shape(AUGMENTATIONS[name], jax.random.key(0), images)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)


@pytest.mark.parametrize('name', sorted(AUGMENTATIONS))
def test_every_augmentation_follows_from_its_key(name):
    images = jnp.asarray(random_images(32, channels=3))
    function = jax.jit(AUGMENTATIONS[name])
    first, again, other = (function(jax.random.key(seed), images) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_policy_applies_its_entries_in_order_with_a_key_for_each_position():
    @jax.jit
    def by_hand(key, images):
        images = flip(jax.random.fold_in(key, 0), images)
        images = translate(jax.random.fold_in(key, 1), images, pixels=2)
        return cutout(jax.random.fold_in(key, 2), images, size=3)

    key, images = jax.random.key(3), random_images(16)
    assert np.array_equal(jitted(augment, policy=POLICY)(key, images), by_hand(key, images))


def test_the_same_augmentation_twice_draws_twice():
    images = random_images(64)
    twice = jitted(augment, policy=({'name': 'flip'},) * 2)(jax.random.key(0), images)
    assert not np.array_equal(twice, images)


def test_an_empty_policy_changes_nothing():
    images = jnp.asarray(random_images(3))
    assert np.array_equal(augment(jax.random.key(0), images, ()), images)


def test_a_policy_may_come_from_a_config():
    config = ConfigDict({'augment': tuple(map(ConfigDict, POLICY))})
    augmentation.check(config.augment)
    key, images = jax.random.key(0), random_images(8)
    from_config, plain = (jitted(augment, policy=p)(key, images) for p in (config.augment, POLICY))
    assert np.array_equal(from_config, plain)


@pytest.mark.slow
def test_augmentation_is_the_same_on_any_number_of_devices_and_moves_no_image():
    key, images = jax.random.key(5), jnp.asarray(random_images(16))
    expected = jax.jit(lambda k, x: augment(k, x, POLICY))(key, images)
    for devices in (2, 4):
        mesh = jax.make_mesh(
            (devices,), ('batch',), (AxisType.Auto,), devices=jax.devices()[:devices]
        )
        rows = NamedSharding(mesh, PartitionSpec('batch'))
        step = jax.jit(
            lambda k, x: augment(k, x, POLICY),
            in_shardings=(NamedSharding(mesh, PartitionSpec()), rows),
            out_shardings=rows,
        )
        assert np.array_equal(step(key, images), expected)
        text = step.lower(key, images).compile().as_text()
        assert not any(word in text for word in ('all-gather', 'all-to-all', 'collective-permute'))


@pytest.mark.parametrize(
    ('entry', 'words'),
    [
        ({'name': 'flipp'}, "'flip'"),
        ({'pixels': 4}, 'no name'),
        ('flip', 'no name'),
        ({'name': 'translate', 'pixel': 4}, "'pixels'"),
        ({'name': 'flip', 'p': 1.5}, 'from 0 to 1'),
        ({'name': 'flip', 'p': 'often'}, 'flip cannot have the options'),
        ({'name': 'translate', 'pixels': 32}, 'from 0 to 31'),
        ({'name': 'translate', 'pixels': -1}, 'from 0 to 31'),
        ({'name': 'translate', 'mode': 'reflectt'}, "'reflect' or 'zero'"),
        ({'name': 'cutout', 'size': -2}, '0 or more'),
        ({'name': 'shift', 'fraction': 1.5}, 'fraction=1.5 must be from 0 to 1'),
        ({'name': 'shift', 'mode': 'wrap'}, "'nearest', 'reflect' or 'constant'"),
        ({'name': 'rotate', 'degree': 5}, "'degrees'"),
        ({'name': 'rotate', 'degrees': 200}, 'from 0 to 180'),
        ({'name': 'zoom', 'fraction': 1}, 'from 0 to 0.9'),
        ({'name': 'color', 'hue': 0.7}, 'from 0 to 0.5'),
        ({'name': 'color', 'p': -1}, 'p=-1 must be from 0 to 1'),
        ({'name': 'grid_distortion', 'steps': 0}, 'above 0'),
        ({'name': 'elastic', 'sigma': 0}, 'sigma=0 must be'),
        ({'name': 'mixup', 'alpha': 0}, 'alpha=0 must be above 0'),
        ({'name': 'cutmixx'}, "'cutmix'"),
        ({'name': 'erase', 'area': (0.5, 0.2)}, 'two fractions'),
        ({'name': 'erase', 'fill': 'grey'}, "'random'"),
        ({'name': 'rand_augment', 'magnitude': 31}, 'from 0 to 30'),
        ({'name': 'alternating_flip', 'p': 0.5}, "no option 'p'"),
    ],
)
def test_what_is_impossible_is_refused_with_valid_values(entry, words):
    with pytest.raises(UserError, match=words):
        augmentation.check([{'name': 'flip'}, entry])


ALL = sorted({**AUGMENTATIONS, **BATCH_AUGMENTATIONS})
WITH_P = [name for name in ALL if name != 'alternating_flip']


@pytest.mark.parametrize('name', ALL)
def test_every_augmentation_keeps_pixels_in_range_and_labels_right(name):
    batch = batch_of(np.random.default_rng(0).random((32, 8, 9, 3), np.float32))
    policy = ({'name': name, **({'pixels': 2} if name == 'translate' else {})},)
    out = jitted(augmentation.augment, policy=policy)(jax.random.key(1), batch)
    assert not np.array_equal(out.images, batch.images)
    assert 0 <= out.images.min() <= out.images.max() <= 1
    np.testing.assert_allclose(out.labels.sum(axis=1), 1, rtol=1e-6)
    if name not in ('mixup', 'cutmix'):
        assert np.array_equal(out.labels, batch.labels)


@pytest.mark.parametrize('name', WITH_P)
def test_probability_0_is_the_identity(name):
    batch = batch_of(random_images(8, 8, 9, 3))
    policy = ({'name': name, 'p': 0},)
    out = jitted(augmentation.augment, policy=policy)(jax.random.key(1), batch)
    assert np.array_equal(out.images, batch.images)
    assert np.array_equal(out.labels, batch.labels)


def test_p_is_the_share_of_images_that_change():
    images = random_images(2000, channels=3)
    out = jitted(AUGMENTATIONS['color'], p=0.3)(jax.random.key(0), images)
    changed = (np.asarray(out) != images).any(axis=(1, 2, 3)).mean()
    assert changed == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mixup', 'cutmix', 'rotate', 'rand_augment', 'alternating_flip'])
def test_a_batch_on_four_devices_is_augmented_as_on_one(name):
    batch = batch_of(random_images(16, 8, 8, 3))
    step = jitted(augmentation.augment, policy=({'name': name},))
    expected = step(jax.random.key(5), batch)
    mesh = jax.make_mesh((4,), ('batch',), (AxisType.Auto,), devices=jax.devices()[:4])
    rows = NamedSharding(mesh, PartitionSpec('batch'))
    spread = batch._replace(
        images=jax.device_put(batch.images, rows), labels=jax.device_put(batch.labels, rows)
    )
    got = step(jax.random.key(5), spread)
    np.testing.assert_allclose(got.images, expected.images, atol=1e-6)
    np.testing.assert_allclose(got.labels, expected.labels, atol=1e-6)


def test_alternating_flip_mirrors_each_image_every_other_epoch_whatever_the_step():
    images = random_images(400)
    step = jax.jit(lambda key, epoch: augmentation.alternating_flip(key, batch_of(images, epoch)))
    keys = map(jax.random.key, range(4))
    epochs = [np.asarray(step(key, e).images) for e, key in enumerate(keys)]
    for before, after in itertools.pairwise(epochs):
        assert np.array_equal(after, before[:, :, ::-1])
    mirrored = (epochs[0] != images).any(axis=(1, 2, 3)).mean()
    assert mirrored == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 400))


def test_alternating_flip_looks_at_the_index_of_an_image_not_its_place_in_the_batch():
    batch = batch_of(random_images(64))
    order = np.random.default_rng(1).permutation(64)
    moved = batch._replace(images=batch.images[order], indices=batch.indices[order])
    flipped = jax.jit(augmentation.alternating_flip)
    expected = flipped(jax.random.key(0), batch).images[order]
    assert np.array_equal(flipped(jax.random.key(0), moved).images, expected)


def test_checking_a_policy_passes_the_valid_ones():
    augmentation.check(POLICY)
