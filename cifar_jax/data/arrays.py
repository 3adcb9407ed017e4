"""Labelled images in host memory, their digest, and a limit on their size."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Num

from cifar_jax.errors import UserError


class Arrays(NamedTuple):
    """Images and their labels: uint8 pixels, or features, float32 [n 1 1 features]."""

    images: Num[np.ndarray, 'n h w c']
    labels: Int32[np.ndarray, ' n']

    @property
    def are_pixels(self) -> bool:
        """Whether these are images that can be shown, and not features."""
        return self.images.dtype == np.uint8

    def take(self, rows: Int[np.ndarray, ' some']) -> 'Arrays':
        """Returns the images and labels of some rows, in the given order."""
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
    """Returns the images of several parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    return Arrays(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def no_part(name: str, split: str, parts: Iterable[str]) -> UserError:
    """Returns the error for a split that a data set does not have."""
    known = ' or '.join(f'--split {part}' for part in dict.fromkeys((*parts, 'all')))
    return UserError(f"'{name}' has no part '{split}': use {known}.")


def digest(arrays: Arrays) -> str:
    """Returns the SHA-256 of the images (with their shape) and labels, in order, in hexadecimal.

    This takes 0.1 s of CPU time for the 154 MB of CIFAR-10's training images on a processor with
    SHA instructions.
    """
    sha256 = hashlib.sha256(repr(arrays.images.shape).encode())
    sha256.update(np.ascontiguousarray(arrays.images).data)
    sha256.update(np.ascontiguousarray(arrays.labels, '<i4').data)
    return sha256.hexdigest()


def check_memory(name: str, size: int, memory_gb: float) -> None:
    """Raises UserError if `size` bytes of decoded images exceed `memory_gb` times 2**30."""
    if size > memory_gb * 2**30:
        raise UserError(
            f"The images of '{name}' take {size / 2**30:.3g} GB decoded, more than the "
            f'{memory_gb:g} GB allowed: raise it with --config.data.memory_gb, or choose a smaller '
            'data set or --config.data.image_size.'
        )
