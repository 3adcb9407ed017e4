"""The training set in two: what is learned from, and what is validated on."""

import numpy as np
from jaxtyping import Int, Int32

from cifar_jax.checks import require, require_choice
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError

METHODS = ('stratified', 'last', 'random', 'none')


def split(arrays: Arrays, method: str, fraction: float, seed: int) -> tuple[Arrays, Arrays | None]:
    """Splits a training set into a training and a validation part.

    The parts share no image and together hold all; both keep the record order.

    Args:
      arrays: images uint8[n h w c] and labels int32[n].
      method: 'stratified' (every class keeps its share), 'random', 'last' (the last records, as
        Keras' `validation_split` takes them) or 'none' (a final fit on all of it).
      fraction: the share of the validation part; it gets round(n * fraction) images.
      seed: of 'stratified' and 'random'.

    Returns:
      The training part and the validation part, which is None for 'none'.

    Raises:
      UserError: an unknown method; a fraction that leaves one of the parts empty or, for
        'stratified', without every class.
    """
    check(method, fraction, seed)
    if method == 'none':
        return arrays, None
    train, validation = _indices(arrays.labels, method, fraction, seed)
    train_part, validation_part = (
        Arrays(arrays.images[rows], arrays.labels[rows]) for rows in (train, validation)
    )
    return train_part, validation_part


def check(method: str, fraction: float, seed: int) -> None:
    """Raises UserError for an unknown method, or an impossible fraction or seed."""
    require_choice('data.validation', method, METHODS)
    require(
        method == 'none' or 0 < fraction < 1,
        'data.validation_fraction',
        fraction,
        "lie between 0 and 1; config.data.validation='none' trains on all images",
    )
    require(0 <= seed < 2**32, 'data.split_seed', seed, 'be from 0 to 2**32 - 1')


def stratified(
    labels: Int[np.ndarray, ' n'], fraction: float, seed: int
) -> tuple[Int[np.ndarray, ' rest'], Int[np.ndarray, ' drawn']]:
    """Draws round(n * fraction) indices that hold every class in proportion.

    Returns:
      The indices that are left and those that are drawn, both ascending.

    Raises:
      UserError: one of the two parts would be too small to hold every class.
    """
    from sklearn.model_selection import train_test_split

    size = _part(len(labels), fraction)
    try:
        rest, drawn = train_test_split(
            np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise UserError(
            f'{len(labels)} images cannot be split into {len(labels) - size} and {size} with every '
            'class in both: change the share, or keep more images.'
        ) from error
    return np.sort(rest), np.sort(drawn)


def class_counts(labels: Int32[np.ndarray, ' n'], classes: int) -> Int[np.ndarray, ' classes']:
    """Counts the images of each class."""
    return np.bincount(labels, minlength=classes)


def _indices(
    labels: np.ndarray, method: str, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if method == 'stratified':
        return stratified(labels, fraction, seed)
    size = _part(len(labels), fraction)
    order = np.arange(len(labels))
    if method == 'random':
        order = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(order[:-size]), np.sort(order[-size:])


def _part(total: int, fraction: float) -> int:
    size = round(total * fraction)
    if not 0 < size < total:
        raise UserError(
            f'A share of {fraction:g} of {total} images leaves one part empty: change the share.'
        )
    return size
