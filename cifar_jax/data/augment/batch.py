"""A training batch as augmentations see it."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int, Key


class Batch(NamedTuple):
    """Images and labels, and what else augmentations may use."""

    images: Float[Array, 'batch h w c']  # in [0, 1]
    labels: Float[Array, 'batch classes']  # each row a distribution
    indices: Int[Array, ' batch']  # of the images in the training set
    epoch: Int[Array, '']  # 0 is the first
    run_key: Key[Array, '']  # the same in every step of a run
