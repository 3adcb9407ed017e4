"""Layers and building blocks, compared with independent computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from cifar_jax import models
from cifar_jax.models import initializers
from cifar_jax.models.inception import ConvUnit, InceptionModule
from cifar_jax.models.inverted_residual import InvertedResidual
from cifar_jax.models.layers import BatchNorm, Conv, Dense, SqueezeExcite, relu6, swish, widened
from cifar_jax.models.senet import SEBlock
from cifar_jax.ops.dense import matmul

KEY = jax.random.key(0)


def randomized(variables, seed=1):
    """The same tree, with every value random and variances positive."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape).astype(np.float32)
        return jnp.asarray(np.abs(values) + 0.5 if path[-1].key == 'var' else values)

    return jax.tree_util.tree_map_with_path(draw, variables)


def prepared(module, shape, **options):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    shapes = jax.eval_shape(lambda: module.init(KEY, x, **options))
    return x, randomized(shapes)


def applied(module, variables, x):
    """The module's outputs at evaluation, compiled as a whole: faster than one by one."""
    return jax.jit(lambda variables, x: module.apply(variables, x, train=False))(variables, x)


def convolved(x, kernel, stride=1):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def normed(x, params, stats):
    """Batch normalisation at evaluation, by its textbook formula."""
    x, params, stats = jax.tree.map(np.asarray, (x, params, stats))
    return (x - stats['mean']) / np.sqrt(stats['var'] + 1e-5) * params['scale'] + params['bias']


def gate_of(x, params):
    params = jax.tree.map(np.asarray, params)
    mean = np.asarray(x).mean((1, 2))
    hidden = np.maximum(mean @ params['squeeze']['kernel'] + params['squeeze']['bias'], 0)
    return 1 / (1 + np.exp(-(hidden @ params['excite']['kernel'] + params['excite']['bias'])))


def conv_by_loops(x, kernel, strides, pads):
    x = np.pad(np.asarray(x), ((0, 0), *pads, (0, 0)))
    rows, columns, _, features = kernel.shape
    height = (x.shape[1] - rows) // strides[0] + 1
    width = (x.shape[2] - columns) // strides[1] + 1
    y = np.zeros((x.shape[0], height, width, features), np.float32)
    for i in range(height):
        for j in range(width):
            top, left = i * strides[0], j * strides[1]
            y[:, i, j] = np.einsum(
                'bijc,ijcf->bf', x[:, top : top + rows, left : left + columns], kernel
            )
    return y


@pytest.mark.parametrize(
    ('kernel', 'strides', 'padding', 'pads'),
    [
        ((3, 3), (1, 1), 'SAME', ((1, 1), (1, 1))),
        ((3, 2), (2, 1), 'VALID', ((0, 0), (0, 0))),
        ((5, 5), (2, 2), ((2, 1), (0, 2)), ((2, 1), (0, 2))),
    ],
)
def test_conv_is_a_sum_over_the_window_and_a_bias(kernel, strides, padding, pads):
    module = Conv(4, kernel, strides, padding)
    x, variables = prepared(module, (2, 7, 8, 3))
    kernel, bias = (np.asarray(variables['params'][name]) for name in ('kernel', 'bias'))
    expected = conv_by_loops(x, kernel, strides, pads) + bias
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4, atol=1e-4)


def test_grouped_conv_keeps_its_groups_apart():
    module = Conv(4, groups=2, use_bias=False)
    x, variables = prepared(module, (1, 5, 5, 6))
    kernel = variables['params']['kernel']
    assert kernel.shape == (3, 3, 3, 4)
    halves = [convolved(x[..., :3], kernel[..., :2]), convolved(x[..., 3:], kernel[..., 2:])]
    np.testing.assert_allclose(
        module.apply(variables, x), jnp.concatenate(halves, -1), rtol=1e-4, atol=1e-5
    )


def test_batch_norm_normalises_the_batch_and_moves_its_statistics():
    module = BatchNorm(momentum=0.7)
    x, variables = prepared(module, (6, 3, 3, 2), train=True)
    y, moved = module.apply(variables, x, train=True, mutable=['batch_stats'])
    moments = {'mean': np.mean(np.asarray(x), (0, 1, 2)), 'var': np.var(np.asarray(x), (0, 1, 2))}
    expected = normed(x, variables['params'], moments)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for name, value in moments.items():
        kept = 0.7 * variables['batch_stats'][name] + 0.3 * value
        np.testing.assert_allclose(moved['batch_stats'][name], kept, rtol=1e-5, atol=1e-6)


