"""The C++ operations: outputs and gradients equal XLA's, also when calls overlap."""

import concurrent.futures
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh

from cifar_jax.errors import UserError
from cifar_jax.ops import backend, onednn
from cifar_jax.ops.conv import conv
from cifar_jax.ops.pool import avg_pool, max_pool

pytestmark = pytest.mark.skipif(bool(onednn.problem()), reason=onednn.problem())
needs_bfloat16 = pytest.mark.skipif(
    not onednn.computes(jnp.bfloat16), reason='this processor has no bfloat16 instructions'
)


def draw(shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def outputs_and_gradients(x, kernel, bias, **options):
    """Returns y, and the gradients of a weighted sum of y for x, kernel and bias (if any)."""

    def weighted(x, kernel, bias):
        y = conv(x, kernel, bias, **options)
        weight = draw(y.shape, seed=7, dtype=jnp.bfloat16)
        return (y.astype(jnp.float32) * weight.astype(jnp.float32)).sum(), y

    argnums = (0, 1) if bias is None else (0, 1, 2)
    (_, y), gradients = jax.value_and_grad(weighted, argnums, has_aux=True)(x, kernel, bias)
    return (y, *gradients)


def by(name, function, algorithm='auto'):
    """Returns a function, compiled with a backend's operations."""

    @jax.jit
    def compiled(*args):
        return function(*args)

    def call(*args):
        with backend.use(name, algorithm):
            return compiled(*args)

    return call


def largest_error(actual, expected):
    actual, expected = (np.asarray(a, np.float64) for a in (actual, expected))
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)


def assert_close(actual, expected, tolerance):
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert largest_error(a, b) <= tolerance


def check(
    batch, size, window, strides, padding, channels, bias, relu, dtype, tolerance, algorithm='auto'
):
    inputs, features, groups = channels
    if padding != 'SAME':
        size = tuple(max(pair) for pair in zip(size, window, strict=True))
    x = draw((batch, *size, inputs), 0, dtype)
    kernel = draw((*window, inputs // groups, features), 1, dtype)
    b = draw((features,), 2, dtype) if bias else None
    function = functools.partial(
        outputs_and_gradients, strides=strides, padding=padding, groups=groups, relu=relu
    )
    # In bfloat16, XLA rounds between the convolution, its bias and its sums. Where these cancel, or
    # lie at a ReLU's kink, only its float32 results are a fair comparison.
    in_float32 = [None if a is None else a.astype(jnp.float32) for a in (x, kernel, b)]
    expected = [a.astype(dtype) for a in by('xla', function)(*in_float32)]
    assert_close(by('onednn', function, algorithm)(x, kernel, b), expected, tolerance)


SHAPES = dict(
    batch=st.integers(1, 9),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(['SAME', 'VALID', ((2, 1), (0, 3))]),
    # Channels, features, groups: odd numbers, depthwise, and shapes that our AVX2 code supports.
    channels=st.sampled_from(
        [
            (1, 1, 1),
            (3, 8, 1),
            (4, 6, 2),
            (6, 6, 6),
            (3, 32, 1),
            (7, 24, 1),
            (13, 16, 1),
            (8, 40, 1),
        ]
    ),
    bias=st.booleans(),
    relu=st.booleans(),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(**SHAPES)
def test_forward_and_gradients_equal_xla_in_float32(**drawn):
    check(**drawn, dtype=jnp.float32, tolerance=1e-5)


# 24 features have special code on AVX-512, which computes 16 outputs of a row at a time.
@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    **SHAPES
    | dict(
        batch=st.integers(1, 3),
        size=st.tuples(st.integers(1, 9), st.sampled_from([15, 16, 32])),
        window=st.tuples(st.integers(1, 5), st.integers(2, 5)),
        strides=st.just((1, 1)),
        padding=st.sampled_from(['SAME', ((2, 0), (1, 3)), ((0, 1), (1, 1))]),
        channels=st.sampled_from([(24, 24, 1), (12, 24, 1), (3, 24, 1), (24, 16, 1)]),
    )
)
def test_24_features_equal_xla(**drawn):
    check(**drawn, dtype=jnp.float32, tolerance=1e-5)


# Depthwise kernels of 5x5 and 7x7 have their own kernel gradient, for multiples of 8 channels.
@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    **SHAPES
    | dict(
        window=st.tuples(st.integers(1, 7), st.sampled_from([5, 7])),
        channels=st.sampled_from([(8, 8, 8), (16, 16, 16), (48, 48, 48), (12, 12, 12)]),
    )
)
def test_depthwise_convolutions_equal_xla(**drawn):
    check(**drawn, dtype=jnp.float32, tolerance=1e-5)


# Winograd's algorithm: maps that are and are not multiples of its tiles of 4x4, and each number of
# vectors that its products process at a time.
WINOGRAD = SHAPES | dict(
    batch=st.integers(1, 5),
    size=st.tuples(st.integers(1, 18), st.integers(1, 18)),
    strides=st.just((1, 1)),
    padding=st.sampled_from(['SAME', 'VALID', ((2, 1), (0, 3)), ((4, 0), (1, 1))]),
    channels=st.sampled_from(
        [(16, 16, 1), (24, 24, 1), (16, 40, 1), (48, 16, 1), (32, 48, 1), (56, 64, 1)]
    ),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**WINOGRAD | dict(window=st.just((3, 3))))
def test_winograds_algorithm_for_3x3_kernels_equals_xla(**drawn):
    check(**drawn, dtype=jnp.float32, tolerance=1e-5, algorithm='winograd')


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**WINOGRAD | dict(window=st.just((5, 5))))
def test_winograds_algorithm_for_5x5_kernels_equals_xla(**drawn):
    check(**drawn, dtype=jnp.float32, tolerance=2e-5, algorithm='winograd')


