"""Random resized crops, with Pillow and torchvision's arithmetic as independent implementations."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cifar_jax.data import augment
from cifar_jax.data.augment import crops
from cifar_jax.errors import UserError

SIZES = [(8, 12), (11, 7), (9, 9)]


def by_pillow(image, box):
    """Cuts a box out of an image, and enlarges it to the size of the image."""
    top, left, height, width = box
    channels = [
        Image.fromarray(channel)
        .crop((left, top, left + width, top + height))
        .resize(image.shape[1::-1], Image.Resampling.BILINEAR)
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


@pytest.mark.parametrize('size', SIZES)
def test_a_box_is_enlarged_as_by_pillow(size):
    height, width = size
    rng = np.random.default_rng(0)
    images = rng.random((40, *size, 3), np.float32)
    h, w = rng.integers(1, height + 1, 40), rng.integers(1, width + 1, 40)
    boxes = np.stack([rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w], 1)
    ours = jax.jit(crops.resized)(images, jnp.asarray(boxes, jnp.int32))
    theirs = np.stack([by_pillow(*pair) for pair in zip(images, boxes, strict=True)])
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_whole_image_stays_as_it_is():
    images = jnp.asarray(np.random.default_rng(0).random((2, 7, 5, 3), np.float32))
    boxes = jnp.asarray([[0, 0, 7, 5]] * 2, jnp.int32)
    np.testing.assert_allclose(crops.resized(images, boxes), images, atol=1e-6)


def by_torchvision(shares, ratios, place, size, limits):
    """The arithmetic of torchvision's RandomResizedCrop.get_params, with given numbers."""
    height, width = size
    for share, ratio in zip(shares.astype(float), ratios.astype(float), strict=True):
        area = height * width * share
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w
    if width / height < min(limits):
        w, h = width, round(width / min(limits))
    elif width / height > max(limits):
        w, h = round(height * max(limits)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize('size', [(32, 32), (40, 20), (15, 64)])
@pytest.mark.parametrize('limits', [(3 / 4, 4 / 3), (0.1, 0.4), (3, 9)])
def test_boxes_are_those_of_torchvision(size, limits):
    rng = np.random.default_rng(0)
    # Large shares: many attempts do not fit, and for some images none does.
    shares = rng.uniform(0.05, 1, (300, 2)).astype(np.float32)
    ratios = np.exp(rng.uniform(*np.log(limits), (300, 2))).astype(np.float32)
    places = rng.random((300, 2), np.float32)
    ours = jax.jit(crops.boxes, static_argnums=(3, 4))(shares, ratios, places, size, limits)
    theirs = [
        by_torchvision(*row, size, limits) for row in zip(shares, ratios, places, strict=True)
    ]
    np.testing.assert_array_equal(ours, theirs)


def test_a_place_just_below_1_lies_within_the_image():
    places = jnp.full((1, 2), np.nextafter(np.float32(1), np.float32(0)))
    one = jnp.ones((1, 1), jnp.float32)
    top, left, height, width = crops.boxes(one / 4, one, places, (10_000, 10_000), (1, 1))[0]
    assert (top + height, left + width) == (10_000, 10_000)


def random_crops(count, seed=0, **options):
    """Returns the shares of the area, and the ratios, of boxes drawn from images of positions."""
    rows, columns = np.mgrid[:64, :64].astype(np.float32) / 64
    images = jnp.asarray(np.stack([rows, columns, rows * 0], -1)[None].repeat(count, 0))
    function = jax.jit(functools.partial(crops.random_resized_crop, **options))
    out = np.asarray(function(jax.random.key(seed), images))
    height, width = (np.ptp(out[..., axis], axis=(1, 2)) + 1 / 64 for axis in (0, 1))
    return height * width, width / height


def test_areas_are_uniform_and_ratios_uniform_in_their_logarithm():
    areas, ratios = random_crops(2000, scale=(0.1, 0.5), ratio=(0.5, 2))
    assert areas.mean() == pytest.approx(0.3, abs=0.01)
    assert [areas.min(), areas.max()] == pytest.approx([0.1, 0.5], abs=0.02)
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.04)
    assert [ratios.min(), ratios.max()] == pytest.approx([0.5, 2], abs=0.15)


def test_each_image_has_a_box_of_its_own_which_the_key_determines():
    first, again, other = (random_crops(50, seed)[0] for seed in (0, 0, 1))
    assert len({*first.tolist()}) > 40
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_dtype_is_kept():
    images = jnp.zeros((2, 8, 8, 3), jnp.bfloat16)
    assert crops.random_resized_crop(jax.random.key(0), images).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'scale': (0, 1)}, r'scale=\(0, 1\) must be two numbers above 0 and at most 1'),
        ({'scale': (0.5, 1.1)}, 'at most 1, the smaller one first'),
        ({'scale': [0.5, 0.4]}, 'the smaller one first'),
        ({'scale': (0.5,)}, 'two numbers'),
        ({'ratio': (0, 1)}, r'ratio=\(0, 1\) must be two numbers above 0 and at most 1000'),
        ({'scale': 0.5}, 'random_resized_crop cannot have the options'),
    ],
)
def test_ranges_that_are_impossible_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        augment.check([{'name': 'random_resized_crop', **options}])