def test_batch_norm_uses_its_statistics_at_evaluation():
    module = BatchNorm()
    x, variables = prepared(module, (6, 3, 3, 2), train=False)
    expected = normed(x, variables['params'], variables['batch_stats'])
    np.testing.assert_allclose(module.apply(variables, x, train=False), expected, rtol=1e-4)


def test_initialisation_leaves_the_statistics_where_they_start():
    x = 5 + jnp.arange(8.0).reshape(4, 2)
    stats = BatchNorm().init(KEY, x, train=True)['batch_stats']
    np.testing.assert_array_equal(stats['mean'], 0)
    np.testing.assert_array_equal(stats['var'], 1)


def test_batch_norm_agrees_with_flax():
    theirs, ours = nn.BatchNorm(momentum=0.9), BatchNorm()
    x, variables = prepared(ours, (5, 4, 4, 3), train=True)

    def outputs(module, **options):
        y, state = module.apply(variables, x, mutable=['batch_stats'], **options)
        return y, state

    expected = outputs(theirs, use_running_average=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        outputs(ours, train=True),
        expected,
    )


def test_half_precision_is_normalised_with_float32_moments():
    module = BatchNorm(dtype=jnp.bfloat16)
    x, variables = prepared(module, (64, 4, 4, 2), train=True)
    half = (x + 3).astype(jnp.bfloat16)
    y, moved = module.apply(variables, half, train=True, mutable=['batch_stats'])
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {jnp.dtype('float32')}
    exact, _ = BatchNorm().apply(
        variables, half.astype(jnp.float32), train=True, mutable=['batch_stats']
    )
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=0.01, atol=0.01)


def test_squeeze_excite_gate_by_hand():
    module = SqueezeExcite(reduction=4)
    x, variables = prepared(module, (3, 5, 5, 8))
    assert variables['params']['squeeze']['kernel'].shape == (8, 2)
    gate = gate_of(x, variables['params'])
    expected = np.asarray(x) * gate[:, None, None, :]
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_relu6_has_no_slope_at_its_two_kinks(dtype):
    x = jnp.asarray([-1, 0, 3, 6, 7], dtype)
    value, slope = jax.vmap(jax.value_and_grad(relu6))(x)
    assert value.dtype == slope.dtype == dtype
    np.testing.assert_array_equal(value.astype(float), [0, 0, 3, 6, 6])
    np.testing.assert_array_equal(slope.astype(float), [0, 0, 1, 0, 0])


def test_swish_and_its_slope_are_those_of_jax():
    x = jnp.linspace(-20, 20, 401)
    ours, theirs = (jax.vmap(jax.value_and_grad(f))(x) for f in (swish, jax.nn.swish))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=3e-6)


def test_relu6_keeps_what_is_undefined():
    np.testing.assert_array_equal(relu6(jnp.asarray([jnp.nan, jnp.inf, -jnp.inf])), [np.nan, 6, 0])


def test_an_inverted_residual_drops_its_branch_for_some_images_and_doubles_the_others():
    block = InvertedResidual(8, 3, 1, expansion=1, squeeze=False, activation='relu6', drop_path=0.5)
    x, variables = prepared(block, (64, 2, 2, 8), train=False)
    key = {'dropout': KEY}
    evaluate = jax.jit(lambda v, x: block.apply(v, x, train=False))
    step = jax.jit(lambda v, x: block.apply(v, x, train=True, rngs=key, mutable=['batch_stats'])[0])
    whole = jax.jit(
        lambda v, x: block.clone(drop_path=0.0).apply(v, x, train=True, mutable=['batch_stats'])[0]
    )
    branch = np.asarray(whole(variables, x) - x)
    kept = np.asarray(step(variables, x) - x)
    dropped = (kept == 0).all((1, 2, 3))
    assert 16 < dropped.sum() < 48
    np.testing.assert_allclose(kept[~dropped], 2 * branch[~dropped], rtol=1e-3, atol=1e-4)
    assert np.abs(evaluate(variables, x) - x).min((1, 2, 3)).max() > 0


def test_the_blocks_of_efficientnet_are_dropped_more_and_more_often():
    rates = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, InvertedResidual):
            rates.append(context.module.drop_path)
        return call(*args, **kwargs)

    model = models.create('EfficientNetB0', 10)
    with nn.intercept_methods(record):
        jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, 32, 32, 3)), train=False))
    np.testing.assert_allclose(rates, 0.2 * np.arange(16) / 16)


