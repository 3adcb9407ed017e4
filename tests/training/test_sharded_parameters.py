"""Each device keeps a part of the weights and of the optimizer's state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
from jax.sharding import PartitionSpec
from tiny_training import Watcher, config_of, plan_of

from cifar_jax.training import loop, parallel
from cifar_jax.training import state as states
from cifar_jax.training import step as steps


@pytest.mark.parametrize(
    ('shape', 'spec'),
    [
        ((3, 3, 64, 128), (None, None, None, 'data')),
        ((3, 3, 128, 64), (None, None, 'data')),
        ((64, 64), (None, 'data')),  # of equals the last
        ((6, 1024), (None, 'data')),
        ((5000, 3), ('data',)),
        ((4001, 3), ()),  # no axis that four devices share
        ((64, 32), ()),  # small
        ((), ()),
    ],
)
def test_a_large_array_is_divided_along_its_largest_axis(shape, spec):
    mesh = parallel.make_mesh(4, 4)
    (sharding,) = parallel.sharded([jax.ShapeDtypeStruct(shape, jnp.float32)], mesh)
    assert sharding.spec == PartitionSpec(*spec)


@pytest.fixture(autouse=True)
def all_are_large(request, monkeypatch):
    if 'shape' not in request.fixturenames:
        monkeypatch.setattr(parallel, '_SMALLEST_SHARDED', 1)


@pytest.fixture(scope='module')
def data():
    return tiny_training.data_of()


def plan(data, sharded, devices=4):
    return plan_of(config_of(mesh__shard_parameters=sharded, mesh__devices=devices, ema=0.5), data)


def parts(leaf):
    return {shard.data.shape for shard in leaf.addressable_shards}


def test_each_device_has_a_part_of_the_state_and_trains_to_the_same_weights(data):
    states_after = []
    for sharded in (False, True):
        program = steps.programs(plan(data, sharded))
        with jax.set_mesh(parallel.make_mesh(4, 4)):
            state, feeds = program.init(), plan(data, sharded).training.epoch(0, 0)
            for _ in range(3):
                state = program.step(state, next(feeds))
        states_after.append(state)
    whole, divided = states_after
    kernels = [tree['params']['Conv_0']['kernel'] for tree in (divided.variables, divided.average)]
    (momentum,) = (leaf for leaf in jax.tree.leaves(divided.opt_state) if leaf.ndim == 4)
    assert [parts(leaf) for leaf in (*kernels, momentum)] == [{(3, 3, 3, 2)}] * 3
    assert parts(whole.variables['params']['Conv_0']['kernel']) == {(3, 3, 3, 8)}
    for a, b in zip(jax.tree.leaves(divided), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_divided_run_resumes_to_the_same_bits_and_on_one_device(data, tmp_path):
    unbroken = loop.run(plan(data, True), tmp_path / 'unbroken', Watcher())
    for folder in ('divided', 'whole'):
        loop.run(plan(data, True), tmp_path / folder, Watcher(stop_after=7))
    resumed = loop.run(plan(data, True), tmp_path / 'divided', Watcher())
    assert states.sha256(resumed.state) == states.sha256(unbroken.state)
    assert parts(resumed.state.variables['params']['Conv_0']['kernel']) == {(3, 3, 3, 2)}
    one = loop.run(plan(data, False, devices=1), tmp_path / 'whole', Watcher())
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(unbroken.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
