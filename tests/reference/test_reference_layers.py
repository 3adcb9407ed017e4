"""Outputs and gradients of every layer of the NumPy reference, compared with JAX and `jax.vjp`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_cases import Case, distinct, failures, normal

from cifar_jax.ops import backend
from cifar_jax.ops import pool as ops
from cifar_jax.reference import losses, windows
from cifar_jax.reference.activations import GELU, LeakyReLU, ReLU, ReLU6, Sigmoid, SiLU, Softmax
from cifar_jax.reference.combine import Add, Concatenate, Gate
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense, Reshape
from cifar_jax.reference.dropout import DropBlock, Dropout
from cifar_jax.reference.layers import ShapeError
from cifar_jax.reference.norm import BatchNorm
from cifar_jax.reference.pool import AvgPool, GlobalAvgPool, MaxPool

# XLA compiles each example: many for windows, statistics and the loss, few for the rest.
many = settings(max_examples=20, deadline=None, derandomize=True)
few = settings(max_examples=4, deadline=None, derandomize=True)
DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 2**16)
SIZES = st.integers(1, 5)


@st.composite
def layouts(draw, square):
    """Draws a window, strides, padding and an image size.

    XLA aborts the process at some convolutions of images smaller than the window, or with strides
    larger than it, so none of these are drawn.
    """
    kh = draw(st.integers(1, 3))
    kw = kh if square else draw(st.integers(1, 3))
    down = draw(st.integers(1, kh))
    across = down if square else draw(st.integers(1, kw))
    size = tuple(k + draw(st.integers(0, 4)) for k in (kh, kw))
    # At most so much padding that every window holds a pixel.
    pairs = st.tuples(*(st.tuples(*[st.integers(0, k - 1)] * 2) for k in (kh, kw)))
    padding = draw(st.sampled_from(['same', 'valid']) | pairs)
    return (kh, kw), (down, across), padding, size


@st.composite
def convolutions(draw):
    """Draws the options of a convolution, at times depthwise, and the shape of its inputs."""
    window, strides, padding, size = draw(layouts(square=False))
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    features = groups * draw(st.integers(1, 3))
    options = features, window, strides, padding, groups, draw(st.booleans())
    return options, (draw(st.integers(1, 3)), *size, channels)


@st.composite
def pools(draw):
    """Draws the options of a pooling layer, and the shape of its inputs."""
    (window, _), (stride, _), padding, size = draw(layouts(square=True))
    options = window, draw(st.sampled_from([stride, None])), padding
    return options, (draw(st.integers(1, 3)), *size, draw(st.integers(1, 3)))


def images(least=1):
    """Draws shapes of image batches, with every axis at least `least`."""
    return st.tuples(*[st.integers(least, least + 4)] * 4)


@pytest.mark.slow
@many
@given(convolutions(), DTYPES, SEEDS)
def test_convolution(drawn, dtype, seed):
    options, shape = drawn
    assert not failures(cases.conv_case(Conv(*options), normal(seed, shape, dtype), seed))


def test_convolution_in_chunks_is_the_same(monkeypatch):
    monkeypatch.setattr(windows, 'CHUNK_BYTES', 1)
    layer = Conv(4, (3, 2), (2, 1), 'same', groups=2)
    assert not failures(cases.conv_case(layer, normal(0, (5, 6, 5, 2), np.float64), 1))


@pytest.mark.slow
@many
@given(pools(), DTYPES, SEEDS)
def test_max_pool(drawn, dtype, seed):
    options, shape = drawn
    assert not failures(cases.max_pool_case(MaxPool(*options), distinct(seed, shape, dtype)))


@pytest.mark.parametrize(
    ('layer', 'options'),
    [
        (MaxPool(2, 1, 'same'), (2, 1, 'SAME')),
        (MaxPool(3, 1, 'same'), (3, 1, 'SAME')),
        (MaxPool(3, 1), (3, 1, 'VALID')),
        (MaxPool(2, tie=0.5), (2,)),
        (MaxPool(2, None, 'same', tie=0.5), (2, None, 'SAME')),
    ],
)
def test_tied_values_share_the_gradient_as_in_flax_models(layer, options):
    def in_jax(values, x):
        with backend.use('xla'):
            return ops.max_pool(x, *options)

    tied = np.random.default_rng(0).integers(0, 3, (3, 7, 6, 4)).astype(np.float64)
    assert not failures(Case(layer, in_jax, (tied,)))


@pytest.mark.slow
@many
@given(pools(), DTYPES, SEEDS)
def test_average_pool(drawn, dtype, seed):
    options, shape = drawn
    assert not failures(cases.avg_pool_case(AvgPool(*options), normal(seed, shape, dtype)))


@few
@given(images(), DTYPES, SEEDS)
def test_global_average_pool(shape, dtype, seed):
    x = normal(seed, shape, dtype)
    assert not failures(Case(GlobalAvgPool(), lambda values, x: jnp.mean(x, (1, 2)), (x,)))


@few
@given(SIZES, SIZES, SIZES, DTYPES, SEEDS)
def test_dense(batch, inputs, features, dtype, seed):
    layer, x = Dense(features), normal(seed, (batch, inputs), dtype)

    def in_jax(values, x):
        return jnp.dot(x, values['kernel'], precision='highest') + values['bias'].reshape(1, -1)

    assert not failures(Case(layer, in_jax, (x,), cases.parameters(layer, x, seed)))


@few
@given(images(), st.booleans(), DTYPES, SEEDS)
def test_reshape(shape, flatten, dtype, seed):
    batch, height, width, channels = shape
    layer = Reshape() if flatten else Reshape((channels, height * width))
    target = (batch, height * width * channels) if flatten else (batch, channels, height * width)
    x = normal(seed, shape, dtype)
    assert not failures(Case(layer, lambda values, x: x.reshape(target), (x,)))


@pytest.mark.slow
@many
@given(images(least=2) | st.tuples(st.integers(8, 12), SIZES), st.booleans(), DTYPES, SEEDS)
def test_batch_norm(shape, train, dtype, seed):
    x = normal(seed, shape, dtype, 2.0) + dtype(1)
    layer = BatchNorm(epsilon=1e-3)
    assert not failures(cases.batch_norm_case(layer, x, seed, train=train))


@few
@given(images(least=2), st.floats(0, 1), DTYPES, SEEDS)
def test_moving_statistics_are_weighted_by_the_momentum(shape, momentum, dtype, seed):
    x = normal(seed, shape, dtype)
    layer = BatchNorm(momentum)
    values = cases.batch_norm_case(layer, x, seed, train=True).values
    _, saved = layer.forward(values, x, train=True, mask=None)
    updated = layer.updated_statistics(values, saved)
    for name, batch in (('mean', np.mean(x, (0, 1, 2))), ('var', np.var(x, (0, 1, 2)))):
        expected = momentum * values[name] + (1 - momentum) * batch
        np.testing.assert_allclose(updated[name], expected, rtol=1e-4, atol=1e-5)
        assert updated[name].dtype == dtype


@few
@given(images(), st.booleans(), st.booleans(), DTYPES, SEEDS)
def test_dropped_values_are_multiplied_by_the_mask_in_training_only(
    shape, blocks, train, dtype, seed
):
    layer = DropBlock(0.5, 2) if blocks else Dropout(0.5)
    mask = layer.draw_mask(np.random.default_rng(seed), shape).astype(dtype)

    def in_jax(values, x):
        return x * jnp.broadcast_to(mask, shape) if train else x

    case = Case(layer, in_jax, (normal(seed, shape, dtype),), train=train, mask=mask)
    assert not failures(case)


@pytest.mark.parametrize('rate', [0.1, 0.5, 0.8])
def test_dropout_zeroes_the_rate_and_keeps_the_mean(rate):
    mask = Dropout(rate).draw_mask(np.random.default_rng(0), (100, 1000))
    np.testing.assert_array_equal(np.unique(mask), [0, 1 / (1 - rate)])
    np.testing.assert_allclose((mask == 0).mean(), rate, atol=0.01)
    np.testing.assert_allclose(mask.mean(), 1, atol=0.03)


@pytest.mark.parametrize('size', [1, 2, 3, 4])
def test_dropblock_zeroes_whole_blocks_of_all_channels(size):
    mask = DropBlock(0.2, size).draw_mask(np.random.default_rng(0), (20, 12, 9, 5))
    assert mask.shape == (20, 12, 9, 1)
    dropped, margin = mask[..., 0] == 0, ((0, 0), (size - 1,) * 2, (size - 1,) * 2)
    view = np.lib.stride_tricks.sliding_window_view
    # Blocks are cut at the border, so pixels beyond it count as dropped.
    padded = np.pad(dropped, margin, constant_values=True)
    blocks = view(padded, (size, size), (1, 2)).all((-2, -1))
    np.testing.assert_array_equal(view(blocks, (size, size), (1, 2)).any((-2, -1)), dropped)
    assert 0 < (mask == 0).mean() < 1


@pytest.mark.parametrize('size', [1, 3, 4])
def test_dropblock_drops_the_fraction_expected_of_independent_seeds(size):
    mask = DropBlock(0.3, size).draw_mask(np.random.default_rng(0), (500, 20, 20, 1))
    inside = mask[:, 4:-4, 4:-4]
    expected = 1 - (1 - 0.3 / size**2) ** size**2
    np.testing.assert_allclose((inside == 0).mean(), expected, atol=0.01)


def test_dropblock_keeps_the_mean_of_the_batch():
    mask = DropBlock(0.3, 3).draw_mask(np.random.default_rng(0), (4, 9, 9, 2))
    np.testing.assert_allclose(mask.mean(), 1, rtol=1e-12)


def test_dropblock_that_drops_everything_stays_finite():
    mask = DropBlock(1.0, 1).draw_mask(np.random.default_rng(0), (2, 3, 3, 1))
    np.testing.assert_array_equal(mask, 0)


def test_a_block_larger_than_the_map_is_cropped_to_it():
    mask = DropBlock(0.5, 8).draw_mask(np.random.default_rng(0), (50, 1, 5, 1))
    np.testing.assert_allclose((mask == 0).mean(), 0.5, atol=0.1)


@pytest.mark.parametrize(
    ('layer', 'in_jax'), cases.ACTIVATIONS, ids=[str(layer) for layer, _ in cases.ACTIVATIONS]
)
@pytest.mark.parametrize(
    ('shape', 'dtype'), [((5, 4), np.float64), ((3, 2, 5, 4), np.float32)], ids=['rows', 'maps']
)
def test_activation(layer, in_jax, shape, dtype):
    x = normal(0, shape, dtype, 4.0)
    assert not failures(Case(layer, lambda values, x: in_jax(x), (x,)))


@pytest.mark.parametrize(('layer', 'slope'), [(ReLU(), 0), (ReLU6(), 0), (LeakyReLU(0.3), 1)])
def test_slope_at_the_kink(layer, slope):
    np.testing.assert_array_equal(layer.slope(np.zeros(2)), slope)


def test_slope_at_the_upper_kink_of_relu6_is_zero():
    np.testing.assert_array_equal(ReLU6().slope(np.full(2, 6.0)), 0)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('layer', [Sigmoid(), SiLU(), GELU(), GELU(tanh=True), Softmax()], ids=str)
def test_large_inputs_do_not_overflow(layer, dtype):
    x = np.array([[-1e4, 0.0, 1e4]], dtype)
    y, saved = layer.forward({}, x, train=True, mask=None)
    (dx,), _ = layer.backward({}, saved, np.ones_like(y))
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@few
@given(images(), st.integers(1, 4), DTYPES, SEEDS)
def test_add(shape, count, dtype, seed):
    inputs = tuple(normal(seed + place, shape, dtype) for place in range(count))
    assert not failures(Case(Add(), lambda values, *xs: sum(xs[1:], xs[0]), inputs))


@few
@given(images(), st.lists(st.integers(1, 4), min_size=1, max_size=4), DTYPES, SEEDS)
def test_concatenate(shape, channels, dtype, seed):
    inputs = tuple(
        normal(seed + place, (*shape[:3], count), dtype) for place, count in enumerate(channels)
    )
    assert not failures(Case(Concatenate(), lambda values, *xs: jnp.concatenate(xs, -1), inputs))


@few
@given(images(), DTYPES, SEEDS)
def test_gate(shape, dtype, seed):
    x, gate = normal(seed, shape, dtype), normal(seed + 1, (shape[0], shape[3]), dtype)
    assert not failures(
        Case(Gate(), lambda values, x, gate: x * gate[:, None, None, :], (x, gate)),
    )


@st.composite
def labels(draw, batch, classes):
    """Draws classes, or distributions over them."""
    seed = draw(SEEDS)
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        return rng.integers(0, classes, batch)
    return rng.dirichlet(np.ones(classes), batch)


@pytest.mark.slow
@many
@given(SIZES, st.integers(2, 6), st.sampled_from([0.0, 0.1, 0.9]), DTYPES, SEEDS, st.data())
def test_cross_entropy(batch, classes, smoothing, dtype, seed, data):
    logits = normal(seed, (batch, classes), dtype, 3.0)
    errors = cases.loss_errors(logits, data.draw(labels(batch, classes)), smoothing)
    assert max(errors.values()) <= cases.LIMITS[np.dtype(dtype)]


def test_cross_entropy_of_huge_logits_is_finite():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 0.0, 1e4]])
    assert max(cases.loss_errors(logits, np.array([1, 2]), 0.1).values()) <= 1e-10


def test_labels_that_sum_to_more_than_one_weigh_more():
    weights = np.array([[1.0, 2.0, 0.5], [0.1, 0.0, 0.2]])
    assert max(cases.loss_errors(normal(0, (2, 3), np.float64), weights, 0.0).values()) <= 1e-10


@few
@given(st.lists(SIZES, min_size=1, max_size=3), st.floats(0, 10), SEEDS)
def test_l2(sizes, strength, seed):
    arrays = [normal(seed + size, (size, 2), np.float64) for size in sizes]
    with jax.enable_x64(True):
        expected, gradients = jax.jit(
            jax.value_and_grad(lambda arrays: strength / 2 * sum(jnp.sum(w**2) for w in arrays))
        )(arrays)
    loss, loss_gradients = losses.l2(arrays, strength)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    for actual, gradient in zip(loss_gradients, gradients, strict=True):
        np.testing.assert_allclose(actual, gradient, rtol=1e-12)


@pytest.mark.parametrize(
    ('layer', 'shapes', 'message'),
    [
        (Conv(4, (5, 5), padding='valid'), [(4, 6, 3)], r'\(5, 5\) does not fit into \(4, 6\)'),
        (Conv(4, groups=2), [(4, 4, 3)], '3 channels and 4 features .* into 2 groups'),
        (Conv(4, padding='full'), [(4, 4, 3)], "not 'full'"),
        (Conv(4, strides=(0, 1)), [(4, 4, 3)], 'at least 1'),
        (Conv(4, (0, 3)), [(4, 4, 3)], 'at least 1'),
        (MaxPool(3), [(2, 2, 1)], r'\(3, 3\) does not fit into \(2, 2\)'),
        (AvgPool(2), [(8,)], r'AvgPool takes \(height, width, channels\), not \(8,\)'),
        (GlobalAvgPool(), [(8,)], r'not \(8,\)'),
        (Dense(3), [(2, 2, 1)], r'\(2, 2, 1\): flatten them first'),
        (Reshape((3, 3)), [(2, 2, 2)], r'\(2, 2, 2\) cannot become \(3, 3\)'),
        (Add(), [(2, 2, 1), (2, 2, 2)], r'equal shapes, not \(2, 2, 1\), \(2, 2, 2\)'),
        (Concatenate(), [(2, 2, 1), (2, 3, 1)], r'differ in size: \(2, 2, 1\), \(2, 3, 1\)'),
        (Gate(), [(2, 2, 3), (2,)], r'a gate of \(2,\) does not fit maps of \(2, 2, 3\)'),
    ],
)
def test_unfitting_inputs_raise_an_error_with_their_shapes(layer, shapes, message):
    with pytest.raises(ShapeError, match=message):
        layer.output_shape(*shapes)
