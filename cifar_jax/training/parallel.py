"""Data parallelism: a mesh of all devices, batches sharded over it, all else replicated."""

import collections
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree
from ml_collections import ConfigDict

from cifar_jax.checks import require
from cifar_jax.errors import UserError
from cifar_jax.machine import cores
from cifar_jax.training import processes

AXIS = 'data'

# With more virtual devices, each gets too few images of a batch of 128 (not measured above 2).
_MOST_CPU_DEVICES = 8
# On a CPU each of them takes threads and memory before anything is computed.
_MOST_DEVICES = 1024
# Numbers in an array; to divide smaller ones saves little, and each has to be gathered in a step.
_SMALLEST_SHARDED = 2**12


def make_mesh(devices: int, batch_size: int, parts: int = 1) -> Mesh:
    """Returns a mesh of this process's devices; call it before anything else uses them.

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
    available = jax.local_device_count()
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
    return _mesh(jax.local_devices()[:count])


def mesh_of(config: ConfigDict) -> Mesh:
    """Returns the mesh of a run with this config, over the devices of all its processes.

    The devices of a process are neighbours, and so are its images in a batch.

    Raises:
      UserError: as for `make_mesh`, or the processes have different numbers of devices.
    """
    devices, batch_size, parts = (
        config.mesh.devices,
        config.train.batch_size,
        config.train.accumulate,
    )
    count = processes.count()
    if count == 1:
        return make_mesh(devices, batch_size, parts)
    for key, number in (('mesh.devices', devices), ('train.batch_size', batch_size // parts)):
        require(number % count == 0, key, number, f'be a multiple of the {count} processes')
    own = make_mesh(devices // count, batch_size // count, parts)
    numbers = collections.Counter(device.process_index for device in jax.devices())
    if not devices and len({*numbers.values()}) > 1:
        raise UserError(
            'The processes have different numbers of devices: set config.mesh.devices to the '
            'number of all of them.'
        )
    mesh = _mesh(of_each_process(jax.devices(), own.size))
    _introduce(mesh)
    return mesh


def of_each_process(devices: Sequence[jax.Device], count: int) -> list[jax.Device]:
    """Returns the first `count` devices of each process, process by process."""
    own = itertools.groupby(devices, lambda device: device.process_index)
    return [device for _, part in own for device in itertools.islice(part, count)]


def _introduce(mesh: Mesh) -> None:
    """Connects the devices of all processes at a time when none is late.

    On CPUs they wait for each other for half a minute when they communicate for the first time, and
    compiling the first step may take longer; after that they wait as long as needed.
    """
    processes.wait('the devices are known')
    multihost_utils.sync_global_devices('the devices are connected')  # as checkpoints do
    ones = jax.make_array_from_callback((mesh.size,), over_batch(mesh), lambda _: np.ones(1))
    jax.block_until_ready(jax.jit(jnp.sum, out_shardings=replicated(mesh))(ones))


def of_process(mesh: Mesh) -> Mesh:
    """Returns the mesh of this process's devices in a mesh."""
    return _mesh([*mesh.local_devices])


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Puts a tree of arrays, which every process has, on all devices of a mesh."""
    return jax.make_array_from_process_local_data(replicated(mesh), tree)


def check(devices: int) -> None:
    """Raises UserError for an invalid number of devices."""
    rule = f'be from 1 to {_MOST_DEVICES}, or 0 to choose by the machine'
    require(0 <= devices <= _MOST_DEVICES, 'mesh.devices', devices, rule)


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, limit + 1) if number % n == 0)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of replicated arrays."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(tree: PyTree, mesh: Mesh) -> PyTree:
    """Returns shardings of a tree of arrays, or of their shapes, that save memory.

    Each device keeps a part of every large array, along the largest axis that their number divides
    (the last one of equals), and a copy of the others.
    """

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if leaf.size < _SMALLEST_SHARDED or not axes:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: (leaf.shape[axis], axis))
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, AXIS))

    return jax.tree.map(sharding, tree)


def over_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def compiler_options(mesh: Mesh) -> dict[str, bool]:
    """Returns XLA's options for programs on this mesh.

    On a CPU, each virtual device has one core, so XLA's own threads would compete for them.
    """
    on_cpu = mesh.devices.flat[0].platform == 'cpu'
    return {'xla_cpu_multi_thread_eigen': False} if on_cpu and len(mesh.local_devices) > 1 else {}


def forward_options(mesh: Mesh) -> dict[str, bool | int]:
    """Returns XLA's options for programs that compute outputs only.

    On a CPU with AVX-512, a forward pass of EfficientNetB0 is faster with vectors of 512 bits than
    with XLA's usual 256 (by 7 % on an AMD EPYC, Zen 4); training steps are not.
    """
    on_cpu = mesh.devices.flat[0].platform == 'cpu'
    return compiler_options(mesh) | ({'xla_cpu_prefer_vector_width': 512} if on_cpu else {})
