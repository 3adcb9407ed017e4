"""One global view: a mesh over all devices, batches split over it, all else everywhere."""

import contextlib

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cifar_jax.checks import require
from cifar_jax.errors import UserError
from cifar_jax.machine import cores

AXIS = 'data'

# Beyond this many virtual devices a batch of 128 leaves each too few images (not measured above 2).
_MOST_CPU_DEVICES = 8


def make_mesh(devices: int, batch_size: int) -> Mesh:
    """Returns the mesh of a run; call it before anything else asks JAX for its devices.

    A CPU is split into virtual devices, by default one for each core, each single-threaded:
    measured on two cores this trains 1.3 to 2 times as fast as one device with XLA's threads.

    Args:
      devices: how many to use; 0 takes all that there are, on a CPU as many as pay.
      batch_size: images in a step, which the devices must share evenly.

    Raises:
      UserError: there are fewer devices, or they do not divide the batch.
    """
    wanted = devices or _largest_divisor(batch_size, min(len(cores()), _MOST_CPU_DEVICES))
    # Where JAX runs already, in a notebook or a test, the devices are those it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', wanted)
    there = jax.device_count()
    if jax.default_backend() == 'cpu':
        count = wanted if devices else _largest_divisor(batch_size, min(there, wanted))
    else:
        count = devices or there
    if count > there:
        raise UserError(
            f'config.mesh.devices={count}, but JAX sees {there}: use at most {there}, or start '
            'afresh so that they can still be made.'
        )
    if batch_size % count:
        raise UserError(
            f'config.train.batch_size={batch_size} cannot be shared evenly by {count} devices: '
            f'use a multiple of {count}, or set config.mesh.devices.'
        )
    return Mesh(np.array(jax.devices()[:count]), (AXIS,), axis_types=(AxisType.Auto,))


def check(devices: int) -> None:
    """Raises UserError for an impossible number of devices."""
    require(devices >= 0, 'mesh.devices', devices, 'be 1 or more, or 0 to choose by the machine')


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, limit + 1) if number % n == 0)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def compiler_options(mesh: Mesh) -> dict[str, bool]:
    """Returns XLA's options for programs on this mesh.

    On a CPU each virtual device has a core to itself: XLA's own threads would fight over them.
    """
    on_cpu = mesh.devices.flat[0].platform == 'cpu'
    return {'xla_cpu_multi_thread_eigen': False} if on_cpu and mesh.size > 1 else {}
