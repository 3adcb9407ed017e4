"""DropBlock: blocks, fraction of kept values, gammas and schedule, by independent counts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cifar_jax.models.layers import DropBlock, block_mask

KEY = jax.random.key(3)


def blocks_of(seeds, size, before):
    """The union of the size x size blocks that begin `before` pixels ahead of each seed."""
    _, height, width = seeds.shape
    mask = np.zeros_like(seeds)
    for image, row, column in np.argwhere(seeds):
        top, left = max(row - before, 0), max(column - before, 0)
        mask[image, top : row - before + size, left : column - before + size] = True
    return mask[:, :height, :width]


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 8])
def test_published_blocks_surround_their_seeds(size):
    shape, rate = (6, 13, 11), 0.4
    mask = block_mask(KEY, shape, rate, size)
    seeds = np.asarray(jax.random.bernoulli(KEY, rate / size**2, (math.prod(shape),))).reshape(
        shape
    )
    assert seeds.any()
    np.testing.assert_array_equal(mask, blocks_of(seeds, size, (size - 1) // 2))


@pytest.mark.parametrize('size', [2, 3, 4, 5])
def test_ghiasi_blocks_all_fit_in_the_map(size):
    shape, rate = (6, 9, 12), 0.3
    gamma = rate / size**2 * (9 * 12) / ((9 - size + 1) * (12 - size + 1))
    places = (6, 9 - size + 1, 12 - size + 1)
    seeds = np.zeros(shape, bool)
    draws = jax.random.bernoulli(KEY, gamma, (math.prod(places),))
    seeds[:, : places[1], : places[2]] = draws.reshape(places)
    assert seeds.any()
    mask = block_mask(KEY, shape, rate, size, 'ghiasi')
    np.testing.assert_array_equal(mask, blocks_of(seeds, size, 0))


@pytest.mark.parametrize('gamma', ['published', 'ghiasi'])
@pytest.mark.parametrize('size', [4, 5])
def test_a_lone_seed_makes_exactly_one_block(size, gamma):
    mask = np.asarray(block_mask(KEY, (400, 20, 20), 0.02, size, gamma))
    inside = ~(mask[:, 0] | mask[:, -1] | mask[:, :, 0] | mask[:, :, -1]).any(1)
    counts = mask.sum((1, 2))
    lone = counts[inside & (counts > 0)]
    assert lone.size > 3
    assert lone.min() == size**2
    assert np.median(lone) == size**2


@pytest.mark.parametrize(('gamma', 'size'), [('published', 4), ('ghiasi', 4), ('ghiasi', 5)])
def test_share_dropped_is_that_of_independent_seeds(gamma, size):
    rate, side = 0.3, 32
    chance = rate / size**2
    if gamma == 'ghiasi':
        chance *= side**2 / (side - size + 1) ** 2
    middle = block_mask(KEY, (2000, side, side), rate, size, gamma)[:, 12:20, 12:20]
    expected = 1 - (1 - chance) ** (size**2)
    np.testing.assert_allclose(np.mean(np.asarray(middle)), expected, atol=0.01)


def test_kept_share_is_normalised_over_the_batch_and_shared_by_channels():
    x = jnp.ones((8, 16, 16, 3))
    y = np.asarray(DropBlock(0.3, 4).apply({}, x, train=True, rngs={'dropout': KEY}))
    np.testing.assert_allclose(y.mean(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(y[..., :1] + 0 * y, y)
    kept = y != 0
    assert 0 < kept.mean() < 1
    np.testing.assert_allclose(y[kept], 1 / kept.mean(), rtol=1e-5)
    per_image = y.mean((1, 2, 3))
    assert per_image.std() > 0.01  # normalised together, not one by one


def test_everything_dropped_stays_finite():
    y = DropBlock(1.0, 1).apply({}, jnp.ones((1, 2, 2, 1)), train=True, rngs={'dropout': KEY})
    np.testing.assert_array_equal(y, 0)


def test_identity_at_evaluation_needs_no_key():
    x = jax.random.normal(KEY, (2, 8, 8, 3))
    np.testing.assert_array_equal(DropBlock(0.3, 4).apply({}, x, train=False), x)


def test_progress_scales_the_rate():
    def dropped(progress):
        layer = DropBlock(0.5, 2)
        x = jnp.ones((32, 32, 32, 1))
        y = layer.apply({}, x, train=True, progress=progress, rngs={'dropout': KEY})
        return float(jnp.mean(y[:, 2:-2, 2:-2] == 0))  # the border loses blocks

    shares = [dropped(jnp.float32(progress)) for progress in (0.0, 0.5, 1.0)]
    assert shares[0] == 0
    for share, rate in zip(shares[1:], (0.25, 0.5), strict=True):
        np.testing.assert_allclose(share, 1 - (1 - rate / 4) ** 4, atol=0.02)


def test_a_block_is_cut_to_the_map():
    mask = block_mask(KEY, (50, 3, 3), 0.5, 8, 'ghiasi')
    whole = np.asarray(mask).reshape(50, -1)
    assert whole.any()
    np.testing.assert_array_equal(whole.all(1), whole.any(1))


def test_an_unknown_gamma_is_refused():
    with pytest.raises(ValueError, match="'published' or 'ghiasi'"):
        block_mask(KEY, (1, 4, 4), 0.1, 2, 'other')
