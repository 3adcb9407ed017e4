"""Pooling: outputs and gradients equal those of `lax.reduce_window`, for all sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cifar_jax.ops import backend, onednn
from cifar_jax.ops.pool import avg_pool, global_avg_pool, max_pool

SETTINGS = [
    (2, None, 'VALID'),
    (3, 1, 'SAME'),
    (2, 1, 'SAME'),
    (2, 1, 'VALID'),
    (3, 1, 'VALID'),
    (3, 2, 'SAME'),
    (3, None, 'VALID'),
    (2, None, 'SAME'),
]


@pytest.fixture(params=['onednn', 'jax'])
def _operations(request):
    if request.param == 'onednn' and onednn.problem():
        pytest.skip(onednn.problem())
    with backend.use(request.param):
        yield


# Runs a test with the pooling in C++, if available, and in JAX.
both_backends = pytest.mark.usefixtures('_operations')


def distinct(shape, seed=0):
    """Returns random distinct values, so that every window has one largest value."""
    values = np.random.default_rng(seed).permutation(np.prod(shape))
    return jnp.asarray(values.reshape(shape), jnp.float32)


def windows(x, initial, operation, window, stride, padding):
    strides = (1, stride or window, stride or window, 1)
    return lax.reduce_window(x, initial, operation, (1, window, window, 1), strides, padding)


def reference_max(x, *args):
    return windows(x, -jnp.inf, lax.max, *args)


def reference_mean(x, *args):
    return windows(x, 0.0, lax.add, *args) / windows(jnp.ones_like(x), 0.0, lax.add, *args)


@both_backends
@pytest.mark.parametrize('options', SETTINGS)
@pytest.mark.parametrize(
    ('pool', 'reference'), [(max_pool, reference_max), (avg_pool, reference_mean)]
)
def test_values_and_gradients_equal_those_of_reduce_window(pool, reference, options):
    x = distinct((2, 7, 8, 3))
    weights = distinct(jax.eval_shape(lambda: pool(x, *options)).shape, seed=1)

    def values_and_gradient(function, x, weights):
        y, pull = jax.vjp(lambda x: function(x, *options), x)
        return y, pull(weights)[0]

    (result, gradient), (expected, expected_gradient) = jax.jit(
        lambda *args: [values_and_gradient(function, *args) for function in (pool, reference)]
    )(x, weights)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5)


@settings(deadline=None, max_examples=12)
@given(st.integers(3, 6), st.integers(3, 6), st.integers(1, 3), st.integers(1, 3))
def test_max_pool_of_any_shape(height, width, window, stride):
    options = [(window, stride, padding) for padding in ('SAME', 'VALID')]
    pairs = jax.jit(lambda x: [(max_pool(x, *each), reference_max(x, *each)) for each in options])
    for result, expected in pairs(distinct((1, height, width, 2))):
        np.testing.assert_array_equal(result, expected)


def test_average_does_not_count_padding():
    np.testing.assert_allclose(avg_pool(jnp.ones((1, 5, 5, 1)), 3, 2, 'SAME'), 1.0, rtol=1e-6)


def test_max_pool_pads_below_every_value():
    np.testing.assert_array_equal(max_pool(-jnp.ones((1, 4, 4, 1)), 3, 1, 'SAME'), -1.0)


@both_backends
@pytest.mark.parametrize('options', [(2, None, 'VALID'), (3, 1, 'SAME')])
def test_the_gradients_of_tied_inputs_sum_to_the_whole(options):
    _, pull = jax.vjp(lambda x: max_pool(x, *options), jnp.zeros((1, 4, 4, 1)))
    weights = distinct(max_pool(jnp.zeros((1, 4, 4, 1)), *options).shape)
    np.testing.assert_allclose(jnp.sum(pull(weights)[0]), jnp.sum(weights))


@both_backends
@pytest.mark.parametrize('pool', [max_pool, avg_pool])
def test_bfloat16_is_kept(pool):
    x = distinct((1, 4, 4, 1)).astype(jnp.bfloat16)
    assert pool(x).dtype == pool(x, 3, 1, 'SAME').dtype == jnp.bfloat16


def test_a_window_larger_than_the_map_raises_an_error():
    with pytest.raises(ValueError, match='window of 5 does not fit into 4'):
        max_pool(jnp.zeros((1, 4, 4, 1)), 5)


def test_an_unknown_padding_raises_an_error():
    with pytest.raises(ValueError, match="'VALID' or 'SAME', not 'FULL'"):
        max_pool(jnp.zeros((1, 4, 4, 1)), 2, 2, 'FULL')


def test_global_average_is_the_mean_over_positions():
    x = distinct((2, 3, 5, 4))
    np.testing.assert_allclose(global_avg_pool(x), np.mean(np.asarray(x), (1, 2)), rtol=1e-6)