@pytest.mark.parametrize(
    ('taps', 'size', 'inputs', 'features'),
    [
        (3, 32, 64, 64),
        (3, 16, 128, 128),
        (3, 8, 256, 64),
        (3, 15, 48, 96),
        (3, 4, 512, 512),
        (5, 16, 32, 64),
        (5, 8, 64, 128),
        (5, 15, 40, 24),
        (5, 8, 384, 256),
    ],
)
def test_winograds_errors_are_below_1e_5_forward_and_2e_5_in_gradients(
    taps, size, inputs, features
):
    x, kernel = draw((20, size, size, inputs)), draw((taps, taps, inputs, features), 1)
    actual = by('onednn', lambda x, kernel: outputs_and_gradients(x, kernel, None))(x, kernel)
    with jax.enable_x64(True):
        exact = [jnp.asarray(np.asarray(a), jnp.float64) for a in (x, kernel)]
        expected = by('xla', lambda x, kernel: outputs_in_float64(x, kernel))(*exact)
    for ours, float64, tolerance in zip(actual, expected, (1e-5, 2e-5, 2e-5), strict=True):
        assert largest_error(ours, float64) <= tolerance


def outputs_in_float64(x, kernel):
    """Returns `outputs_and_gradients` without its rounding to float32."""
    y, back = jax.vjp(conv, x, kernel)
    return y, *back(draw(y.shape, seed=7, dtype=jnp.bfloat16).astype(y.dtype))


@pytest.mark.parametrize('taps', [3, 5])
@pytest.mark.parametrize('inputs', [16, 24])  # for AVX-512, if it is there, and for AVX2
def test_the_direct_algorithm_differs_in_rounding_only(inputs, taps):
    x, kernel = draw((2, 8, 8, inputs)), draw((taps, taps, inputs, inputs), 1)
    step = functools.partial(outputs_and_gradients, bias=None)
    winograd, direct = (by('onednn', step, name)(x, kernel) for name in ('auto', 'direct'))
    assert_close(winograd, direct, 2e-5)
    for a, b in zip(winograd, direct, strict=True):
        assert (np.asarray(a) != np.asarray(b)).any()


