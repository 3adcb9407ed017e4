"""Meshes of devices; the tests have four virtual ones."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from cifar_jax.errors import UserError
from cifar_jax.training import parallel


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_a_mesh_has_the_devices_that_are_asked_for(devices):
    mesh = parallel.make_mesh(devices, 8)
    assert mesh.shape == {'data': devices}
    assert list(mesh.devices) == jax.devices()[:devices]
    assert mesh.axis_types == (AxisType.Auto,)


@pytest.mark.parametrize(
    ('cores', 'batch_size', 'devices'),
    [(4, 8, 4), (4, 6, 3), (4, 7, 1), (2, 8, 2), (3, 8, 2), (1, 8, 1), (64, 12, 4), (64, 9, 3)],
)
def test_by_default_a_cpu_gets_a_device_for_each_core_that_shares_the_batch_evenly(
    cores, batch_size, devices, monkeypatch
):
    """There are four devices, since JAX's cannot be changed any more."""
    monkeypatch.setattr(parallel, 'cores', lambda: range(cores))
    assert parallel.make_mesh(0, batch_size).size == devices


@pytest.mark.parametrize(
    ('cores', 'devices', 'batch_size', 'number'),
    [(2, 0, 8, 2), (64, 0, 128, 8), (64, 0, 100, 5), (64, 0, 18, 6), (2, 3, 6, 3)],
)
def test_jax_is_asked_for_as_many_devices_and_by_default_for_eight_at_most(
    cores, devices, batch_size, number, monkeypatch
):
    asked = {}
    monkeypatch.setattr(parallel, 'cores', lambda: range(cores))
    monkeypatch.setattr(jax.config, 'update', asked.__setitem__)
    parallel.make_mesh(devices, batch_size)
    assert asked == {'jax_num_cpu_devices': number}


@pytest.mark.parametrize(('devices', 'count'), [(0, 4), (2, 2)])
def test_all_accelerators_are_used_by_default(devices, count, monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(parallel, 'cores', lambda: range(1))
    assert parallel.make_mesh(devices, 8).size == count


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(UserError, match=r'devices=5, but JAX sees 4: use at most 4'):
        parallel.make_mesh(5, 10)


def test_a_batch_that_the_devices_cannot_share_evenly_is_refused():
    with pytest.raises(UserError, match=r'batch_size=6 cannot be shared evenly by 4 devices: use'):
        parallel.make_mesh(4, 6)


def test_the_number_of_devices_is_from_0_to_1024():
    parallel.check(0)
    parallel.check(1024)
    for devices in (-1, 1025):
        with pytest.raises(UserError, match=f'devices={devices} must be from 1 to 1024, or 0'):
            parallel.check(devices)


def test_arrays_are_replicated_or_split_along_the_batch():
    mesh = parallel.make_mesh(4, 8)
    whole = jax.device_put(jnp.arange(8), parallel.replicated(mesh))
    split = jax.device_put(jnp.arange(8), parallel.over_batch(mesh))
    assert {shard.data.shape for shard in whole.addressable_shards} == {(8,)}
    assert {shard.data.shape for shard in split.addressable_shards} == {(2,)}
    assert split.sharding.spec == PartitionSpec('data')


def test_several_devices_of_a_cpu_have_one_thread_each():
    one_thread = {'xla_cpu_multi_thread_eigen': False}
    assert parallel.compiler_options(parallel.make_mesh(2, 8)) == one_thread
    assert parallel.compiler_options(parallel.make_mesh(1, 8)) == {}
    wide = {'xla_cpu_prefer_vector_width': 512}
    assert parallel.forward_options(parallel.make_mesh(2, 8)) == one_thread | wide
