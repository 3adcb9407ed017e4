"""Published limits of accelerators, and measured ones of this machine's processor."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from cifar_jax import machine
from cifar_jax.errors import UserError, nearest
from cifar_jax.ops import conv
from cifar_jax.training import parallel

CPU = 'cpu'


class Device(NamedTuple):
    """The limits of one device of a machine or a cluster.

    flops: FLOP/s by the precision of a run, dense, as JAX multiplies by default. bandwidth: bytes/s
    of its memory. memory: bytes. group: how many devices fast links join. link: bytes/s that a
    device sends within its group. network: bytes/s that a device sends between groups.
    """

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    memory: float
    group: int
    link: float
    network: float
    source: str


# JAX multiplies float32 as TF32 on an A100 and an H100, and in bfloat16 on a TPU. A V100 has no
# bfloat16. GPUs are those with NVLink (SXM), eight to a machine, with the network cards of a DGX.
# A TPU's link is its share of the all-reduce bandwidth of a pod, or half its bidirectional
# bandwidth (v5p); the group is a pod, and a run has too few devices for two pods of v4.
_TPU = 'https://docs.cloud.google.com/tpu/docs/'
_LIMITS: tuple[tuple[Any, ...], ...] = (
    # Name; TFLOP/s in float32 and in bfloat16; GB/s and GiB; devices in a group; GB/s of its links
    # and between groups; source.
    ('H100', 494.7, 989.4, 3350, 80, 8, 450, 50, 'NVIDIA H100 datasheet'),
    ('A100', 156, 312, 2039, 80, 8, 300, 25, 'NVIDIA A100 80GB datasheet'),
    ('V100', 15.7, 15.7, 900, 32, 8, 150, 6.25, 'NVIDIA V100 datasheet'),
    ('v4', 275, 275, 1200, 32, 4096, 268, 0, f'{_TPU}v4'),
    ('v5e', 197, 197, 800, 16, 256, 200, 3.1, f'{_TPU}v5e'),
    ('v5p', 459, 459, 2765, 95, 8960, 600, 6.25, f'{_TPU}v5p'),
    ('v6e', 918, 918, 1600, 32, 256, 400, 12.5, f'{_TPU}v6e'),
)
DEVICES = {
    name: Device(
        name=name,
        flops={'float32': float32 * 1e12, 'bfloat16': bfloat16 * 1e12},
        bandwidth=bandwidth * 1e9,
        memory=memory * 2**30,
        group=group,
        link=link * 1e9,
        network=network * 1e9,
        source=source,
    )
    for name, float32, bfloat16, bandwidth, memory, group, link, network, source in _LIMITS
}


def named(name: str) -> Device:
    """Returns a device of the table.

    Raises:
      UserError: there is none of that name.
    """
    found = {known.lower(): device for known, device in DEVICES.items()}.get(name.lower())
    if found is None:
        raise UserError(f"No device '{name}': {nearest(name, [CPU, *DEVICES])}")
    return found


def this_cpu(mesh: Mesh, dtype: DTypeLike) -> Device:
    """Measures this machine's processor for a second or two; returns a device's share of it.

    Args:
      mesh: the virtual devices of a run, which share the processor.
      dtype: of the products that are measured, a convolution that is one matrix product.
    """
    count, name = mesh.size, jnp.dtype(dtype).name
    everywhere, split = parallel.replicated(mesh), parallel.over_batch(mesh)
    with jax.set_mesh(mesh):
        images = jax.device_put(jnp.ones((32 * count, 16, 16, 512), dtype), split)
        kernel = jax.device_put(jnp.ones((1, 1, 512, 512), dtype), everywhere)
        product = _seconds(jax.jit(conv.conv), images, kernel)
        numbers = jax.device_put(jnp.ones((2**25 * count,), jnp.float32), split)
        copy = _seconds(jax.jit(lambda x: x + 1), numbers)
    flops = 2 * images.size * kernel.shape[-1] / product
    bandwidth = 2 * numbers.nbytes / copy
    return Device(
        name=f'{machine.processor()}, {count} of {count} devices',
        flops={name: flops / count},
        bandwidth=bandwidth / count,
        memory=machine.memory() / count,
        group=count,
        link=bandwidth / count,
        network=bandwidth / count,
        source='measured',
    )


def _seconds(function: Callable[..., Any], *arguments: Any, trials: int = 10) -> float:
    """Returns the shortest time of a compiled function."""
    times = []
    for _ in range(trials + 1):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times[1:])


def all_reduce(device: Device, count: int, size: int | float) -> float:
    """Returns the seconds in which devices sum arrays of `size` bytes, by the bandwidth alone.

    Within a group, each device sends its part of a reduce-scatter and of an all-gather; between
    groups, each sums its own part with its counterparts.

    >>> device = Device('', {}, 1, 1, group=4, link=100.0, network=10.0, source='')
    >>> all_reduce(device, 1, 1000), all_reduce(device, 4, 1000), all_reduce(device, 8, 1000)
    (0.0, 15.0, 40.0)
    """
    inside = min(count, device.group)
    groups = -(-count // device.group)
    within = 2 * size * (inside - 1) / inside / device.link
    between = 2 * size / inside * (groups - 1) / groups
    return within + (between / device.network if groups > 1 else 0.0)
