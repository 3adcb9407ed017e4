"""Augmentation of colours. Pixels are in [0, 1], channels are red, green and blue."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cifar_jax.data.augment.options import sometimes, uniform, within
from cifar_jax.errors import UserError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's 'L'


def color(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    brightness: int | float = 0.2,
    contrast: int | float = 0.2,
    saturation: int | float = 0.2,
    hue: int | float = 0.05,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Changes brightness, contrast, saturation and hue of each image, in this order.

    The factors of the first three are uniform over 1-x..1+x for each image. They are defined as in
    Pillow's `ImageEnhance` and torchvision's `ColorJitter`: 0 gives black, the image's mean grey,
    and its grey version, respectively; 1 changes nothing. The hue is rotated by up to `hue` of a
    full circle in either direction.

    Args:
      brightness, contrast, saturation: x, from 0 to 1.
      hue: from 0 to 0.5.
    """
    for option, value in {
        'brightness': brightness,
        'contrast': contrast,
        'saturation': saturation,
    }.items():
        within('color', option, value, 0, 1)
    within('color', 'hue', hue, 0, 0.5)
    check_channels('color', images.shape[-1])
    changed = images
    strengths = (brightness, contrast, saturation)
    functions = (brightened, contrasted, saturated)
    keys = jax.random.split(key, 4)
    for function, strength, k in zip(functions, strengths, keys, strict=False):
        factors = uniform(k, len(images), 1 - strength, 1 + strength)
        changed = jax.vmap(function)(changed, factors.astype(images.dtype))
    if hue:
        turns = uniform(keys[3], len(images), -hue, hue)
        changed = jax.vmap(hue_rotated)(changed, turns.astype(images.dtype))
    return sometimes('color', key, p, changed, images)


def check_channels(name: str, channels: int) -> None:
    """Raises UserError unless images have three channels."""
    if channels != 3:
        raise UserError(f'{name}: it needs images with 3 channels; these have {channels}.')


def blended(
    base: Float[Array, '#h #w #c'], image: Float[Array, 'h w c'], factor: Float[Array, '']
) -> Float[Array, 'h w c']:
    """Returns base + factor (image - base), clipped to [0, 1]."""
    return jnp.clip(base + factor * (image - base), 0, 1)


def grey(image: Float[Array, 'h w c']) -> Float[Array, 'h w 1']:
    """Returns the luma of each pixel."""
    red, green, blue = (image[..., channel : channel + 1] for channel in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def brightened(image: Float[Array, 'h w c'], factor: Float[Array, '']) -> Float[Array, 'h w c']:
    """Returns the image with its brightness multiplied by a factor."""
    return jnp.clip(factor * image, 0, 1)


def contrasted(image: Float[Array, 'h w c'], factor: Float[Array, '']) -> Float[Array, 'h w c']:
    """Returns the image with its differences from its mean grey multiplied by a factor."""
    return blended(grey(image).mean(keepdims=True), image, factor)


def saturated(image: Float[Array, 'h w c'], factor: Float[Array, '']) -> Float[Array, 'h w c']:
    """Returns the image with its differences from its grey version multiplied by a factor."""
    return blended(grey(image), image, factor)


def hue_rotated(image: Float[Array, 'h w c'], turn: Float[Array, '']) -> Float[Array, 'h w c']:
    """Returns the image with its hues rotated by `turn` of a full circle."""
    red, green, blue = (image[..., channel] for channel in range(3))
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    safe = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths = sixths + 6 * turn

    def channel(offset: int) -> Float[Array, 'h w']:
        place = (offset + sixths) % 6
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)