@pytest.mark.parametrize(
    ('images', 'weights', 'options'),
    [
        ((2, 8, 8, 16), (7, 7, 16, 16), {}),
        ((2, 8, 8, 16), (3, 5, 16, 16), {}),
        ((2, 8, 8, 16), (3, 3, 16, 16), {'strides': (2, 2)}),
        ((2, 8, 8, 16), (3, 3, 16, 16), {'strides': (1, 2)}),
        ((2, 8, 8, 32), (3, 3, 16, 32), {'groups': 2}),
        ((2, 8, 8, 3), (3, 3, 3, 16), {}),
        ((2, 8, 8, 20), (3, 3, 20, 20), {}),
        ((16, 2, 2, 16), (3, 3, 16, 16), {}),
        ((16, 5, 5, 16), (3, 3, 16, 16), {}),
        ((16, 3, 3, 128), (3, 3, 128, 128), {}),
        ((1, 7, 7, 32), (3, 3, 32, 32), {}),
        ((1, 8, 8, 256), (5, 5, 256, 256), {}),
    ],
)
def test_other_convolutions_are_direct_always(images, weights, options):
    x, kernel = draw(images), draw(weights, 1)
    step = functools.partial(outputs_and_gradients, bias=None, **options)
    auto, direct = (by('onednn', step, name)(x, kernel) for name in ('auto', 'direct'))
    assert_close(auto, direct, 0)
    strides, groups = options.get('strides', (1, 1)), options.get('groups', 1)
    assert not onednn.chooses_winograd(kernel.shape, strides, groups, direct[0].shape[:3])


@pytest.mark.parametrize(
    ('images', 'weights'),
    [
        ((1, 3, 3, 16), (3, 3, 16, 16)),
        ((16, 2, 2, 8), (3, 3, 8, 8)),
        ((16, 3, 3, 64), (3, 3, 64, 64)),
        ((2, 8, 8, 32), (3, 3, 32, 32)),
        ((4, 8, 8, 256), (3, 3, 256, 256)),
        ((8, 3, 3, 24), (3, 3, 24, 16)),
        ((1, 9, 9, 16), (5, 5, 16, 24)),
        ((3, 5, 5, 16), (5, 5, 16, 16)),
        ((4, 4, 4, 16), (5, 5, 16, 16)),
    ],
)
def test_winograds_algorithm_is_chosen_for_3x3_and_5x5_kernels(images, weights):
    x, kernel = draw(images), draw(weights, 1)
    auto, direct = (by('onednn', conv, name)(x, kernel) for name in ('auto', 'direct'))
    assert (np.asarray(auto) != np.asarray(direct)).any()
    assert onednn.chooses_winograd(kernel.shape, (1, 1), 1, auto.shape[:3])


def test_gradients_need_twice_the_positions_for_winograds_algorithm():
    step = functools.partial(outputs_and_gradients, bias=None)
    kernel = draw((3, 3, 32, 32), 1)

    def chosen(images, **direction):
        return onednn.chooses_winograd(kernel.shape, (1, 1), 1, (images, 8, 8), **direction)

    fewest = next(images for images in range(1, 9) if chosen(images))
    for images, differs in ((fewest, False), (2 * fewest, True)):
        x = draw((images, 8, 8, 32))
        auto, direct = (by('onednn', step, name)(x, kernel) for name in ('auto', 'direct'))
        different = [(np.asarray(a) != b).any() for a, b in zip(auto, direct, strict=True)]
        assert different == [True, differs, differs]
        assert chosen(images, gradient=True) == differs


def test_winograds_algorithm_can_be_forced_where_it_does_not_pay():
    x, kernel = draw((16, 2, 2, 16)), draw((3, 3, 16, 16), 1)
    step = functools.partial(outputs_and_gradients, bias=None)
    forced, auto = (by('onednn', step, name)(x, kernel) for name in ('winograd', 'auto'))
    assert_close(forced, auto, 1e-5)
    assert (np.asarray(forced[0]) != np.asarray(auto[0])).any()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize(('channels', 'taps'), [(16, 3), (24, 3), (16, 5), (24, 5)])
