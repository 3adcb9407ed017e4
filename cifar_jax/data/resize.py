"""Resizes batches of images on the device."""

import jax
from jaxtyping import Array, Float


def bilinear(images: Float[Array, 'batch h w c'], size: int) -> Float[Array, 'batch size size c']:
    """Returns images of `size` x `size`, whatever their proportions, with the same dtype.

    As Pillow does it for files (`image_files.pixels`): bilinear, with antialiasing where the images
    shrink. Pillow rounds the result to whole numbers.
    """
    batch, height, width, channels = images.shape
    if (height, width) == (size, size):
        return images
    return jax.image.resize(images, (batch, size, size, channels), 'bilinear', antialias=True)
