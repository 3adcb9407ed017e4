"""Runs on each device what must not cross devices, on that device's part of the batch."""

import math
from collections.abc import Callable, Sequence

import jax
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from cifar_jax.machine import cores


def devices() -> int:
    """Returns how many devices share the batch in the program that is traced."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.axis_sizes)


def threads() -> int:
    """Returns how many threads a call on one device may take, so that cores are not fought over."""
    return max(1, len(cores()) // devices())


def by_batch(
    function: Callable, batched: Sequence[Array], whole: Sequence[Array] = (), sums: int = 0
):
    """Returns `function(*batched, *whole)`, computed by each device for its part of the batch.

    Automatic partitioning would make loops over images cross devices, and cannot split foreign
    calls at all.

    Args:
      batched: arrays whose first axis is the batch.
      whole: arrays that each device needs whole.
      sums: of as many results (the first ones) the sum over all devices is returned; the first
        axis of the others is the batch. A function with sums returns a tuple.
    """
    count = devices()
    if count == 1:
        return function(*batched, *whole)
    axis = jax.sharding.get_abstract_mesh().axis_names[0]
    split, everywhere = PartitionSpec(axis), PartitionSpec()

    def on_device(*args):
        results = function(*args)
        if not sums:
            return results
        return (*(lax.psum(part, axis) for part in results[:sums]), *results[sums:])

    shapes = jax.eval_shape(function, *batched, *whole)
    out = (everywhere,) * sums + (split,) * (len(shapes) - sums) if sums else split
    return jax.shard_map(
        on_device,
        in_specs=(split,) * len(batched) + (everywhere,) * len(whole),
        out_specs=out,
        check_vma=False,
    )(*batched, *whole)