def test_winograds_algorithm_hides_no_infinite_or_undefined_pixel(channels, taps, relu, value):
    x, kernel = draw((3, 9, 9, channels)), draw((taps, taps, channels, channels), 1)
    forward = functools.partial(conv, relu=relu)
    broken = x.at[1, 3, 4, 5].set(value)
    y, intact = (np.asarray(by('onednn', forward)(a, kernel)) for a in (broken, x))
    expected = np.asarray(by('xla', forward)(broken, kernel))  # a ReLU of -inf is 0
    assert not np.isfinite(expected[1, 2:5, 3:6]).all()
    assert not np.isfinite(y[~np.isfinite(expected)]).any()
    np.testing.assert_array_equal(y[[0, 2]], intact[[0, 2]])


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize(('channels', 'taps'), [(16, 3), (24, 3), (16, 5), (24, 5)])
def test_winograds_algorithm_hides_no_infinite_or_undefined_gradient(channels, taps, value):
    x, kernel = draw((3, 9, 9, channels)), draw((taps, taps, channels, channels), 1)
    gradients = functools.partial(gradients_of_a_pixel, relu=True, value=value)
    actual = by('onednn', gradients)(x, kernel)
    for gradient, depends in zip(actual, reached(x, kernel, True), strict=True):
        assert depends.any()
        assert not np.isfinite(np.asarray(gradient)[depends]).any()
    assert np.isfinite(actual[0][0]).all()


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    **SHAPES
    | dict(
        batch=st.integers(16, 19),
        size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        window=st.tuples(st.integers(2, 5), st.integers(2, 5)),
        padding=st.sampled_from(['SAME', ((2, 1), (1, 3))]),
        channels=st.sampled_from([(16, 17, 1), (24, 16, 1)]),
    )
)
def test_maps_smaller_than_their_kernel_equal_xla(**drawn):
    check(**drawn, dtype=jnp.float32, tolerance=1e-5)


@pytest.mark.slow
@needs_bfloat16
@settings(max_examples=25, deadline=None, derandomize=True)
@given(**SHAPES)
def test_forward_and_gradients_equal_xla_in_bfloat16(**drawn):
    check(**drawn, dtype=jnp.bfloat16, tolerance=2e-2)


@pytest.mark.parametrize(
    ('size', 'inputs', 'features', 'window'),
    [(32, 3, 32, 7), (32, 24, 24, 3), (2, 64, 128, 3), (15, 64, 64, 3), (4, 48, 8, 5)],
)
def test_shapes_of_real_networks_equal_xla(size, inputs, features, window):
    check(
        batch=20,
        size=(size, size),
        window=(window, window),
        strides=(1, 1),
        padding='SAME',
        channels=(inputs, features, 1),
        bias=True,
        relu=True,
        dtype=jnp.float32,
        tolerance=1e-5,
    )


def pooled_and_gradient(pool, x):
    y, back = jax.vjp(lambda x: pool(x, 2), x)
    return y, back(draw(y.shape, 5, y.dtype))[0]


def check_pool(batch, size, channels, pool, ties, dtype, tolerance):
    x = draw((batch, *size, channels), 0, dtype)
    if ties:
        x = jnp.maximum(jnp.round(x), 0)
    function = functools.partial(pooled_and_gradient, pool)
    assert_close(by('onednn', function)(x), by('xla', function)(x), tolerance)


