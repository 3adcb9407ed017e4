"""Labelled images in host memory, and the limit on the memory that they may take."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from cifar_jax.errors import UserError


class Arrays(NamedTuple):
    """Images and their labels."""

    images: UInt8[np.ndarray, 'n h w c']
    labels: Int32[np.ndarray, ' n']


class Dataset(NamedTuple):
    """A data set with the names of its classes, in label order."""

    name: str
    train: Arrays
    test: Arrays
    classes: tuple[str, ...]


def check_memory(name: str, size: int, memory_gb: float) -> None:
    """Raises UserError if `size` bytes of decoded images exceed `memory_gb` times 2**30."""
    if size > memory_gb * 2**30:
        raise UserError(
            f"The images of '{name}' take {size / 2**30:.3g} GB decoded, more than the "
            f'{memory_gb:g} GB allowed: raise it with --config.data.memory_gb, or choose a smaller '
            'data set or --config.data.image_size.'
        )
