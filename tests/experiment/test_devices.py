"""The limits of devices."""

import jax.numpy as jnp
import pytest

from cifar_jax.errors import UserError
from cifar_jax.experiment import devices
from cifar_jax.training import parallel


@pytest.mark.parametrize('name', devices.DEVICES)
def test_a_device_has_plausible_limits_and_a_source(name):
    device = devices.named(name.upper())
    assert device.name == name
    assert 15e12 <= device.flops['float32'] <= device.flops['bfloat16'] < 1e15
    assert 0.8e12 <= device.bandwidth < 4e12
    assert 16 * 2**30 <= device.memory <= 95 * 2**30
    assert device.network < device.link < device.bandwidth
    assert 'NVIDIA' in device.source or device.source.endswith(name)


def test_an_unknown_device_is_refused_with_its_nearest_name():
    with pytest.raises(UserError, match=r"No device 'H10': did you mean 'H100'\?"):
        devices.named('H10')


def test_a_cpu_is_measured_and_shared_by_its_devices(monkeypatch):
    measured = []

    def seconds(function, *arguments):
        measured.append((function, arguments))
        return {1: 0.5, 2: 0.25}[len(measured)]

    monkeypatch.setattr(devices, '_seconds', seconds)
    monkeypatch.setattr(devices.machine, 'memory', lambda: 2.0**34)
    device = devices.this_cpu(parallel.make_mesh(2, 8), jnp.float32)
    (product, (images, kernel)), (copy, (numbers,)) = measured
    assert product(images, kernel).shape == images.shape
    # A 1x1 convolution is the product of a matrix with a row for each pixel and the kernel.
    pixels, features = images.size // 512, 512
    assert device.flops == {'float32': 2 * pixels * 512 * features / 0.5 / 2}
    assert copy(numbers[:3]).tolist() == [2, 2, 2]
    assert device.bandwidth == 2 * numbers.nbytes / 0.25 / 2, 'it is read and written'
    assert (device.memory, device.group, device.source) == (2.0**33, 2, 'measured')


def test_the_time_of_a_function_is_the_shortest_but_for_its_first_call(monkeypatch):
    ticks = map(float, [0, 1, 10, 14, 20, 23, 30, 35])
    monkeypatch.setattr(devices.time, 'perf_counter', lambda: next(ticks))
    calls = []
    assert devices._seconds(calls.append, 1, trials=3) == 3
    assert calls == [1] * 4


def test_groups_sum_their_parts_over_the_network():
    """Two groups of two: 100 bytes by links of 10 bytes/s, then half of them by one of 1 byte/s."""
    device = devices.Device('', {}, 1, 1, group=2, link=10, network=1, source='')
    assert devices.all_reduce(device, 1, 100) == 0
    assert devices.all_reduce(device, 2, 100) == 100 * 2 / 2 / 10
    assert devices.all_reduce(device, 4, 100) == 100 * 2 / 2 / 10 + 50 * 2 / 2 / 1


def test_devices_that_are_one_group_use_no_network():
    device = devices.DEVICES['v4']._replace(network=0)
    assert devices.all_reduce(device, 1024, 1e9) == pytest.approx(2 * 1023 / 1024 / 268)
