"""Random crops of each image, resized to its size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32, Key

from cifar_jax.data.augment.options import sometimes
from cifar_jax.data.augment.warp import warp
from cifar_jax.errors import UserError

_ATTEMPTS = 10


def random_resized_crop(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    scale: Sequence[int | float] = (0.08, 1.0),
    ratio: Sequence[int | float] = (3 / 4, 4 / 3),
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Replaces each image by a random part of it, enlarged to the size of the whole (bilinear).

    Boxes are drawn as in torchvision's `RandomResizedCrop`: an area uniform over a range and a
    ratio of width to height uniform in its logarithm, up to ten times, until the box fits into the
    image; otherwise the largest box in the middle with a ratio in range. All places are equally
    likely.

    Args:
      scale: the smallest and the largest share of the image's area.
      ratio: the smallest and the largest ratio of width to height.

    References:
      Szegedy et al., 2015, Going Deeper with Convolutions, arXiv:1409.4842, section 6.
    """
    _check('scale', scale, 1, 'above 0 and at most 1')
    _check('ratio', ratio, 1000, 'above 0 and at most 1000')
    count, height, width, _ = images.shape
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    shares = jax.random.uniform(area_key, (count, _ATTEMPTS), jnp.float32, *scale)
    logs = jnp.log(jnp.asarray(ratio, jnp.float32))
    ratios = jnp.exp(jax.random.uniform(ratio_key, (count, _ATTEMPTS), jnp.float32, *logs))
    places = jax.random.uniform(place_key, (count, 2), jnp.float32)
    drawn = boxes(shares, ratios, places, (height, width), ratio)
    return sometimes('random_resized_crop', key, p, resized(images, drawn), images)


def boxes(
    shares: Float32[Array, 'batch attempts'],
    ratios: Float32[Array, 'batch attempts'],
    places: Float32[Array, 'batch 2'],
    size: tuple[int, int],
    limits: Sequence[int | float],
) -> Int32[Array, 'batch 4']:
    """Returns the box (top, left, height, width) of each image, in whole pixels.

    Args:
      shares, ratios: of the area, and of width to height, in the order in which they are tried.
      places: in [0, 1), of the distance that a box can move down and right.
      size: height and width of the images.
      limits: the smallest and the largest ratio, of the box in the middle.
    """
    height, width = size
    areas = shares * (height * width)
    widths = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits, axis=1)[:, None]
    h, w = (jnp.take_along_axis(sides, first, axis=1)[:, 0] for sides in (heights, widths))
    # A product that is rounded up would lie below the image.
    top, left = (
        jnp.minimum((place * (room + 1).astype(jnp.float32)).astype(jnp.int32), room)
        for place, room in zip(places.T, (height - h, width - w), strict=True)
    )
    drawn = jnp.stack([top, left, h, w], axis=1)
    return jnp.where(
        fits.any(axis=1)[:, None], drawn, jnp.asarray([_middle(size, limits)], jnp.int32)
    )


def resized(
    images: Float[Array, 'batch h w c'], boxes: Int32[Array, 'batch 4']
) -> Float[Array, 'batch h w c']:
    """Returns the part of each image in its box (top, left, height, width), at the image's size.

    Bilinear in float32. What surrounds a box has no influence.
    """
    _, height, width, _ = images.shape

    def enlarged(image: Float[Array, 'h w c'], box: Int32[Array, '4']) -> Float[Array, 'h w c']:
        top, left, h, w = box
        rows, columns = jnp.meshgrid(
            _places(top, h, height), _places(left, w, width), indexing='ij'
        )
        return warp(image, rows, columns, 'nearest')

    return jax.vmap(enlarged)(images, boxes)


def _places(
    start: Int32[Array, ''], length: Int32[Array, ''], size: int
) -> Float32[Array, ' size']:
    """Returns where the pixels of a side are read, for a part that is enlarged to the side."""
    pixels = jnp.arange(size, dtype=jnp.float32)
    length = length.astype(jnp.float32)
    places = jnp.clip((pixels + 0.5) * (length / size) - 0.5, 0, length - 1)
    return places + start.astype(jnp.float32)


def _middle(size: tuple[int, int], limits: Sequence[int | float]) -> tuple[int, int, int, int]:
    """Returns the largest box in the middle of an image whose ratio is within the limits."""
    height, width = size
    low, high = limits
    h, w = min(height, round(width / low)), min(width, round(height * high))
    return (height - h) // 2, (width - w) // 2, h, w


def _check(option: str, value: Sequence[int | float], largest: int, rule: str) -> None:
    """Raises UserError unless a range is a pair of numbers in order, above 0."""
    if len(value) != 2 or not 0 < value[0] <= value[1] <= largest:
        raise UserError(
            f'random_resized_crop: {option}={tuple(value)} must be two numbers {rule}, the smaller '
            'one first.'
        )
