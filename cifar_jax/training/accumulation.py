"""Gradient accumulation: the gradient of a batch, part by part, in the memory of one part."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from cifar_jax.training import parallel

# (params, statistics, part of the batch, its number) -> (gradients, statistics, outputs)
GradientOf = Callable[[PyTree, PyTree, PyTree, Any], tuple[PyTree, PyTree, PyTree]]


def accumulate(
    gradient_of: GradientOf,
    params: PyTree,
    statistics: PyTree,
    batch: PyTree,
    parts: int,
    mesh: Mesh,
) -> tuple[PyTree, PyTree, PyTree]:
    """Returns the sum of the gradients of all parts of a batch, and what else they give.

    Args:
      gradient_of: its outputs have one row for each image; the statistics that it returns are those
        that the next part gets. A part keeps its share of the images of every device.
      batch: arrays whose first axis is the batch.
      parts: how many; it divides the batch. 1 calls `gradient_of` once, with the whole batch.

    Returns:
      The gradients, the statistics after the last part, and the outputs in the order of the batch.
    """
    if parts == 1:
        return gradient_of(params, statistics, batch, 0)

    def add(carry, numbered):
        total, statistics = carry
        number, part = numbered
        gradients, statistics, outputs = gradient_of(params, statistics, part, number)
        return (jax.tree.map(jnp.add, total, gradients), statistics), outputs

    def split(leaf: Array) -> Array:
        # Part i has the images i, i + parts, ...: those of a device stay on it.
        return leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1)

    def joined(leaf: Array) -> Array:
        return leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])

    sharding = NamedSharding(mesh, PartitionSpec(None, parallel.AXIS))
    split_batch = jax.lax.with_sharding_constraint(jax.tree.map(split, batch), sharding)
    numbered = (jnp.arange(parts, dtype=jnp.int32), split_batch)
    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, statistics), outputs = jax.lax.scan(add, (zeros, statistics), numbered)
    return total, statistics, jax.tree.map(joined, outputs)