POOLS = dict(
    batch=st.integers(1, 5),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    channels=st.sampled_from([1, 7, 8, 24, 29]),
    pool=st.sampled_from([max_pool, avg_pool]),
    ties=st.booleans(),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(**POOLS)
def test_pools_and_their_gradients_equal_xla_in_float32(**drawn):
    check_pool(**drawn, dtype=jnp.float32, tolerance=1e-6)


@pytest.mark.slow
@needs_bfloat16
@settings(max_examples=25, deadline=None, derandomize=True)
@given(**POOLS)
def test_pools_and_their_gradients_equal_xla_in_bfloat16(**drawn):
    check_pool(**drawn, dtype=jnp.bfloat16, tolerance=2e-2)


def kinds(array):
    """Returns 0 for a number, 1 for NaN, 2 and 3 for positive and negative infinity."""
    array = np.asarray(array)
    return np.isnan(array) + 2 * np.isposinf(array) + 3 * np.isneginf(array)


# A map on oneDNN's way, one smaller than its kernel, and 24 features in rows of 16 outputs.
PATHS = [
    ((4, 9, 9, 8), (3, 3, 8, 16)),
    ((16, 2, 2, 16), (3, 3, 16, 16)),
    ((2, 5, 16, 24), (3, 3, 24, 24)),
]


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize(('images', 'weights'), PATHS)
def test_an_infinite_or_undefined_pixel_spreads_as_in_xla(images, weights, relu, value):
    x = draw(images).at[1, 1, 1, 3].set(value)
    step = functools.partial(outputs_and_gradients, relu=relu)
    arguments = x, draw(weights, 1), draw(weights[-1:], 2)
    ours, xla = (by(name, step, 'direct')(*arguments) for name in ('onednn', 'xla'))
    assert np.isnan(value) == np.isnan(ours[0]).any()
    for actual, expected in zip(ours, xla, strict=True):
        np.testing.assert_array_equal(kinds(actual), kinds(expected))


@pytest.mark.parametrize('place', [0, 1, 2])
@pytest.mark.parametrize(('images', 'weights'), PATHS)
def test_an_undefined_weight_reaches_every_output_of_its_feature(images, weights, place):
    arguments = [draw(images), draw(weights, 1), draw(weights[-1:], 2)]
    if place:
        arguments[place] = arguments[place].at[..., 5].set(jnp.nan)
    with backend.use('onednn', 'direct'):
        y = jax.jit(functools.partial(conv, relu=True))(*arguments)
    undefined = np.isnan(y).all((0, 1, 2))
    np.testing.assert_array_equal(undefined, [place > 0 and i == 5 for i in range(len(undefined))])
    assert np.isnan(y).sum() == undefined.sum() * y[..., 0].size


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize(('images', 'weights'), PATHS)
def test_an_infinite_or_undefined_gradient_spreads_as_in_xla(images, weights, relu, value):
    x, kernel = draw(images), draw(weights, 1)
    gradients = functools.partial(gradients_of_a_pixel, relu=relu, value=value)
    ours = by('onednn', gradients, 'direct')(x, kernel)
    xla = by('xla', gradients)(x, kernel)
    for actual, expected, depends in zip(ours, xla, reached(x, kernel, relu), strict=True):
        # XLA also multiplies an infinite gradient by the zeros of its padding. Ours may.
        compared = depends | ~np.isfinite(actual)
        np.testing.assert_array_equal(kinds(actual)[compared], kinds(expected)[compared])


def gradients_of_a_pixel(x, kernel, *, relu, value):
    """Returns the gradients for x and kernel; that for a positive output of a pixel is `value`."""
    y, back = jax.vjp(functools.partial(conv, relu=relu, padding=((1, 1), (1, 1))), x, kernel)
    return back(draw(y.shape, 5).at[1, 1, 1].set(jnp.where(y[1, 1, 1] > 0, value, 1.0)))


def reached(x, kernel, relu):
    """Returns which gradients depend on those for the positive outputs of that pixel."""
    padded = functools.partial(conv, padding=((1, 1), (1, 1)))
    with backend.use('xla'):
        positive = padded(x, kernel)[1, 1, 1] > 0
        y, back = jax.vjp(padded, jnp.ones_like(x), jnp.ones_like(kernel))
        gradients = back(jnp.zeros_like(y).at[1, 1, 1].set(positive.astype(y.dtype)))
    return [np.asarray(gradient) > 0.5 for gradient in gradients]


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('of_gradient', [False, True])
@pytest.mark.parametrize('pool', [max_pool, avg_pool])
def test_pools_spread_infinite_and_undefined_values_as_xla(pool, of_gradient, value):
    x = draw((2, 6, 6, 9))
    gradient = draw((2, 3, 3, 9), 5)
    x, gradient = (
        (x, gradient.at[0, 1, 1, 2].set(value))
        if of_gradient
        else (x.at[0, 2, 3, 2].set(value), gradient)
    )

    def both(x, gradient):
        y, back = jax.vjp(lambda x: pool(x, 2), x)
        return y, *back(gradient)

    for actual, expected in zip(
        by('onednn', both)(x, gradient), by('xla', both)(x, gradient), strict=True
    ):
        np.testing.assert_array_equal(kinds(actual), kinds(expected))


@pytest.mark.parametrize('place', range(4))
def test_the_maximum_of_nan_is_nan(place):
    x = jnp.arange(4.0, dtype=jnp.float32).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
    x = jnp.tile(x, (1, 1, 1, 9))
    with backend.use('onednn'):
        assert jnp.isnan(jax.jit(lambda x: max_pool(x))(x)).all()


def test_pools_agree_on_a_batch_sharded_over_devices():
    x = draw((8, 6, 6, 8))
    expected = by('onednn', functools.partial(pooled_and_gradient, max_pool))(x)
    mesh = Mesh(np.array(jax.devices()[:4]), ('data',), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P('data')))
        actual = by('onednn', functools.partial(pooled_and_gradient, max_pool))(sharded)
    assert_close(actual, expected, 0)


