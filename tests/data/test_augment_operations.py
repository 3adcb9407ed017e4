"""Augmentation operations compared with SciPy, Pillow, colorsys and their definitions."""

import colorsys
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from cifar_jax.data.augment import affine, distortion, mixing, operations, policies, warp
from cifar_jax.data.augment.batch import Batch
from cifar_jax.data.augment.color import hue_rotated
from cifar_jax.data.augment.erasing import erase

SCIPY = {'nearest': 'nearest', 'reflect': 'mirror', 'constant': 'grid-constant'}
jitted_rotated = jax.jit(affine.rotated, static_argnums=(2, 3))
jitted_zoomed = jax.jit(affine.zoomed, static_argnums=(2, 3))
jitted_shifted = jax.jit(affine.shifted, static_argnums=(3, 4))


def image(seed=0, height=9, width=8):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def by_scipy(pixels, matrix, offset, mode, fill):
    """Channels by scipy.ndimage.affine_transform about the centre."""
    centre = (np.array(pixels.shape[:2]) - 1) / 2
    offset = centre - matrix @ centre + offset
    channels = [
        ndimage.affine_transform(channel, matrix, offset, order=1, mode=SCIPY[mode], cval=fill)
        for channel in np.moveaxis(pixels.astype(np.float64), -1, 0)
    ]
    return np.stack(channels, axis=-1)


@settings(deadline=None, max_examples=30)
@given(st.floats(-180, 180), st.sampled_from(warp.MODES), st.integers(0, 99))
def test_rotation_is_scipys(degrees, mode, seed):
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    out = jitted_rotated(image(seed), jnp.float32(degrees), mode, 0.25)
    np.testing.assert_allclose(out, by_scipy(image(seed), matrix, 0, mode, 0.25), atol=2e-5)


def test_rotation_by_a_right_angle_is_counter_clockwise():
    square = image(height=8)
    out = jitted_rotated(square, jnp.float32(90), 'nearest', 0.0)
    np.testing.assert_allclose(out, np.rot90(square), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.floats(-9, 9), st.floats(-9, 9), st.sampled_from(warp.MODES))
def test_shift_is_scipys(down, right, mode):
    out = jitted_shifted(image(), jnp.float32(down), jnp.float32(right), mode, 0.5)
    expected = by_scipy(image(), np.eye(2), -np.array([down, right]), mode, 0.5)
    np.testing.assert_allclose(out, expected, atol=2e-5)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 1.9), st.sampled_from(warp.MODES))
def test_zoom_is_scipys(factor, mode):
    out = jitted_zoomed(image(), jnp.float32(factor), mode, 0.5)
    expected = by_scipy(image(), np.eye(2) / factor, 0, mode, 0.5)
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_shift_of_the_width_alone_leaves_rows_where_they_are():
    rows = jnp.asarray(np.broadcast_to(image()[:, :1], (4, 9, 8, 3)))
    out = jax.jit(lambda key: affine.shift(key, rows, fraction=(0, 0.5)))(jax.random.key(0))
    np.testing.assert_allclose(out, rows, atol=1e-6)


def test_elastic_field_is_scipys_filter_of_the_noise_and_its_stated_size():
    noise = np.random.default_rng(0).uniform(-1, 1, (200, 2, 32, 32)).astype(np.float32)
    out = np.asarray(distortion.smoothed(jnp.asarray(noise), 4))
    expected = ndimage.gaussian_filter(noise[0, 1], 4, mode='constant')
    np.testing.assert_allclose(out[0, 1], expected, atol=1e-5)
    assert 34 * out[:, :, 10:22, 10:22].std() == pytest.approx(1.4, abs=0.1)


def test_elastic_move_is_scipys_map_coordinates():
    moves = np.random.default_rng(1).normal(0, 2, (2, 9, 8)).astype(np.float32)
    places = np.indices((9, 8)) + moves
    expected = [
        ndimage.map_coordinates(channel, places, order=1, mode='mirror')
        for channel in np.moveaxis(image(), -1, 0)
    ]
    out = distortion.displaced(jnp.asarray(image()), jnp.asarray(moves), 'reflect')
    np.testing.assert_allclose(out, np.stack(expected, -1), atol=1e-5)


