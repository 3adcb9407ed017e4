"""Convolution in pure JAX: outputs and gradients equal XLA's, for all layouts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh

from cifar_jax.ops import backend
from cifar_jax.ops.conv import conv


def by_xla(x, kernel, strides, padding, groups):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )


@functools.partial(jax.jit, static_argnums=0)
def outputs_and_gradients(function, x, kernel, weights):
    def weighted(x, kernel):
        y = function(x, kernel)
        return (y * weights[: y.size].reshape(y.shape)).sum(), y

    (_, y), gradients = jax.value_and_grad(weighted, (0, 1), has_aux=True)(x, kernel)
    return (y, *gradients)


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.fixture(autouse=True)
def use_jax_backend():
    with backend.use('jax'):
        yield


def assert_equals_xla(batch, size, window, strides, padding, channels):
    inputs, features, groups = channels
    x, kernel = draw((batch, *size, inputs)), draw((*window, inputs // groups, features), 1)
    weights = draw((batch * 15 * 15 * features,), 2)
    ours = functools.partial(conv, strides=strides, padding=padding, groups=groups)
    theirs = functools.partial(by_xla, strides=strides, padding=padding, groups=groups)
    for actual, expected in zip(
        outputs_and_gradients(ours, x, kernel, weights),
        outputs_and_gradients(theirs, x, kernel, weights),
        strict=True,
    ):
        assert actual.shape == expected.shape
        atol = 2e-5 * max(1.0, float(jnp.abs(expected).max()))
        np.testing.assert_allclose(actual, expected, atol=atol)


@pytest.mark.parametrize(
    ('size', 'window', 'strides', 'padding', 'channels'),
    [
        ((8, 6), (3, 3), (1, 1), 'SAME', (3, 4, 1)),
        ((2, 2), (3, 3), (1, 1), 'SAME', (3, 4, 1)),
        ((7, 5), (3, 2), (2, 1), ((2, 1), (0, 3)), (4, 6, 2)),
    ],
)
def test_forward_and_gradients_equal_xla(size, window, strides, padding, channels):
    assert_equals_xla(4, size, window, strides, padding, channels)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 6),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(['SAME', 'VALID', ((2, 1), (0, 3))]),
    channels=st.sampled_from([(1, 1, 1), (3, 4, 1), (4, 6, 2), (3, 3, 3)]),
)
def test_any_forward_and_gradients_equal_xla(batch, size, window, strides, padding, channels):
    if padding == 'VALID':
        size = tuple(max(pair) for pair in zip(size, window, strict=True))
    elif padding != 'SAME':
        window = tuple(min(pair) for pair in zip(size, window, strict=True))
    assert_equals_xla(batch, size, window, strides, padding, channels)


@pytest.mark.parametrize('size', [8, 2])
def test_gradients_do_not_depend_on_the_number_of_devices(size):
    x, kernel, weights = draw((8, size, size, 3)), draw((3, 3, 3, 5), 1), draw((8 * 64 * 5,), 2)
    step = functools.partial(outputs_and_gradients, conv)
    expected = jax.jit(step)(x, kernel, weights)
    mesh = Mesh(np.array(jax.devices()[:4]), ('data',), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        sharding = jax.NamedSharding(mesh, jax.P('data'))
        actual = jax.jit(step)(jax.device_put(x, sharding), kernel, weights)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


def test_bfloat16_accumulates_the_kernel_gradient_in_float32():
    x = jnp.ones((64, 16, 16, 1), jnp.bfloat16)
    kernel = jnp.zeros((1, 1, 1, 1), jnp.bfloat16)
    gradient = jax.grad(lambda k: conv(x, k).sum(dtype=jnp.float32))(kernel)
    # A sum of ones in bfloat16 would stop at 256.
    assert float(gradient[0, 0, 0, 0]) == 64 * 16 * 16


def test_forward_mode_raises_an_error():
    x, kernel = draw((1, 4, 4, 1)), draw((3, 3, 1, 1))
    with pytest.raises(TypeError, match='forward-mode'):
        jax.jvp(lambda x: conv(x, kernel), (x,), (x,))


def test_the_xla_backend_uses_only_xla_operations():
    x, kernel = draw((2, 2, 2, 3)), draw((3, 3, 3, 4), 1)
    gradients = jax.grad(lambda x, k: conv(x, k).sum(), (0, 1))
    with backend.use('jax'):
        assert 'scan' in str(jax.make_jaxpr(gradients)(x, kernel))
    with backend.use('xla'):
        jaxpr = str(jax.make_jaxpr(lambda x, k: gradients(x, k))(x, kernel))
    assert 'scan' not in jaxpr
    assert 'ffi_call' not in jaxpr
