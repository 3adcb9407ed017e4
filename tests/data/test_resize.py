"""Tests of resizing on the device, with Pillow as the independent implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cifar_jax.data import image_files, resize


@pytest.mark.parametrize('size', [3, 9, 24])
def test_images_are_those_that_pillow_resizes(size):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    ours = jax.jit(resize.bilinear, static_argnums=1)(images.astype(np.float32), size)
    theirs = np.stack([image_files.from_array(image, (size, size)) for image in images])
    assert ours.shape == theirs.shape
    # Pillow rounds the rows, and then the columns.
    assert np.abs(np.asarray(ours) - theirs).max() <= 1.01


def test_images_of_the_size_are_returned_as_they_are():
    images = jnp.zeros((1, 4, 4, 3))
    assert resize.bilinear(images, 4) is images


def test_the_dtype_is_kept():
    assert resize.bilinear(jnp.zeros((1, 4, 4, 3), jnp.bfloat16), 6).dtype == jnp.bfloat16
