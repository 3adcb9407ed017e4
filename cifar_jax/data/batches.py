"""Which images a step sees: pure functions of the seed, the epoch and the step."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, UInt8


def epoch_order(seed: int, epoch: int | Int[Array, ''], size: int) -> Int32[Array, ' size']:
    """Returns the order in which an epoch visits the training set, a permutation of 0..size-1.

    It follows from the seed and the epoch alone, so that a run can be taken up anywhere; `epoch`
    may be traced.
    """
    key = jax.random.fold_in(jax.random.key(seed), epoch)
    return jax.random.permutation(key, size).astype(jnp.int32)


def gather(
    images: UInt8[Array, 'size h w c'],
    labels: Int32[Array, ' size'],
    indices: Int32[Array, ' batch'],
) -> tuple[UInt8[Array, 'batch h w c'], Int32[Array, ' batch']]:
    """Returns the images and labels at `indices`, which are clipped into the data set."""
    return (
        jnp.take(images, indices, axis=0, mode='clip'),
        jnp.take(labels, indices, axis=0, mode='clip'),
    )


def evaluation_batches(
    size: int, batch: int
) -> list[tuple[Int32[np.ndarray, ' batch'], Bool[np.ndarray, ' batch']]]:
    """Returns (indices, mask) of every batch: each image once, in order.

    All batches are of one size; what overhangs in the last one repeats the last image and has a
    mask of False.
    """
    starts = np.arange(0, size, batch, dtype=np.int32)
    rows = starts[:, None] + np.arange(batch, dtype=np.int32)
    return [(np.minimum(row, np.int32(size - 1)), row < size) for row in rows]