# By the direct sum and by Winograd's algorithm, for AVX-512 and for AVX2.
@pytest.mark.parametrize(('inputs', 'taps'), [(3, 3), (16, 3), (24, 5)])
@pytest.mark.parametrize('count', [2, 4])
def test_convolutions_agree_on_a_batch_sharded_over_devices(count, inputs, taps):
    x, kernel, bias = draw((8, 8, 8, inputs)), draw((taps, taps, inputs, 16), 1), draw((16,), 2)
    step = functools.partial(outputs_and_gradients, relu=True)
    expected = by('onednn', step)(x, kernel, bias)
    mesh = Mesh(np.array(jax.devices()[:count]), ('data',), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P('data')))
        actual = by('onednn', step)(sharded, kernel, bias)
    assert_close(actual, expected, 1e-5 if taps == 5 else 1e-6)


def test_a_batch_that_the_devices_do_not_divide_is_computed_by_jax():
    mesh = Mesh(np.array(jax.devices()[:4]), ('data',), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh), backend.use('onednn'):
        text = jax.jit(conv).lower(draw((6, 4, 4, 3)), draw((3, 3, 3, 8))).as_text()
    assert 'ConvForward' not in text


def branches(x, kernels, relu=True):
    """Computes many independent convolutions of equal shapes, which XLA runs concurrently."""
    return sum(conv(x + i, kernel, relu=relu).sum() for i, kernel in enumerate(kernels))


# Without ReLU for 5x5, whose rounding errors change the sign of an output near 0.
@pytest.mark.parametrize(('inputs', 'taps'), [(8, 3), (16, 3), (24, 5)])
def test_concurrent_calls_in_one_program_are_independent(inputs, taps):
    x, kernels = draw((8, 16, 16, inputs)), draw((8, taps, taps, inputs, 16), 1)
    gradients = jax.grad(functools.partial(branches, relu=taps == 3), (0, 1))
    expected = by('xla', gradients)(x, kernels)
    ours = by('onednn', gradients)
    first = ours(x, kernels)
    assert_close(first, expected, 1e-5)
    for _ in range(30):
        np.testing.assert_array_equal(ours(x, kernels)[1], first[1])


