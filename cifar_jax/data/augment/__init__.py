"""Augmentation on the device: pure functions of a key, composed by a list in the config."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from cifar_jax.data.augment.geometric import cutout, flip, translate
from cifar_jax.errors import UserError, nearest

AUGMENTATIONS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {'cutout': cutout, 'flip': flip, 'translate': translate}
)
Policy = Sequence[Mapping[str, Any] | ConfigDict]


def augment(
    key: Key[Array, ''], images: Float[Array, 'batch h w c'], policy: Policy
) -> Float[Array, 'batch h w c']:
    """Applies the augmentations of `policy` one after the other.

    Args:
      key: the step's key; each augmentation's is the key with its position folded in.
      images: the global batch, pixels in [0, 1].
      policy: entries such as {'name': 'translate', 'pixels': 4}: a name in `AUGMENTATIONS` and
        its options.

    Returns:
      Images of the same shape and dtype.
    """
    for position, entry in enumerate(policy):
        options = dict(entry)
        function = AUGMENTATIONS[options.pop('name')]
        images = function(jax.random.fold_in(key, position), images, **options)
    return images


def check(policy: Sequence[Any], shape: tuple[int, int, int] = (32, 32, 3)) -> None:
    """Raises UserError for an unknown name or option, or an impossible value; computes nothing.

    Args:
      policy: as `augment` takes it.
      shape: [h w c] of the images that it is meant for.
    """
    for entry in policy:
        options = dict(entry) if isinstance(entry, Mapping | ConfigDict) else {}
        name = options.pop('name', None)
        if name is None:
            raise UserError(
                f"--config.data.augment: {entry!r} has no name: write {{'name': 'flip'}}."
            )
        if name not in AUGMENTATIONS:
            raise UserError(f"There is no augmentation '{name}': {nearest(name, AUGMENTATIONS)}")
        known = [*inspect.signature(AUGMENTATIONS[name]).parameters][2:]
        for option in options:
            if option not in known:
                raise UserError(f"{name} has no option '{option}': {nearest(option, known)}")
        _trace(name, options, shape)


def _trace(name: str, options: dict[str, Any], shape: tuple[int, int, int]) -> None:
    """Traces an augmentation, so that it checks its own values."""
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        jax.eval_shape(lambda k, x: AUGMENTATIONS[name](k, x, **options), key, images)
    except (TypeError, ValueError) as error:
        raise UserError(f'{name}: impossible options {options}.') from error
