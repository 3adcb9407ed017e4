"""Augmentation on the device: pure functions of a key, composed by a list in the config."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from cifar_jax.data.augment.affine import rotate, shift, zoom
from cifar_jax.data.augment.batch import Batch
from cifar_jax.data.augment.color import color
from cifar_jax.data.augment.distortion import elastic, grid_distortion
from cifar_jax.data.augment.erasing import erase
from cifar_jax.data.augment.geometric import alternating_flip, cutout, flip, translate
from cifar_jax.data.augment.mixing import cutmix, mixup
from cifar_jax.data.augment.policies import rand_augment, trivial_augment
from cifar_jax.errors import UserError, nearest

# Functions of a key and images.
AUGMENTATIONS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        'color': color,
        'cutout': cutout,
        'elastic': elastic,
        'erase': erase,
        'flip': flip,
        'grid_distortion': grid_distortion,
        'rand_augment': rand_augment,
        'rotate': rotate,
        'shift': shift,
        'translate': translate,
        'trivial_augment': trivial_augment,
        'zoom': zoom,
    }
)
# Functions of a key and a `Batch`, for those that look at more than images, or change labels.
BATCH_AUGMENTATIONS: Mapping[str, Callable[..., Batch]] = MappingProxyType(
    {'alternating_flip': alternating_flip, 'cutmix': cutmix, 'mixup': mixup}
)
_ALL: Mapping[str, Callable[..., Any]] = MappingProxyType({**AUGMENTATIONS, **BATCH_AUGMENTATIONS})
Policy = Sequence[Mapping[str, Any] | ConfigDict]


def augment(key: Key[Array, ''], batch: Batch, policy: Policy) -> Batch:
    """Applies the augmentations of `policy` one after the other.

    Args:
      key: the step's key; each augmentation's is the key with its position folded in.
      batch: the global batch.
      policy: entries such as {'name': 'translate', 'pixels': 4}: a name in `AUGMENTATIONS` or
        `BATCH_AUGMENTATIONS` and its options.

    Returns:
      Images and labels of the same shapes and dtypes.
    """
    for position, entry in enumerate(policy):
        options = dict(entry)
        name = options.pop('name')
        own_key = jax.random.fold_in(key, position)
        if name in BATCH_AUGMENTATIONS:
            batch = BATCH_AUGMENTATIONS[name](own_key, batch, **options)
        else:
            images = AUGMENTATIONS[name](own_key, batch.images, **options)
            batch = batch._replace(images=images)
    return batch


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
                f"config.data.augment: {entry!r} has no name: write {{'name': 'flip'}}."
            )
        if not isinstance(name, str) or name not in _ALL:
            raise UserError(
                f'config.data.augment: there is no augmentation {name!r}: '
                f'{nearest(str(name), _ALL)}'
            )
        known = [*inspect.signature(_ALL[name]).parameters][2:]
        for option in options:
            if option not in known:
                raise UserError(
                    f'config.data.augment: {name} has no option {option!r}: '
                    f'{nearest(str(option), known)}'
                )
        _trace(name, options, shape)


def _trace(name: str, options: dict[str, Any], shape: tuple[int, int, int]) -> None:
    """Traces an augmentation, so that it checks its own values."""

    def run() -> Batch:
        key, whole = jax.random.key(0), jnp.zeros((), jnp.int32)
        images, labels = jnp.zeros((2, *shape), jnp.float32), jnp.zeros((2, 2), jnp.float32)
        batch = Batch(images, labels, jnp.zeros(2, jnp.int32), whole, key)
        return augment(key, batch, ({'name': name, **options},))

    try:
        jax.eval_shape(run)
    except UserError as error:
        raise UserError(f'config.data.augment: {error}') from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f'config.data.augment: {name} cannot have the options {options}.'
        ) from error
