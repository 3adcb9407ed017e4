"""Labelled images, in memory or in files, their digest, and a limit on their size."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from cifar_jax.data import records
from cifar_jax.data.records import Images, Records
from cifar_jax.errors import UserError


class Arrays(NamedTuple):
    """Images [n h w c] and their labels: uint8 pixels, or features, float32 [n 1 1 features].

    Images that do not fit into memory are `Records`, of which some rows are read at a time.
    """

    images: Images
    labels: Int32[np.ndarray, ' n']

    @property
    def are_pixels(self) -> bool:
        """Whether these are images that can be shown, and not features."""
        return self.images.dtype == np.uint8

    def take(self, rows: Int[np.ndarray, ' some']) -> 'Arrays':
        """Returns the images and labels of some rows, in the given order; it reads no files."""
        if isinstance(self.images, Records):
            return Arrays(self.images.take(rows), self.labels[rows])
        return Arrays(self.images[rows], self.labels[rows])


class Dataset(NamedTuple):
    """A data set as loaded from its source.

    classes: names of the classes, in label order.
    validation: the validation images, if the data set has its own; None if they are to be drawn
      from the training images.
    names: names of the training images, if they are drawn by name (`splits.stratified_by_name`).
    network: of features, what computed them, see `kept_features.Index`.
    """

    name: str
    train: Arrays
    test: Arrays
    classes: tuple[str, ...]
    validation: Arrays | None = None
    names: tuple[str, ...] | None = None
    network: Mapping[str, Any] = {}


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Returns the images of several parts, one part after the other.

    Raises:
      UserError: they are streamed, and several.
    """
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part.images, Records) for part in parts):
        raise UserError('Parts that are streamed cannot be joined: name one of them with --split.')
    return Arrays(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def no_part(name: str, split: str, parts: Iterable[str]) -> UserError:
    """Returns the error for a split that a data set does not have."""
    known = ' or '.join(f'--split {part}' for part in dict.fromkeys((*parts, 'all')))
    return UserError(f"'{name}' has no part '{split}': use {known}.")


def digest(arrays: Arrays) -> str:
    """Returns the SHA-256 of the images (with their shape) and labels, in order, in hexadecimal.

    This takes 0.1 s of CPU time for the 154 MB of CIFAR-10's training images on a processor with
    SHA instructions. Images in files are read once, and their digest is kept beside them.
    """
    if not isinstance(arrays.images, Records):
        return _digest(arrays)
    labels = hashlib.sha256(np.ascontiguousarray(arrays.labels, '<i4').data).hexdigest()
    return arrays.images.remember(labels, lambda: _digest(arrays))


def _digest(arrays: Arrays) -> str:
    sha256 = hashlib.sha256(repr(tuple(arrays.images.shape)).encode())
    for chunk in records.chunks(arrays.images, 256):
        sha256.update(np.ascontiguousarray(chunk).data)
    sha256.update(np.ascontiguousarray(arrays.labels, '<i4').data)
    return sha256.hexdigest()


def too_large(size: int, memory_gb: float) -> bool:
    """Returns whether `size` bytes of decoded images exceed `memory_gb` times 2**30."""
    return size > memory_gb * 2**30


def check_memory(name: str, size: int, memory_gb: float) -> None:
    """Raises UserError if `size` bytes of decoded images exceed `memory_gb` times 2**30."""
    if too_large(size, memory_gb):
        raise UserError(
            f"The images of '{name}' take {size / 2**30:.3g} GB decoded, more than the "
            f'{memory_gb:g} GB allowed: raise it with --config.data.memory_gb, or choose a smaller '
            'data set or --config.data.image_size.'
        )
