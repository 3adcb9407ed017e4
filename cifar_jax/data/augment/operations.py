"""The operations of RandAugment and TrivialAugment, as functions of an image and an amount.

Pixels from outside of the image are grey. Operations on levels round to 256 levels.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from cifar_jax.data.augment.affine import rotated, shifted
from cifar_jax.data.augment.color import blended, brightened, contrasted, saturated
from cifar_jax.data.augment.warp import affine

_OUTSIDE = 'constant', 0.5  # mode and fill
Image = Float[Array, 'h w c']
Amount = Float[Array, '']


def identity(image: Image, amount: Amount) -> Image:
    """Returns the image."""
    del amount
    return image


def shear_x(image: Image, amount: Amount) -> Image:
    """Moves each row right by `amount` pixels for every pixel that it lies below the centre."""
    return _sheared(image, jnp.zeros_like(amount), -amount)


def shear_y(image: Image, amount: Amount) -> Image:
    """Moves each column down by `amount` pixels for every pixel it lies right of the centre."""
    return _sheared(image, -amount, jnp.zeros_like(amount))


def _sheared(image: Image, down: Amount, right: Amount) -> Image:
    one = jnp.ones_like(down)
    matrix = jnp.stack([jnp.stack([one, down]), jnp.stack([right, one])])
    return affine(image, matrix, jnp.zeros(2, jnp.float32), *_OUTSIDE)


def translate_x(image: Image, amount: Amount) -> Image:
    """Moves the image right by `amount` of its width."""
    return shifted(image, jnp.zeros_like(amount), amount * image.shape[1], *_OUTSIDE)


def translate_y(image: Image, amount: Amount) -> Image:
    """Moves the image down by `amount` of its height."""
    return shifted(image, amount * image.shape[0], jnp.zeros_like(amount), *_OUTSIDE)


def rotate(image: Image, amount: Amount) -> Image:
    """Rotates the image by `amount` degrees."""
    return rotated(image, amount, *_OUTSIDE)


def brightness(image: Image, amount: Amount) -> Image:
    """Multiplies the brightness by 1 + amount."""
    return brightened(image, (1 + amount).astype(image.dtype))


def color(image: Image, amount: Amount) -> Image:
    """Multiplies the saturation by 1 + amount."""
    return saturated(image, (1 + amount).astype(image.dtype))


def contrast(image: Image, amount: Amount) -> Image:
    """Multiplies the differences from the image's mean grey by 1 + amount."""
    return contrasted(image, (1 + amount).astype(image.dtype))


def sharpness(image: Image, amount: Amount) -> Image:
    """Multiplies the differences from the smoothed image by 1 + amount, except at the border.

    The smoothed image is Pillow's: the mean of 3x3 pixels, with a weight of 5 for the middle one.
    """
    height, width, _ = image.shape
    total = sum(
        image[row : height - 2 + row, column : width - 2 + column]
        for row in range(3)
        for column in range(3)
    )
    inner = image[1:-1, 1:-1]
    smooth = image.at[1:-1, 1:-1].set((total + 4 * inner) / 13)
    return blended(smooth, image, (1 + amount).astype(image.dtype))


def posterize(image: Image, amount: Amount) -> Image:
    """Keeps the `amount` (rounded) highest bits of each level."""
    step = jnp.exp2(8 - jnp.round(amount)).astype(jnp.int32)
    return _pixels(_levels(image) // step * step, image)


def solarize(image: Image, amount: Amount) -> Image:
    """Inverts the pixels that are not below `amount`."""
    return jnp.where(image < amount.astype(image.dtype), image, 1 - image)


def auto_contrast(image: Image, amount: Amount) -> Image:
    """Stretches each channel to the whole range from 0 to 1."""
    del amount
    low, high = (f(image, axis=(0, 1), keepdims=True) for f in (jnp.min, jnp.max))
    extent = high - low
    stretched = (image - low) / jnp.where(extent > 0, extent, 1)
    return jnp.where(extent > 0, stretched, image)


def equalize(image: Image, amount: Amount) -> Image:
    """Makes the levels of each channel about equally frequent, as Pillow's `ImageOps.equalize`."""
    del amount
    levels = _levels(image)
    channels = [_equalized(levels[..., channel]) for channel in range(levels.shape[-1])]
    return _pixels(jnp.stack(channels, axis=-1), image)


def _equalized(levels: Int32[Array, 'h w']) -> Int32[Array, 'h w']:
    counts = jnp.zeros(256, jnp.int32).at[levels].add(1)
    step = (levels.size - counts[levels.max()]) // 255
    below = jnp.cumsum(counts) - counts
    table = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, table[levels], levels)


def _levels(image: Image) -> Int32[Array, 'h w c']:
    return jnp.round(image.astype(jnp.float32) * 255).astype(jnp.int32)


def _pixels(levels: Int32[Array, 'h w c'], image: Image) -> Image:
    return (levels.astype(jnp.float32) / 255).astype(image.dtype)


OPERATIONS: Mapping[str, Callable[[Image, Amount], Image]] = MappingProxyType(
    {
        'identity': identity,
        'auto_contrast': auto_contrast,
        'equalize': equalize,
        'rotate': rotate,
        'solarize': solarize,
        'color': color,
        'posterize': posterize,
        'contrast': contrast,
        'brightness': brightness,
        'sharpness': sharpness,
        'shear_x': shear_x,
        'shear_y': shear_y,
        'translate_x': translate_x,
        'translate_y': translate_y,
    }
)
