"""Gradient accumulation: a batch in several parts trains as one part does, but for batch norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
from flax import linen as nn
from tiny_training import BATCH, CLASSES

from cifar_jax.data import augment
from cifar_jax.errors import UserError
from cifar_jax.training import limits, parallel
from cifar_jax.training import state as states
from cifar_jax.training import step as steps
from cifar_jax.training.accumulation import accumulate

MESH = parallel.make_mesh(1, 1)


def by_parts(parts, statistics=0):
    """A 'gradient' of the sum of the images, and statistics that tell the order of the parts."""

    def gradient_of(params, statistics, images, number):
        return params * images.sum(), 10 * statistics + number + 1, images + 1

    def run():
        return accumulate(gradient_of, jnp.float32(2), jnp.int32(statistics), images, parts, MESH)

    images = jnp.arange(6.0)
    return jax.jit(run)()


@pytest.mark.parametrize('parts', [1, 2, 3, 6])
def test_gradients_of_parts_are_summed(parts):
    assert by_parts(parts)[0] == 2 * 15


@pytest.mark.parametrize('parts', [1, 2, 3, 6])
def test_outputs_are_in_the_order_of_the_batch(parts):
    np.testing.assert_array_equal(by_parts(parts)[2], np.arange(6) + 1)


def test_statistics_pass_through_the_parts_in_order():
    assert by_parts(3)[1] == 123
    assert by_parts(3, statistics=4)[1] == 4123


class Plain(nn.Module):
    """A network in which no image influences another."""

    @nn.compact
    def __call__(self, images, *, train, progress=1.0):
        x = nn.Conv(5, (3, 3), param_dtype=jnp.float64, dtype=jnp.float64)(images)
        x = nn.tanh(x).mean(axis=(1, 2)) * (1 + jnp.asarray(progress, jnp.float64))
        return nn.Dense(CLASSES, param_dtype=jnp.float64, dtype=jnp.float64)(x)


def blend(key, batch):
    """Mixes each image and its label with the next one, as mixup does."""
    share = jax.random.uniform(key, (), jnp.float32, minval=0.6)

    def mixed(x):
        fraction = share.astype(x.dtype)
        return fraction * x + (1 - fraction) * jnp.roll(x, -1, axis=0)

    return batch._replace(images=mixed(batch.images), labels=mixed(batch.labels))


def train(model, count, dtype=jnp.float64, **overrides):
    """Returns the state after some steps."""
    config = tiny_training.config_of(loss__label_smoothing=0.25, **overrides)
    config.data.augment = (dict(name='blend'), dict(name='flip'))
    plan = tiny_training.plan_of(config, tiny_training.data_of(), dtype)._replace(model=model)
    program = steps.programs(plan)
    with jax.set_mesh(plan.mesh):
        state, feeds = program.init(), plan.training.epoch(0, 0)
        for _ in range(count):
            state = program.step(state, next(feeds))
    return states.to_host(state)


@pytest.fixture(autouse=True)
def mixing(monkeypatch):
    known = augment.BATCH_AUGMENTATIONS | {'blend': blend}
    monkeypatch.setattr(augment, 'BATCH_AUGMENTATIONS', known)


@pytest.fixture(scope='module')
def whole():
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(augment, 'BATCH_AUGMENTATIONS', {'blend': blend})
        return train(Plain(), 3)


@pytest.mark.parametrize(('parts', 'devices'), [(2, 1), (4, 1), (2, 2)])
def test_parts_train_to_the_weights_and_metrics_of_the_whole_batch(parts, devices, whole):
    """With mixed images, soft labels and augmentation, on one device and several."""
    with jax.enable_x64(True):
        state = train(Plain(), 3, train__accumulate=parts, mesh__devices=devices)
    assert state.sums.count == whole.sums.count == 3 * BATCH
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
        # The normalised images are float32, and so is the sum of losses.
        np.testing.assert_allclose(a, b, rtol=1e-12 if a.dtype == np.float64 else 1e-6, atol=1e-13)


class Draws(nn.Module):
    """Remembers the last two numbers that it drew."""

    @nn.compact
    def __call__(self, images, *, train, progress=1.0):
        drawn = self.variable('batch_stats', 'drawn', jnp.zeros, 2)
        if train and not self.is_initializing():
            new = jax.random.normal(self.make_rng('dropout'), (1,))
            drawn.value = jnp.concatenate([drawn.value[1:], new])
        return nn.Dense(CLASSES)(images.mean(axis=(1, 2)))


def test_each_part_has_a_random_key_of_its_own():
    first, second = train(Draws(), 1, jnp.float32, train__accumulate=2).variables['batch_stats'][
        'drawn'
    ]
    assert 0 != first != second != 0


@pytest.mark.parametrize('parts', [0, -1, 3, 16])
def test_the_number_of_parts_divides_the_batch(parts):
    config = tiny_training.config_of(train__batch_size=8, train__accumulate=parts)
    with pytest.raises(UserError, match=f'train.accumulate={parts} must divide config.train.batch'):
        limits.check(config)


@pytest.mark.parametrize('parts', [1, 2, 8])
def test_a_number_of_parts_that_divides_the_batch_is_accepted(parts):
    limits.check(tiny_training.config_of(train__batch_size=8, train__accumulate=parts))


def test_devices_share_each_part_evenly(monkeypatch):
    assert parallel.make_mesh(2, 8, 4).size == 2
    with pytest.raises(UserError, match=r'size=8 in 4 parts cannot .* by 4 devices: use .* of 16'):
        parallel.make_mesh(4, 8, 4)
    monkeypatch.setattr(parallel, 'cores', lambda: range(4))
    config = tiny_training.config_of(train__batch_size=8, train__accumulate=4, mesh__devices=0)
    assert parallel.mesh_of(config).size == 2
