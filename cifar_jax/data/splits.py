"""Splits training images into a training and a validation part, and draws other subsets."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from cifar_jax.checks import require, require_choice
from cifar_jax.data.arrays import Arrays, Dataset
from cifar_jax.errors import UserError

METHODS = ('stratified', 'last', 'random', 'none')


def split(
    dataset: Dataset, method: str, fraction: float, seed: int
) -> tuple[Arrays, Arrays | None]:
    """Splits the training images of a data set into a training and a validation part.

    The parts are disjoint and together contain all images; both keep the order of the records.

    Args:
      method: 'stratified' (classes in proportion), 'random', 'last' (the last records, as with
        Keras' `validation_split`) or 'none' (for a final training on all images).
      fraction: fraction of validation images; their number is round(n * fraction). If the data set
        has `names`, 'stratified' draws by name: see `stratified_by_name`.
      seed: seed of 'stratified' and 'random'.

    Returns:
      The training part and the validation part, which is None for 'none'.

    Raises:
      UserError: the method is unknown, or a part would be empty or lack a class.
    """
    check(method, fraction, seed)
    arrays, classes = dataset.train, dataset.classes
    if method == 'none':
        return arrays, None
    otherwise = 'train on all images (--config.data.validation=none)'
    refuse_single_images(arrays.labels, classes, 'training', otherwise)
    if method != 'stratified':
        size = _size(len(arrays.labels), fraction)
        order = np.arange(len(arrays.labels))
        if method == 'random':
            order = np.random.default_rng(seed).permutation(len(arrays.labels))
        train, validation = np.sort(order[:-size]), np.sort(order[-size:])
    elif dataset.names is None:
        train, validation = stratified(arrays.labels, fraction, seed)
    else:
        train, validation = stratified_by_name(
            arrays.labels, dataset.names, fraction, f'validation {seed}'
        )
    _refuse_missing_class(arrays.labels, train, classes, method, 'training')
    _refuse_missing_class(arrays.labels, validation, classes, method, 'validation')
    return arrays.take(train), arrays.take(validation)


def check(method: str, fraction: float, seed: int) -> None:
    """Raises UserError for an unknown method, or an invalid fraction or seed."""
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
    """Draws round(n * fraction) indices, with each class in proportion.

    Returns:
      The remaining indices and the drawn indices, both ascending.

    Raises:
      UserError: one of the two parts would be too small to contain every class.
    """
    from sklearn.model_selection import train_test_split

    size = _size(len(labels), fraction)
    try:
        rest, drawn = train_test_split(
            np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise UserError(
            f'{len(labels)} images cannot be split into {len(labels) - size} and {size} with every '
            'class in both: change the fraction, or keep more images.'
        ) from error
    return np.sort(rest), np.sort(drawn)


def stratified_by_name(
    labels: Int[np.ndarray, ' n'], names: Sequence[str], fraction: float, draw: str
) -> tuple[Int[np.ndarray, ' rest'], Int[np.ndarray, ' drawn']]:
    """Draws about a fraction of each class, deciding for each image by its name alone.

    An image is drawn if the SHA-256 of its name, as a number in [0, 1), is below `fraction`. So
    adding or removing images does not move others, and the fraction is met on average. A class of
    two or more images always has images in both parts: if necessary, the image with the lowest
    number is drawn, or the one with the highest number is not.

    Args:
      names: name of each image, such as its path relative to the folder of the data set.
      draw: name of the draw; draws with different names are independent.

    Returns:
      The remaining indices and the drawn indices, both ascending.

    References:
      `which_set` of Warden, 2018, Speech Commands (arXiv:1804.03209), which uses this method for
      the same reason.
    """
    numbers = np.array([_number(f'{draw}: {name}') for name in names])
    drawn = numbers < fraction
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            drawn[rows[numbers[rows].argmin()]] = True
            drawn[rows[numbers[rows].argmax()]] = False
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def sample(labels: Int[np.ndarray, ' n'], count: int, seed: int) -> Int[np.ndarray, ' sample']:
    """Draws the indices of at most `count` images for display, spread evenly over the classes.

    Each class contributes one image before any contributes a second one, and so on. The choice
    depends on the seed alone, and a smaller sample is a prefix of a larger one.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turns = np.empty(
        len(labels), np.int64
    )  # number of images of the same class drawn before each image
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        turns[rows] = np.arange(len(rows))
    return order[np.argsort(turns[order], kind='stable')][:count]


def class_counts(labels: Int32[np.ndarray, ' n'], classes: int) -> Int[np.ndarray, ' classes']:
    """Counts the images of each class."""
    return np.bincount(labels, minlength=classes)


def refuse_single_images(
    labels: Int[np.ndarray, ' n'], classes: Sequence[str], part: str, otherwise: str
) -> None:
    """Raises UserError for a class with a single image, which cannot be split.

    Args:
      part: name of the part of the data set, such as 'training'.
      otherwise: what the user can do instead of splitting.
    """
    counts = class_counts(labels, len(classes)).tolist()
    if 1 in counts:
        raise UserError(
            f"The class '{classes[counts.index(1)]}' has a single {part} image, which cannot be "
            f'split: add images to the class, remove it, or {otherwise}.'
        )


def _number(text: str) -> float:
    return int.from_bytes(hashlib.sha256(os.fsencode(text)).digest()[:6]) / 2**48


def _refuse_missing_class(
    labels: np.ndarray, rows: np.ndarray, classes: Sequence[str], method: str, part: str
) -> None:
    missing = np.setdiff1d(labels, labels[rows])
    if not len(missing):
        return
    remedy = (
        'raise --config.data.validation_fraction, or add images'
        if method == 'stratified'
        else 'use --config.data.validation=stratified, which splits each class in proportion'
    )
    raise UserError(
        f"--config.data.validation={method} leaves the class '{classes[missing[0]]}' out of the "
        f'{part} part ({len(missing)} of {len(classes)} classes in all): {remedy}.'
    )


def _size(total: int, fraction: float) -> int:
    size = round(total * fraction)
    if not 0 < size < total:
        raise UserError(
            f'A fraction of {fraction:g} of {total} images leaves one part empty: change it.'
        )
    return size
