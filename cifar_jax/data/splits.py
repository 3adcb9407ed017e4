"""The training images in two parts, to learn from and to validate on, and other draws of images."""

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

    The parts share no image and together hold all; both keep the order of the records.

    Args:
      method: 'stratified' (each class keeps its share), 'random', 'last' (the last records, as
        Keras' `validation_split` takes them) or 'none' (a final fit on all images).
      fraction: the share of the validation part, which gets round(n * fraction) images. Where the
        data set has `names`, 'stratified' draws by them: see `stratified_by_name`.
      seed: of 'stratified' and 'random'.

    Returns:
      The training part and the validation part, which is None for 'none'.

    Raises:
      UserError: an unknown method; a fraction that leaves one of the parts empty, or a class out
        of one of them.
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
    """Draws round(n * fraction) indices that hold each class in proportion.

    Returns:
      The indices that are left and those that are drawn, both ascending.

    Raises:
      UserError: one of the two parts would be too small to hold every class.
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
            'class in both: change the share, or keep more images.'
        ) from error
    return np.sort(rest), np.sort(drawn)


def stratified_by_name(
    labels: Int[np.ndarray, ' n'], names: Sequence[str], fraction: float, draw: str
) -> tuple[Int[np.ndarray, ' rest'], Int[np.ndarray, ' drawn']]:
    """Draws about a share of each class, every image by its name alone.

    An image is drawn where the SHA-256 of its name, read as a number in [0, 1), lies below
    `fraction`. So images that are added or removed move no other one, and the share is met on
    average. A class of two images or more is never wholly in one part: where the numbers would put
    it there, its image with the lowest number is drawn, or that with the highest is left.

    Args:
      names: of each image, such as its path below the folder of the data set.
      draw: what is drawn: two draws from the same names are independent.

    Returns:
      The indices that are left and those that are drawn, both ascending.

    References:
      `which_set` of Warden, 2018, Speech Commands (arXiv:1804.03209), which draws so for the same
      reason.
    """
    numbers = np.array([_number(f'{draw}: {name}') for name in names])
    drawn = numbers < fraction
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            drawn[rows[numbers[rows].argmin()]] = True
            drawn[rows[numbers[rows].argmax()]] = False
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def sample(labels: Int[np.ndarray, ' n'], count: int, seed: int) -> Int[np.ndarray, ' shown']:
    """Draws the indices of at most `count` images, spread evenly over the classes, to show them.

    Each class gives an image before any gives a second one, and so on; which classes and images
    they are follows from the seed alone. The indices are in the order of the draw, so that a
    smaller sample begins a larger one.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turns = np.empty(len(labels), np.int64)  # how many of its class were drawn before an image
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
    """Raises UserError for a class of one image, which cannot be split.

    Args:
      part: of the data set, to be named: 'training' or 'test'.
      otherwise: what to do instead of a split.
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
        else 'use --config.data.validation=stratified, which gives each class its share'
    )
    raise UserError(
        f"--config.data.validation={method} leaves the class '{classes[missing[0]]}' out of the "
        f'{part} part ({len(missing)} of {len(classes)} classes in all): {remedy}.'
    )


def _size(total: int, fraction: float) -> int:
    size = round(total * fraction)
    if not 0 < size < total:
        raise UserError(
            f'A share of {fraction:g} of {total} images leaves one part empty: change the share.'
        )
    return size
