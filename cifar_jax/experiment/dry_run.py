"""What a run would need and how fast it could be, without training or writing."""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from cifar_jax import machine
from cifar_jax.data import outline as outlines
from cifar_jax.data.arrays import too_large
from cifar_jax.data.outline import Outline
from cifar_jax.errors import UserError
from cifar_jax.experiment import console, devices
from cifar_jax.experiment.devices import Device
from cifar_jax.models import summary
from cifar_jax.training import cost as costs
from cifar_jax.training import jax_trainer, parallel, precision
from cifar_jax.training import plan as plans
from cifar_jax.training.cost import Cost
from cifar_jax.training.plan import Plan
from cifar_jax.training.trainers import trainer_of

# The share of a device's memory that a run can use: JAX takes three quarters of a GPU's by default.
USABLE = 0.75


def estimate(config: ConfigDict, name: str, outline: Outline | None = None) -> dict[str, Any]:
    """Returns the needs of a run on devices of one kind, as one JSON object.

    Times are those of a roofline: the larger of FLOPs by the peak rate and of traffic by the
    bandwidth of the memory, and then the sum of the gradients over the devices. In bfloat16,
    traffic is half of that in float32; working memory is given as in float32. Validation,
    checkpoints, the input of data and the synchronisation of batch norm are left out.

    Args:
      config: `mesh.devices` is the number of devices; 0 is one accelerator, or on a CPU one for
        each core.
      name: a name in `devices.DEVICES`, or 'cpu' for this machine.
      outline: of a data set that is not there; None is that of `config.data`.

    Raises:
      UserError: the device is unknown, its number does not divide the batch, the data set is not
        there, or the model is trained in NumPy.
    """
    if trainer_of(config.model.name) is not jax_trainer:
        raise UserError(
            f'config.model.name={config.model.name} is trained in NumPy, one layer after the '
            'other: a dry run describes programs of JAX.'
        )
    machine.keep_freed_memory()  # before JAX starts, for the measurement of a CPU
    outline = outline or outlines.read(config.data)
    device, count, computes = _devices(config, name)
    train = config.train
    _require_equal_parts(config, count)
    plan, stored = _part(config, outline, count)
    cost = costs.of_step(plan, stored)
    if computes == 'bfloat16':
        cost = cost._replace(traffic=cost.traffic / 2)
    lengths = plans.lengths(config, outline.train)
    memory = _memory(cost, config, count, outline)
    total = sum(memory.values())
    seconds = _seconds(cost, device, count, train.accumulate, computes)
    return {
        'model': config.model.name,
        'source': config.data.source,
        'images': {part: getattr(outline, part) for part in outlines.PARTS},
        'image_shape': outline.image_shape,
        'classes': outline.classes,
        'batch_size': train.batch_size,
        'accumulate': train.accumulate,
        'precision': computes,
        'devices': count,
        'device': device.name,
        'source_of_limits': device.source,
        'flops_per_second': device.flops[computes],
        'bytes_per_second': device.bandwidth,
        'parameters': cost.parameters,
        'multiply_adds_per_image': summary.multiply_adds(plan.model, outline.image_shape),
        'memory': memory,
        'memory_total': total,
        'memory_of_device': int(device.memory),
        'fits': total <= USABLE * device.memory,
        'flops': cost.flops * train.accumulate,
        'traffic': cost.traffic * train.accumulate,
        'seconds': seconds,
        'steps_per_epoch': lengths.steps_per_epoch,
        'total_steps': lengths.total_steps,
        'epoch_seconds': seconds['step'] * lengths.steps_per_epoch,
        'run_seconds': seconds['step'] * lengths.total_steps,
    }


def _require_equal_parts(config: ConfigDict, count: int) -> None:
    parts = count * config.train.accumulate
    if config.train.batch_size % parts:
        raise UserError(
            f'config.train.batch_size={config.train.batch_size} cannot be shared evenly by {count} '
            f'devices in {config.train.accumulate} parts: use a multiple of {parts}, or another '
            'config.mesh.devices.'
        )


def _devices(config: ConfigDict, name: str) -> tuple[Device, int, str]:
    """Returns the devices of a run, their number, and the precision in which they compute."""
    if name.lower() != devices.CPU:
        return devices.named(name), config.mesh.devices or 1, config.precision
    mesh = parallel.mesh_of(config)
    dtype, _ = precision.compute_dtype(config.precision)
    return devices.this_cpu(mesh, dtype), mesh.size, jnp.dtype(dtype).name


def _part(config: ConfigDict, outline: Outline, count: int) -> tuple[Plan, DTypeLike]:
    """Returns the plan of what one device computes at a time, and the dtype of stored images."""
    part = config.copy_and_resolve_references().unlock()
    part.train.batch_size = config.train.batch_size // (count * config.train.accumulate)
    part.train.accumulate = part.mesh.devices = 1
    part.precision = 'float32'
    data = outlines.blank(outline, part.data)
    return plans.make(part, data), data.train.images.dtype


