"""The state of a run: its first values, the average, the check of its numbers, and its digest."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_training

from cifar_jax.errors import UserError
from cifar_jax.training import state as states


@pytest.fixture(scope='module')
def first():
    """Returns a function that creates a state."""

    def create(ema, variables=None, seed=5):
        return states.create(
            tiny_training.Net(jnp.float32),
            optax.sgd(0.1, momentum=0.9),
            seed=seed,
            image_shape=(6, 6, 3),
            ema=ema,
            variables=variables,
        )

    return jax.jit(create, static_argnames=('ema', 'seed'))


def test_a_run_begins_at_step_0_with_the_variables_of_its_seed(first):
    state = first(ema=False)
    assert int(state.step) == 0
    assert int(state.bad_step) == -1
    assert {float(n) for n in state.sums} == {0.0}
    model = tiny_training.Net(jnp.float32)
    drawn = jax.jit(lambda key: model.init(key, jnp.zeros((1, 6, 6, 3)), train=False))
    assert states.sha256(dict(state.variables)) == states.sha256(dict(drawn(jax.random.key(5))))
    assert states.sha256(first(ema=False, seed=6).variables) != states.sha256(state.variables)


def test_given_variables_are_taken_and_the_optimizer_begins_with_zeros(first):
    given = jax.tree.map(lambda leaf: leaf + 1, dict(first(ema=False).variables))
    state = first(ema=False, variables=given)
    assert states.sha256(dict(state.variables)) == states.sha256(given)
    (moments, _) = state.opt_state
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments.trace))


def test_the_average_begins_with_the_variables_if_there_is_one(first):
    with_average, without = first(ema=True), first(ema=False)
    assert states.sha256(with_average.average) == states.sha256(with_average.variables)
    assert without.average == {}
    assert states.evaluated(with_average) is with_average.average
    assert states.evaluated(without) is without.variables


@pytest.mark.parametrize(('step', 'decay'), [(0, 0.1), (1, 2 / 11), (8, 0.5), (1000, 0.9)])
def test_the_average_keeps_the_smaller_of_the_decay_and_a_share_that_grows(step, decay):
    average, new = {'a': jnp.float32([1.0, 3.0])}, {'a': jnp.float32([2.0, -1.0])}
    updated = states.update_average(average, new, jnp.int32(step), 0.9)
    expected = decay * np.array([1.0, 3.0]) + (1 - decay) * np.array([2.0, -1.0])
    np.testing.assert_allclose(updated['a'], expected, rtol=1e-6)


LINE = {'epoch': 1, 'step': 7, 'train_loss': 0.5}


def test_finite_metrics_and_weights_pass():
    states.check_finite(LINE, {'a': np.ones(3)})


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_metric_that_is_not_finite_is_named(bad):
    with pytest.raises(UserError, match=r'^After step 7 train_loss is not finite: lower'):
        states.check_finite(LINE | {'train_loss': bad}, {'a': np.ones(3)})


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_an_error(bad):
    weights = {'a': np.ones(3), 'b': np.array([[1.0, bad]])}
    with pytest.raises(UserError, match=r'^After step 7 a weight is not finite: lower'):
        states.check_finite(LINE, weights)


def test_the_digest_of_a_tree_is_over_names_shapes_dtypes_and_bytes():
    tree = {'a': np.arange(6, dtype=np.int32).reshape(2, 3), 'b': np.float32(2)}
    expected = hashlib.sha256(
        b"['a'] (2, 3) int32\n" + tree['a'].tobytes() + b"['b'] () float32\n" + tree['b'].tobytes()
    )
    assert states.sha256(tree) == expected.hexdigest()
    assert states.sha256({**tree, 'a': np.asfortranarray(tree['a'])}) == expected.hexdigest()


def test_a_copy_on_the_host_shares_no_memory():
    tree = {'a': np.zeros(3)}
    copied = states.to_host({**tree, 'b': jnp.ones(2)})
    tree['a'][:] = 1
    assert copied['a'].tolist() == [0, 0, 0]
    assert type(copied['b']) is np.ndarray
