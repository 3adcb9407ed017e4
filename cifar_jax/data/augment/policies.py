"""RandAugment and TrivialAugment: random operations with a common strength."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, Key

from cifar_jax.data.augment.color import check_channels
from cifar_jax.data.augment.operations import OPERATIONS
from cifar_jax.data.augment.options import sometimes, within
from cifar_jax.errors import UserError

_LEVELS = 30


class Range(NamedTuple):
    """The amounts of an operation at the weakest and the strongest level."""

    weakest: float
    strongest: float
    signed: bool = False  # whether the sign is random


_UNUSED = Range(0, 0)
# AutoAugment's ranges (Cubuk et al., 2019, arXiv:1805.09501, table 6).
RAND: Mapping[str, Range] = MappingProxyType(
    {
        'identity': _UNUSED,
        'auto_contrast': _UNUSED,
        'equalize': _UNUSED,
        'rotate': Range(0, 30, True),
        'solarize': Range(1, 0),
        'color': Range(0, 0.9, True),
        'posterize': Range(8, 4),
        'contrast': Range(0, 0.9, True),
        'brightness': Range(0, 0.9, True),
        'sharpness': Range(0, 0.9, True),
        'shear_x': Range(0, 0.3, True),
        'shear_y': Range(0, 0.3, True),
        'translate_x': Range(0, 150 / 331, True),
        'translate_y': Range(0, 150 / 331, True),
    }
)
# TrivialAugment (Wide); its shift of 32 pixels is the whole width of CIFAR's images.
TRIVIAL: Mapping[str, Range] = MappingProxyType(
    {
        **RAND,
        'rotate': Range(0, 135, True),
        'posterize': Range(8, 2),
        **dict.fromkeys(
            ('color', 'contrast', 'brightness', 'sharpness', 'shear_x', 'shear_y'),
            Range(0, 0.99, True),
        ),
        **dict.fromkeys(('translate_x', 'translate_y'), Range(0, 1, True)),
    }
)


def rand_augment(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    *,
    operations: int = 2,
    magnitude: int | float = 9,
    p: int | float = 1.0,
) -> Float[Array, 'batch h w c']:
    """Applies a number of random operations, out of the fourteen in `RAND`, to each image.

    Args:
      operations: the paper's N, at least 1.
      magnitude: the paper's M, from 0 to 30 (strongest). Defaults are torchvision's.

    References:
      Cubuk et al., 2020, RandAugment, arXiv:1909.13719, figure 2. Ours interpolates bilinearly,
      fills with grey, and shears about the centre.
    """
    if not isinstance(operations, int) or operations < 1:
        raise UserError(f'rand_augment: operations={operations} must be a whole number above 0.')
    within('rand_augment', 'magnitude', magnitude, 0, _LEVELS)
    check_channels('rand_augment', images.shape[-1])
    strengths = jnp.full(len(images), magnitude / _LEVELS, jnp.float32)
    changed = images
    for k in jax.random.split(key, operations):
        changed = _apply_random(k, changed, RAND, strengths)
    return sometimes('rand_augment', key, p, changed, images)


def trivial_augment(
    key: Key[Array, ''], images: Float[Array, 'batch h w c'], *, p: int | float = 1.0
) -> Float[Array, 'batch h w c']:
    """Applies to each image one operation of `TRIVIAL`, at one of 31 strengths, both uniform.

    References:
      Müller and Hutter, 2021, TrivialAugment, arXiv:2103.10158, algorithm 1 and table 5 (Wide).
      Ours interpolates bilinearly, fills with grey, and shears about the centre.
    """
    check_channels('trivial_augment', images.shape[-1])
    strength_key, operation_key = jax.random.split(key)
    levels = jax.random.randint(strength_key, (len(images),), 0, _LEVELS + 1, jnp.int32)
    strengths = levels.astype(jnp.float32) / _LEVELS
    changed = _apply_random(operation_key, images, TRIVIAL, strengths)
    return sometimes('trivial_augment', key, p, changed, images)


def _apply_random(
    key: Key[Array, ''],
    images: Float[Array, 'batch h w c'],
    ranges: Mapping[str, Range],
    strengths: Float32[Array, ' batch'],
) -> Float[Array, 'batch h w c']:
    """Applies one random operation to each image."""
    operation_key, sign_key = jax.random.split(key)
    which = jax.random.randint(operation_key, (len(images),), 0, len(ranges), jnp.int32)
    negate = jax.random.bernoulli(sign_key, 0.5, (len(images),))
    functions = [OPERATIONS[name] for name in ranges]
    amounts = amounts_of(ranges, which, strengths, negate)
    return jax.vmap(lambda image, n, a: jax.lax.switch(n, functions, image, a))(
        images, which, amounts
    )


def amounts_of(
    ranges: Mapping[str, Range],
    which: Int32[Array, ' batch'],
    strengths: Float32[Array, ' batch'],
    negate: Bool[Array, ' batch'],
) -> Float32[Array, ' batch']:
    """Returns the amount for each image, whose operation is number `which` of `ranges`."""
    weakest, strongest, signed = zip(*ranges.values(), strict=True)
    first, last = (jnp.asarray(ends, jnp.float32)[which] for ends in (weakest, strongest))
    amounts = first + strengths * (last - first)
    return jnp.where(negate & jnp.asarray(signed)[which], -amounts, amounts)