@pytest.mark.parametrize(('width', 'stride'), [(6, 1), (8, 2)])
def test_residual_block_by_hand(width, stride):
    module = SEBlock(width, stride, reduction=2)
    x, variables = prepared(module, (2, 6, 6, 6), train=False)
    params, stats = variables['params'], variables['batch_stats']
    y = convolved(x, params['conv1']['kernel'], stride)
    y = np.maximum(normed(y, params['norm1'], stats['norm1']), 0)
    y = convolved(jnp.asarray(y), params['conv2']['kernel'])
    y = normed(y, params['norm2'], stats['norm2'])
    y = y * gate_of(y, params['se'])[:, None, None, :]
    shortcut = np.asarray(x)
    if stride == 2:
        shortcut = shortcut.reshape(2, 3, 2, 3, 2, 6).mean((2, 4))
        shortcut = np.einsum('bhwi,io->bhwo', shortcut, params['shortcut']['kernel'][0, 0])
        shortcut = normed(shortcut, params['shortcut_norm'], stats['shortcut_norm'])
    expected = np.maximum(shortcut + y, 0)
    np.testing.assert_allclose(applied(module, variables, x), expected, rtol=1e-3)


def test_a_block_starts_as_its_shortcut():
    block = SEBlock(8)
    x, _ = prepared(block, (2, 4, 4, 8), train=False)
    variables = jax.jit(lambda x: block.init(KEY, x, train=False))(x)
    np.testing.assert_allclose(applied(block, variables, x), np.maximum(x, 0), rtol=1e-6)


def test_inception_branches_by_hand():
    module = InceptionModule(32)
    x, variables = prepared(module, (2, 6, 6, 5), train=False)

    def unit(x, name):
        params, stats = variables['params'][name], variables['batch_stats'][name]
        y = convolved(jnp.asarray(x), params['Conv_0']['kernel'])
        return np.maximum(normed(y, params['BatchNorm_0'], stats['BatchNorm_0']), 0)

    pooled = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), 'SAME')
    branches = [
        unit(x, 'one'),
        unit(unit(x, 'three_reduce'), 'three'),
        unit(unit(unit(x, 'five_reduce'), 'five_a'), 'five_b'),
        unit(pooled, 'pool'),
    ]
    assert [branch.shape[-1] for branch in branches] == [8, 16, 4, 4]
    expected = np.concatenate(branches, -1)
    result = applied(module, variables, x)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def test_the_pool_branch_reads_the_pooled_tensor():
    module = InceptionModule(32)
    x, variables = prepared(module, (1, 5, 5, 3), train=False)
    corner = x.at[0, 1, 1].add(100.0)

    def at_origin(x):
        return np.asarray(applied(module, variables, x))[0, 0, 0, -4:]

    assert np.abs(at_origin(x) - at_origin(corner)).max() > 1


def test_conv_units_have_no_useless_bias():
    shapes = jax.eval_shape(lambda: ConvUnit(4, 3).init(KEY, jnp.zeros((1, 4, 4, 3)), train=False))
    assert set(shapes['params']['Conv_0']) == {'kernel'}


@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [
        (initializers.lecun_normal, nn.initializers.lecun_normal()),
        (initializers.glorot_uniform, nn.initializers.glorot_uniform()),
        (initializers.he_normal, nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')),
        (initializers.torch_uniform, nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')),
    ],
)
def test_flat_draws_are_those_of_jax(ours, theirs):
    for shape in ((7, 5), (3, 4, 6)):
        draws = [jax.jit(init, static_argnums=1)(KEY, shape) for init in (ours, theirs)]
        np.testing.assert_allclose(*draws, rtol=1e-6)


def test_torch_initialisation_has_torch_bounds():
    kernel = np.asarray(initializers.torch_uniform(KEY, (5, 5, 16, 32), jnp.float32))
    bound = 1 / np.sqrt(5 * 5 * 16)
    assert 0.99 * bound < np.abs(kernel).max() <= bound


def test_logits_widen_to_float32_only():
    assert widened(jnp.zeros(1, jnp.bfloat16)).dtype == jnp.float32
    assert widened(jnp.zeros(1, jnp.float32)).dtype == jnp.float32


def test_a_dense_layer_is_flax_s():
    ours, theirs = Dense(5), nn.Dense(5)
    x = jax.random.normal(jax.random.key(0), (3, 7))
    variables = theirs.init(jax.random.key(1), x)

    def weighted(layer, variables, x):
        return (layer.apply(variables, x) * jnp.arange(15.0).reshape(3, 5)).sum()

    actual = jax.value_and_grad(weighted, (1, 2))(ours, variables, x)
    expected = jax.value_and_grad(weighted, (1, 2))(theirs, variables, x)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), actual, expected)


def test_a_dense_layer_s_kernel_gradient_lies_as_the_kernel_does():
    program = jax.jit(jax.grad(lambda kernel, x: matmul(x, kernel).sum()))
    text = program.lower(jnp.ones((7, 5)), jnp.ones((3, 7))).as_text()
    assert 'transpose' not in text.partition('dot_general')[2]
