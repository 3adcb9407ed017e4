"""Runs functions on each device separately, for that device's part of the batch."""

import math
from collections.abc import Callable, Sequence

import jax
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from cifar_jax.machine import cores


def devices() -> int:
    """Returns the number of devices that share the batch in the program being traced."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.axis_sizes)


def threads() -> int:
    """Returns the number of threads of a call on one device: its share of the process's cores."""
    return max(1, len(cores()) * jax.process_count() // devices())


def by_batch(
    function: Callable, batched: Sequence[Array], replicated: Sequence[Array] = (), sums: int = 0
):
    """Returns `function(*batched, *replicated)`, computed by each device for its part of the batch.

    Automatic partitioning would make loops over images communicate between devices, and cannot
    partition FFI calls at all.

    Args:
      batched: arrays whose first axis is the batch.
      replicated: arrays that each device needs in full.
      sums: number of leading results that are summed over the devices; the first axis of the
        others is the batch. If it is not 0, `function` must return a tuple.
    """
    count = devices()
    if count == 1:
        return function(*batched, *replicated)
    axis = jax.sharding.get_abstract_mesh().axis_names[0]
    sharded, everywhere = PartitionSpec(axis), PartitionSpec()

    def on_device(*args):
        results = function(*args)
        if not sums:
            return results
        return (*(lax.psum(part, axis) for part in results[:sums]), *results[sums:])

    shapes = jax.eval_shape(function, *batched, *replicated)
    out = (everywhere,) * sums + (sharded,) * (len(shapes) - sums) if sums else sharded
    return jax.shard_map(
        on_device,
        in_specs=(sharded,) * len(batched) + (everywhere,) * len(replicated),
        out_specs=out,
        check_vma=False,
    )(*batched, *replicated)
