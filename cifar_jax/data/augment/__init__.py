"""Augmentation on the device: pure functions of a random key, composed by a list in the config."""

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
from cifar_jax.data.augment.crops import random_resized_crop
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
        'random_resized_crop': random_resized_crop,
        'rotate': rotate,
        'shift': shift,
        'translate': translate,
        'trivial_augment': trivial_augment,
        'zoom': zoom,
    }
)
# Functions of a key and a `Batch`: they need more than the images, or change the labels.
BATCH_AUGMENTATIONS: Mapping[str, Callable[..., Batch]] = MappingProxyType(
    {'alternating_flip': alternating_flip, 'cutmix': cutmix, 'mixup': mixup}
)
_ALL: Mapping[str, Callable[..., Any]] = MappingProxyType({**AUGMENTATIONS, **BATCH_AUGMENTATIONS})
Policy = Sequence[Mapping[str, Any] | ConfigDict]


def augment(key: Key[Array, ''], batch: Batch, policy: Policy) -> Batch:
    """Applies the augmentations of `policy` in order.

    Args:
      key: the step's key, into which the position of each augmentation is folded.
      batch: the global batch.
      policy: entries such as {'name': 'translate', 'pixels': 4}: a name in `AUGMENTATIONS` or
        `BATCH_AUGMENTATIONS` and its options.

    Returns:
      Images and labels of the same shapes and dtypes.
    """
    for position, entry in enumerate(policy):
        options = dict(entry)
        name = options.pop('name')
        entry_key = jax.random.fold_in(key, position)
        if name in BATCH_AUGMENTATIONS:
            batch = BATCH_AUGMENTATIONS[name](entry_key, batch, **options)
        else:
            images = AUGMENTATIONS[name](entry_key, batch.images, **options)
            batch = batch._replace(images=images)
    return batch


def check(policy: Sequence[Any], shape: tuple[int, int, int] = (32, 32, 3)) -> None:
    """Raises UserError for an unknown name or option, or an impossible value; computes nothing.

    Args:
      policy: as for `augment`.
      shape: [h w c] of the images to augment.
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
        options_of_function = [*inspect.signature(_ALL[name]).parameters][2:]
        for option in options:
            if option not in options_of_function:
                raise UserError(
                    f'config.data.augment: {name} has no option {option!r}: '
                    f'{nearest(str(option), options_of_function)}'
                )
        _trace(name, options, shape)


def _trace(name: str, options: dict[str, Any], shape: tuple[int, int, int]) -> None:
    """Traces an augmentation, which checks the values of its options."""

    def run() -> Batch:
        key, epoch = jax.random.key(0), jnp.zeros((), jnp.int32)
        images, labels = jnp.zeros((2, *shape), jnp.float32), jnp.zeros((2, 2), jnp.float32)
        batch = Batch(images, labels, jnp.zeros(2, jnp.int32), epoch, key)
        return augment(key, batch, ({'name': name, **options},))

    try:
        jax.eval_shape(run)
    except UserError as error:
        raise UserError(f'config.data.augment: {error}') from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f'config.data.augment: {name} cannot have the options {options}.'
        ) from error
