"""Data parallelism: a mesh of all devices, batches sharded over it, all else replicated."""

import contextlib

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from cifar_jax.checks import require
from cifar_jax.errors import UserError
from cifar_jax.machine import cores

AXIS = 'data'

# With more virtual devices, each gets too few images of a batch of 128 (not measured above 2).
_MOST_CPU_DEVICES = 8
# On a CPU each of them takes threads and memory before anything is computed.
_MOST_DEVICES = 1024


def make_mesh(devices: int, batch_size: int, parts: int = 1) -> Mesh:
    """Returns the mesh of a run; call it before anything else uses JAX's devices.

    A CPU is split into virtual devices, by default one for each core, each single-threaded:
    measured on two cores this trains 1.3 to 2 times as fast as one device with XLA's threads.

    Args:
      devices: number of devices; 0 uses all, or on a CPU as many as are useful.
      batch_size: images per step.
      parts: how many parts of a batch are computed one after the other; the number of devices must
        divide each of them.

    Raises:
      UserError: there are fewer devices, or their number does not divide the batch.
    """
    images = batch_size // parts
    requested = devices or _largest_divisor(images, min(len(cores()), _MOST_CPU_DEVICES))
    # If JAX is already initialized, in a notebook or a test, its devices cannot be changed.
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', requested)
    available = jax.device_count()
    if jax.default_backend() == 'cpu':
        count = requested if devices else _largest_divisor(images, min(available, requested))
    else:
        count = devices or available
    if count > available:
        raise UserError(
            f'config.mesh.devices={count}, but JAX sees {available}: use at most '
            f'{available}, or start a new process, which can create more.'
        )
    if images % count:
        of = f' in {parts} parts' if parts > 1 else ''
        raise UserError(
            f'config.train.batch_size={batch_size}{of} cannot be shared evenly by {count} devices: '
            f'use a multiple of {count * parts}, or set config.mesh.devices.'
        )
    return Mesh(np.array(jax.devices()[:count]), (AXIS,), axis_types=(AxisType.Auto,))


def mesh_of(config: ConfigDict) -> Mesh:
    """Returns the mesh of a run with this config; see `make_mesh`."""
    return make_mesh(config.mesh.devices, config.train.batch_size, config.train.accumulate)


def check(devices: int) -> None:
    """Raises UserError for an invalid number of devices."""
    rule = f'be from 1 to {_MOST_DEVICES}, or 0 to choose by the machine'
    require(0 <= devices <= _MOST_DEVICES, 'mesh.devices', devices, rule)


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, limit + 1) if number % n == 0)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of replicated arrays."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def compiler_options(mesh: Mesh) -> dict[str, bool]:
    """Returns XLA's options for programs on this mesh.

    On a CPU, each virtual device has one core, so XLA's own threads would compete for them.
    """
    on_cpu = mesh.devices.flat[0].platform == 'cpu'
    return {'xla_cpu_multi_thread_eigen': False} if on_cpu and mesh.size > 1 else {}


def forward_options(mesh: Mesh) -> dict[str, bool | int]:
    """Returns XLA's options for programs that compute outputs only.

    On a CPU with AVX-512, its vectors of 512 bits compute a forward pass of EfficientNetB0 in two
    thirds of the time that XLA's usual 256 bits take; training steps are no faster.
    """
    on_cpu = mesh.devices.flat[0].platform == 'cpu'
    return compiler_options(mesh) | ({'xla_cpu_prefer_vector_width': 512} if on_cpu else {})
