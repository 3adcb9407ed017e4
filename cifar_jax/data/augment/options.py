"""Shared by all augmentations: checks of options, and application with a probability."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Key

from cifar_jax.errors import UserError


def within(name: str, option: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raises UserError unless low <= value <= high."""
    if not low <= value <= high:
        raise UserError(f'{name}: {option}={value} must be from {low} to {high}.')


def one_of(name: str, option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises UserError unless `value` is one of the choices."""
    if value not in choices:
        others = ', '.join(f"'{choice}'" for choice in choices[:-1])
        raise UserError(
            f"{name}: there is no {option} '{value}': choose {others} or '{choices[-1]}'."
        )


def uniform(
    key: Key[Array, ''], count: int, low: int | float, high: int | float
) -> Float32[Array, ' count']:
    """Returns a random number for each image, uniform over low..high."""
    return jax.random.uniform(key, (count,), jnp.float32, low, high)


def chosen(name: str, key: Key[Array, ''], p: int | float, count: int) -> Bool[Array, ' count']:
    """Returns for each image whether to augment it, True with probability `p`.

    The draw is independent of other draws from `key` itself or its splits.
    """
    within(name, 'p', p, 0, 1)
    coin = jax.random.fold_in(key, 0xC014)
    return jax.random.bernoulli(coin, float(p), (count,))


def sometimes(
    name: str,
    key: Key[Array, ''],
    p: int | float,
    changed: Float[Array, 'batch h w c'],
    images: Float[Array, 'batch h w c'],
) -> Float[Array, 'batch h w c']:
    """Returns the changed version of each image with probability `p`, else the original."""
    mask = chosen(name, key, p, len(images))
    return changed if p == 1 else jnp.where(mask[:, None, None, None], changed, images)