def test_grid_distortion_with_equal_cells_changes_nothing_and_else_keeps_the_corners():
    pixels, cells = jnp.asarray(image()), jnp.ones(5, jnp.float32)
    np.testing.assert_allclose(distortion.stretched(pixels, cells, cells), pixels, atol=1e-5)
    widths = jnp.float32([1, 0.7, 1.3, 1, 0.8])
    bent = distortion.stretched(pixels, widths, widths[::-1])
    np.testing.assert_allclose(bent[::8, ::7], pixels[::8, ::7], atol=1e-5)
    ends = np.concatenate([[0], np.cumsum(widths)]) * 8 / np.sum(widths)
    row = np.interp(3, np.linspace(0, 8, 6), ends)
    column = 7 - np.interp(4, np.linspace(0, 7, 6), ends * 7 / 8)
    expected = ndimage.map_coordinates(image()[..., 0], [[row], [column]], order=1)
    np.testing.assert_allclose(bent[3, 3, 0], expected[0], atol=1e-5)


@pytest.mark.parametrize('turn', [-0.5, -0.1, 0.0, 0.2, 0.49])
def test_hue_is_turned_as_colorsys_has_it(turn):
    def by_hand(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)

    pixels = image()
    pixels[0, 0], pixels[0, 1] = 0.3, (0.5, 0.5, 0.1)
    expected = np.apply_along_axis(by_hand, -1, pixels)
    out = hue_rotated(jnp.asarray(pixels), jnp.float32(turn))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def picture(seed=0):
    """A uint8 image of few and unequal levels, and as Pillow has it."""
    levels = np.random.default_rng(seed).normal(120, 30, (32, 32, 3)).clip(20, 230)
    levels = levels.astype(np.uint8)
    return jnp.asarray(levels.astype(np.float32) / 255), Image.fromarray(levels)


PILLOW = {
    'brightness': (0.4, lambda i: ImageEnhance.Brightness(i).enhance(1.4)),
    'color': (-0.6, lambda i: ImageEnhance.Color(i).enhance(0.4)),
    'contrast': (0.9, lambda i: ImageEnhance.Contrast(i).enhance(1.9)),
    'sharpness': (0.9, lambda i: ImageEnhance.Sharpness(i).enhance(1.9)),
    'posterize': (3.0, lambda i: ImageOps.posterize(i, 3)),
    'solarize': (128 / 255, lambda i: ImageOps.solarize(i, 128)),
    'auto_contrast': (0.0, ImageOps.autocontrast),
    'equalize': (0.0, ImageOps.equalize),
}


@pytest.mark.parametrize('name', sorted(PILLOW))
def test_an_operation_is_pillows_up_to_its_rounding(name):
    amount, pillow = PILLOW[name]
    ours, theirs = picture()
    out = np.asarray(operations.OPERATIONS[name](ours, jnp.float32(amount))) * 255
    # Pillow rounds the smoothed, grey and mean images too, which its factors then enlarge.
    tolerance = {'equalize': 0.01, 'posterize': 0.01, 'solarize': 0.01}.get(name, 2.01)
    np.testing.assert_allclose(out, np.asarray(pillow(theirs), np.float32), atol=tolerance)


def test_shears_move_lines_about_the_centre():
    pixels = image(height=9, width=9)
    out = operations.shear_x(jnp.asarray(pixels), jnp.float32(1))
    np.testing.assert_allclose(out[4], pixels[4], atol=1e-6)
    np.testing.assert_allclose(out[5, 1:], pixels[5, :-1], atol=1e-6)
    out = operations.shear_y(jnp.asarray(pixels), jnp.float32(1))
    np.testing.assert_allclose(out[1:, 5], pixels[:-1, 5], atol=1e-6)