@pytest.mark.parametrize(('channels', 'taps'), [(8, 3), (16, 3), (24, 5)])
def test_programs_in_two_threads_are_independent(channels, taps):
    kernels = draw((4, taps, taps, channels, 16), 1)
    ours = [by('onednn', jax.grad(lambda x, k, i=i: branches(x + i, k), 1)) for i in range(2)]
    inputs = [draw((8, 16, 16, channels), seed) for seed in (3, 4)]
    expected = [f(x, kernels) for f, x in zip(ours, inputs, strict=True)]

    def repeat(i):
        return [np.asarray(ours[i](inputs[i], kernels)) for _ in range(20)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for i, results in enumerate(pool.map(repeat, range(2))):
            for result in results:
                np.testing.assert_array_equal(result, expected[i])


def test_works_in_a_scan_with_donated_arguments():
    x, kernel = draw((4, 8, 8, 8)), draw((3, 3, 8, 8), 1) / 30

    def repeated(x, kernel):
        return lax.scan(lambda x, _: (conv(x, kernel, relu=True), None), x, length=3)[0]

    expected = by('xla', repeated)(x, kernel)
    with backend.use('onednn'):
        actual = jax.jit(repeated, donate_argnums=0)(x + 0, kernel)
    assert_close([actual], [expected], 1e-5)


def test_vmap_over_kernels_works():
    x, kernels = draw((2, 8, 8, 3)), draw((3, 3, 3, 3, 8), 1)
    function = jax.vmap(conv, (None, 0))
    assert_close([by('onednn', function)(x, kernels)], [by('xla', function)(x, kernels)], 1e-5)


def test_vmap_over_gradients_works():
    x, kernel = draw((3, 2, 8, 8, 3)), draw((3, 3, 3, 8), 1)
    function = jax.vmap(jax.grad(lambda k, x: jnp.square(conv(x, k)).sum()), (None, 0))
    assert_close([by('onednn', function)(kernel, x)], [by('xla', function)(kernel, x)], 1e-5)


def test_forward_mode_raises_an_error():
    x, kernel = draw((1, 4, 4, 1)), draw((3, 3, 1, 1))
    with backend.use('onednn'), pytest.raises(TypeError, match='forward-mode'):
        jax.jvp(lambda x: conv(x, kernel), (x,), (x,))


def test_the_gradient_for_images_is_not_computed_if_unused():
    x, kernel = draw((4, 8, 8, 3)), draw((3, 3, 3, 8), 1)
    with backend.use('onednn'):
        text = jax.jit(jax.grad(lambda k: conv(x, k).sum())).lower(kernel).as_text()
    assert 'to_input = false' in text


def test_float64_is_left_to_xla():
    with jax.enable_x64(True), backend.use('onednn'):
        x, kernel = jnp.ones((1, 4, 4, 1), jnp.float64), jnp.ones((3, 3, 1, 1), jnp.float64)
        assert 'ConvForward' not in jax.jit(conv).lower(x, kernel).as_text()


def test_wrong_arguments_raise_an_exception():
    call = jax.ffi.ffi_call('cifar_jax.ConvForward', jax.ShapeDtypeStruct((2, 2), jnp.float32))
    attributes = dict(
        strides=np.ones(2, np.int64),
        pads=np.zeros(4, np.int64),
        groups=np.int64(1),
        relu=False,
        algorithm='auto',
        threads=np.int64(1),
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match='NHWC images and an HWIO kernel'):
        call(jnp.ones((2, 2)), jnp.ones((2, 2)), **attributes)


def test_a_wrong_pooling_output_raises_an_exception():
    shape = jax.ShapeDtypeStruct((1, 3, 3, 1), jnp.float32)
    call = jax.ffi.ffi_call('cifar_jax.PoolForward', shape)
    with pytest.raises(jax.errors.JaxRuntimeError, match='halves their height and width'):
        call(jnp.ones((1, 4, 4, 1)), largest=True, threads=np.int64(1))


def test_the_environment_variable_disables_the_extension():
    code = (
        'from cifar_jax.ops import backend, onednn\n'
        'print(backend.chosen(), onednn.problem(), sep="|")\n'
    )
    environment = os.environ | {onednn.VARIABLE: 'jax'}
    result = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == 'jax|$CIFAR_JAX_OPS disables the C++ operations'


def test_without_the_extension_auto_is_jax_and_the_log_says_why(monkeypatch):
    monkeypatch.setattr(onednn, 'problem', lambda: 'the C++ operations were not built')
    assert backend.chosen() == 'jax'
    assert backend.reason().endswith('by jax: the C++ operations were not built')
    with pytest.raises(UserError, match='not available: the C'), backend.use('onednn'):
        pass


def test_a_library_of_an_earlier_version_is_not_used(monkeypatch):
    monkeypatch.setattr(onednn, 'library', onednn._onednn)  # a library without our functions
    assert 'earlier version; `pip install -e . --no-deps`' in onednn.problem.__wrapped__()