def _memory(cost: Cost, config: ConfigDict, count: int, outline: Outline) -> dict[str, int]:
    """Returns the bytes by kind on one device, those of the data set included."""
    memory, accumulate = dict(cost.memory), config.train.accumulate
    if config.mesh.shard_parameters:
        # A step gathers the weights, of which each device keeps a part. Small arrays stay whole.
        for kind in ('optimizer', 'average'):
            memory[kind] = -(-memory[kind] // count)
    memory['batch'] *= accumulate
    if accumulate > 1:
        memory['working'] += memory['parameters']  # the sum of the gradients
    every = outline.image_bytes * (outline.train + outline.validation + outline.test)
    if too_large(every, config.data.memory_gb):
        memory['images'] = memory['batch']  # streamed: the next batch
    else:
        # Labels and the order of an epoch are two int32 for each image.
        memory['images'] = (outline.image_bytes + 8) * (outline.train + outline.validation)
    return memory


def _seconds(
    cost: Cost, device: Device, count: int, accumulate: int, computes: str
) -> dict[str, float]:
    """Returns the times of a step: of its parts by each limit, and in all."""
    compute = accumulate * cost.flops / device.flops[computes]
    memory = accumulate * cost.traffic / device.bandwidth
    network = devices.all_reduce(device, count, cost.memory['parameters'])
    times = {'compute': compute, 'memory': memory, 'network': network}
    return times | {'step': max(compute, memory) + network}


def show(result: dict[str, Any]) -> None:
    """Prints an estimate as tables."""
    height, width, channels = result['image_shape']
    counts = result['images']
    print(
        f'{result["model"]}, {result["parameters"]:,} parameters, on {counts["train"]:,} images of '
        f'{height}x{width}x{channels} in {result["classes"]:,} classes; {counts["validation"]:,} '
        f'for validation'
    )
    print(
        f'batch {result["batch_size"]} in {result["precision"]} on {result["devices"]} x '
        f'{result["device"]} ({result["source_of_limits"]})'
    )
    rows = [(kind, _size(size)) for kind, size in result['memory'].items() if size]
    rows.append(('total', _size(result['memory_total'])))
    rows.append(('of the device', _size(result['memory_of_device'])))
    console.table('memory of one device', ('kind', 'size'), rows)
    seconds, devices_ = result['seconds'], result['devices']
    flops, traffic = result['flops'], result['traffic']
    limits = [
        ('FLOPs', f'{_number(flops)}FLOP', f'{_number(result["flops_per_second"])}FLOP/s'),
        ('memory', f'{_number(traffic)}B', f'{_number(result["bytes_per_second"])}B/s'),
        ('network', f'{_number(result["memory"]["parameters"])}B' if devices_ > 1 else '', ''),
    ]
    times = [seconds['compute'], seconds['memory'], seconds['network']]
    table = [(*row, _milliseconds(time)) for row, time in zip(limits, times, strict=True)]
    console.table('a step on one device', ('limit', 'amount', 'rate', 'time'), table)
    rate = result['batch_size'] / seconds['step']
    print(
        f'at best {_milliseconds(seconds["step"])} a step, {rate:,.0f} images/s; '
        f'{console.duration(result["epoch_seconds"])} an epoch of {result["steps_per_epoch"]:,} '
        f'steps; {console.duration(result["run_seconds"])} for {result["total_steps"]:,} steps'
    )
    print(_verdict(result))


def _verdict(result: dict[str, Any]) -> str:
    usable = f'{USABLE:.0%} of the memory of a device'
    if result['fits']:
        return f'the batch fits: it needs less than {usable}'
    fixed = result['memory_total'] - result['memory']['working']
    room = USABLE * result['memory_of_device'] - fixed
    if room <= 0:
        return f'the batch does not fit: even without activations, more than {usable} is needed'
    parts = result['accumulate'] * math.ceil(result['memory']['working'] / room)
    return (
        f'the batch does not fit: it needs more than {usable}; use more devices, a smaller '
        f'batch, or --config.train.accumulate={parts} or more'
    )


def _size(size: int | float) -> str:
    return f'{size / 2**20:,.1f} MiB'


def _milliseconds(seconds: float) -> str:
    return f'{1000 * seconds:,.3f} ms'


def _number(value: int | float) -> str:
    """Returns a number of three digits and its prefix.

    >>> _number(5.28e10), _number(999)
    ('52.8 G', '999 ')
    """
    prefixes = ['', 'k', 'M', 'G', 'T', 'P', 'E']
    power = 0
    while value >= 1000 and power < len(prefixes) - 1:
        value, power = value / 1000, power + 1
    return f'{value:.3g} {prefixes[power]}'