@pytest.mark.parametrize('ranges', [policies.RAND, policies.TRIVIAL])
def test_amounts_go_from_the_weakest_to_the_strongest_with_a_sign_where_there_is_one(ranges):
    which = jnp.arange(len(ranges), dtype=jnp.int32)
    count = len(ranges)
    for strength, end in ((0.0, 'weakest'), (1.0, 'strongest')):
        for opposite in (False, True):
            amounts = policies.amounts_of(
                ranges, which, jnp.full(count, strength), jnp.full(count, opposite)
            )
            for amount, limit in zip(amounts, ranges.values(), strict=True):
                sign = -1 if opposite and limit.signed else 1
                assert amount == pytest.approx(sign * getattr(limit, end))


def test_rand_augment_without_strength_is_one_of_the_operations_that_have_none():
    images = jnp.stack([picture(seed)[0] for seed in range(100)])
    policy = functools.partial(policies.rand_augment, operations=1, magnitude=0)
    out = jax.jit(policy)(jax.random.key(0), images)
    free = (operations.identity, operations.auto_contrast, operations.equalize)
    results = jax.jit(jax.vmap(lambda image: [f(image, jnp.float32(0)) for f in free]))(images)
    for after, *each in zip(out, *results, strict=True):
        assert any(np.allclose(result, after, atol=2e-6) for result in each)


def batch(count):
    images = jnp.broadcast_to(
        jnp.arange(count, dtype=jnp.float32)[:, None, None, None] / count, (count, 10, 12, 3)
    )
    indices = jnp.arange(count, dtype=jnp.int32)
    labels = jax.nn.one_hot(indices, count)
    return Batch(images, labels, indices, jnp.int32(0), jax.random.key(0))


@pytest.mark.parametrize('mix', [mixing.mixup, mixing.cutmix])
def test_labels_are_mixed_as_the_pixels_are(mix):
    before = batch(64)
    out = jax.jit(lambda key: mix(key, before, alpha=1.0, p=1))(jax.random.key(0))
    kept = np.diag(out.labels)
    partner = out.labels[np.arange(64), (np.arange(64) + 1) % 64]
    np.testing.assert_allclose(kept + partner, 1, rtol=1e-6)
    own, other = np.arange(64) / 64, np.roll(np.arange(64), -1) / 64
    np.testing.assert_allclose(
        out.images.mean(axis=(1, 2, 3)), kept * own + partner * other, atol=1e-5
    )
    if mix is mixing.cutmix:
        pixels = np.asarray(out.images)
        assert ((pixels == own[:, None, None, None]) | (pixels == other[:, None, None, None])).all()


def test_mixups_shares_are_those_of_the_beta_distribution():
    before = batch(2000)._replace(labels=jnp.eye(2)[jnp.arange(2000) % 2])
    mixed = jax.jit(lambda key: mixing.mixup(key, before, alpha=0.4).labels)
    kept = mixed(jax.random.key(0)).max(axis=1)
    drawn = stats.beta(0.4, 0.4).rvs(4000, random_state=0)
    folded = np.maximum(drawn, 1 - drawn)
    assert stats.ks_2samp(np.asarray(kept), folded).pvalue > 1e-3


def test_erase_fills_one_rectangle_of_an_allowed_size_in_the_stated_share_of_images():
    images = jnp.full((500, 32, 32, 3), 0.25)
    erased = jax.jit(lambda key: erase(key, images, fill=1, p=0.5, area=(0.1, 0.3)))
    out = np.asarray(erased(jax.random.key(0)))
    sizes = []
    for hidden in (out == 1).all(axis=-1):
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        assert hidden.sum() == len(rows) * len(columns)
        if len(rows):
            assert np.ptp(rows) + 1 == len(rows)
            assert 0.08 < hidden.mean() < 0.32
            assert 0.25 < len(rows) / len(columns) < 4
        sizes.append(hidden.sum())
    assert np.mean(np.array(sizes) > 0) == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 500))
