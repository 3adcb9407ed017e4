"""Models: parameter counts, shapes, precision, deterministic evaluation and invalid options."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cifar_jax import models
from cifar_jax.errors import UserError
from cifar_jax.models import summary
from cifar_jax.models.image_model import ImageModel, head_name
from cifar_jax.models.layers import Conv, Dense
from cifar_jax.ops.pool import global_avg_pool

KEY = jax.random.key(0)
IMAGE = (32, 32, 3)
NARROW_EFFICIENTNET = {
    'stem': 8,
    'widths': [8],
    'blocks': [1],
    'kernels': [3],
    'strides': [1],
    'expansions': [2],
    'top': 16,
}
NARROW = {
    'BaseNet': {'widths': [4], 'hidden': 8},
    'ComplexNet': {'widths': [4, 4], 'convs': [1, 2], 'dropouts': [0.3, 0.4], 'hidden': 8},
    'DenseHead': {'hidden': [8]},
    'EfficientNetB0': NARROW_EFFICIENTNET,
    'EfficientNetLite0': NARROW_EFFICIENTNET,
    'ImprovedNet': {'widths': [4], 'hidden': 8, 'batch_norm': 'before'},
    'InceptionNet': {'stem': [4], 'widths': [16], 'modules': [1]},
    'PlainCNN': {'widths': [4, 4], 'kernels': [3, 3], 'dropblock_sizes': [3], 'hidden': 8},
    'ResNet50': {'widths': [4], 'blocks': [1]},
    'SENet': {'widths': [8, 8], 'blocks': [1, 1], 'reduction': 4},
    'SimpleNet': {'widths': [4, 4], 'hidden': [8, 8]},
    'SmallVGG': {'widths': [4, 4]},
}


def table(model):
    return summary.table(model, *summary.trace(model, IMAGE))


def sizes(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def shapes(name):
    model = models.create(name, 10)
    images = jax.ShapeDtypeStruct((2, *IMAGE), jnp.float32)
    return jax.eval_shape(lambda images: model.init(KEY, images, train=False), images)


def narrow(name, dtype=jnp.float32, **options):
    """A small model, its variables and two images of 8x8."""
    model = models.create(name, 3, dtype, **{**NARROW[name], **options})
    images = jax.random.uniform(KEY, (2, 8, 8, 3))
    return model, jax.jit(lambda x: model.init(KEY, x, train=False))(images), images


@pytest.mark.parametrize(
    ('name', 'trained', 'with_statistics'),
    [
        ('PlainCNN', 2_784_250, 2_786_234),
        ('SmallVGG', 307_498, 307_498),
        ('SENet', 1_600_492, 1_604_092),
        ('InceptionNet', 658_618, 662_410),
    ],
)
def test_parameter_counts(name, trained, with_statistics):
    assert sizes(shapes(name)['params']) == trained
    assert sizes(shapes(name)) == with_statistics


@pytest.mark.parametrize(
    ('name', 'classes', 'options', 'trained', 'with_statistics'),
    [
        ('BaseNet', 25, {}, 24_197, 24_197),
        ('ImprovedNet', 25, {}, 1_258_553, 1_258_553),
        ('ImprovedNet', 25, {'batch_norm': 'before'}, 1_258_937, 1_259_321),
        ('ImprovedNet', 25, {'batch_norm': 'after'}, 1_258_937, 1_259_321),
        ('SimpleNet', 100, {}, 1_775_716, 1_777_636),
        ('ComplexNet', 100, {}, 15_038_116, 15_047_588),
        # As in S1 and S2, where only the sums were published.
        ('ResNet50', 200, {}, 23_944_392, 23_997_512),
        ('EfficientNetB0', 100, {}, 4_135_648, 4_177_664),
        # As PyTorch's reference package counts them.
        ('EfficientNetLite0', 1000, {}, 4_652_008, 4_694_024),
    ],
)
def test_published_counts_on_cifar100_stand_in_the_table(
    name, classes, options, trained, with_statistics
):
    text = table(models.create(name, classes, **options))
    total = next(line for line in text.splitlines() if 'total' in line).split()
    statistics = with_statistics - trained
    assert total[:4] == ['total', name, f'{classes}', f'{trained:,}']
    assert total[4:-1] == ([f'{statistics:,}'] if statistics else [])


@pytest.mark.parametrize(('hidden', 'count'), [((), 409_800), ((1024,), 2_303_176)])
def test_s1_s_heads_have_the_parameters_of_dense_layers(hidden, count):
    model = models.create('DenseHead', 200, hidden=hidden)
    features = jax.ShapeDtypeStruct((1, 1, 1, 2048), jnp.float32)
    assert sizes(jax.eval_shape(lambda x: model.init(KEY, x, train=False), features)) == count


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        ({'hidden': (1024,)}, 25_890_888),
        ({'convs': (64,), 'hidden': (1024,)}, 25_038_984),
    ],
)
def test_s1_s_fine_tuned_networks_have_their_published_counts(options, count):
    model = models.create('ResNet50', 200, **options)
    images = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    assert sizes(jax.eval_shape(lambda x: model.init(KEY, x, train=False), images)) == count


def test_dropout_of_a_head_needs_a_hidden_layer():
    with pytest.raises(UserError, match='must be 0 without hidden layers'):
        models.check('DenseHead', {'hidden': (), 'dropout': 0.75})


@pytest.mark.parametrize('name', sorted(models.MODELS))
def test_every_model_resizes_its_images(name):
    model, variables, images = narrow(name, input_size=12)
    resized = jax.image.resize(images, (2, 12, 12, 3), 'bilinear')
    plain = model.clone(input_size=0)
    features = functools.partial(model.apply, train=False, method='features')
    expected = functools.partial(plain.apply, train=False, method='features')
    np.testing.assert_allclose(
        jax.jit(features)(variables, images),
        jax.jit(expected)(variables, resized),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_size_of_resized_images_is_the_one_that_counts():
    model = models.create('SmallVGG', 10, input_size=64)
    assert summary.multiply_adds(model, IMAGE) == summary.multiply_adds(
        model.clone(input_size=0), (64, 64, 3)
    )


def test_batch_norm_of_improved_net_stands_before_or_after_the_relu():
    images = jax.random.normal(KEY, (2, 8, 8, 3))
    negative = {}
    for place in ('before', 'after'):
        model = models.create('ImprovedNet', 3, **{**NARROW['ImprovedNet'], 'batch_norm': place})
        variables = jax.jit(lambda x, model=model: model.init(KEY, x, train=False))(images)
        run = jax.jit(
            lambda v, x, model=model: model.apply(
                v, x, train=False, capture_intermediates=True, mutable=['intermediates']
            )
        )
        seen = run(variables, images)[1]['intermediates']
        negative[place] = np.min(seen['Conv_0']['__call__'][0]) < 0
    assert negative == {'before': True, 'after': False}


def test_senet_has_at_least_eight_se_blocks():
    assert sum('se' in block for block in shapes('SENet')['params'].values()) >= 8


def test_inception_has_at_least_six_modules_of_four_branches():
    blocks = shapes('InceptionNet')['params'].values()
    assert sum({'one', 'three', 'five_b', 'pool'} <= set(block) for block in blocks) >= 6


@pytest.mark.parametrize('name', models.MODELS)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_shapes_and_dtypes_of_a_training_step(name, dtype):
    model = models.create(name, 7, dtype, **NARROW[name])
    images = jax.ShapeDtypeStruct((4, *IMAGE), jnp.float32)

    def step(images):
        variables = model.init(KEY, images, train=False)
        logits, state = model.apply(
            variables,
            images,
            train=True,
            progress=jnp.float32(0.5),
            rngs={'dropout': KEY},
            mutable=['batch_stats'],
        )
        return variables, logits, state

    variables, logits, _ = jax.eval_shape(step, images)
    assert (logits.shape, logits.dtype) == ((4, 7), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


@pytest.mark.slow
@pytest.mark.parametrize('name', models.MODELS)
def test_bfloat16_gradients_are_finite_and_near_those_of_float32(name):
    options = {'dropblock_rate': 0.0, 'dropout': 0.0} if name == 'PlainCNN' else {}
    model, variables, images = narrow(name, **options)
    half, _, _ = narrow(name, jnp.bfloat16, **options)

    def loss(params, model):
        logits, _ = model.apply(
            {**variables, 'params': params},
            images,
            train=True,
            rngs={'dropout': KEY},
            mutable=['batch_stats'],
        )
        return jnp.mean(jnp.square(logits - 1))

    gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    value, gradients = gradient(variables['params'], half)
    exact, _ = gradient(variables['params'], model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype('float32')}
    np.testing.assert_allclose(value, exact, rtol=0.1)


@pytest.mark.parametrize('name', models.MODELS)
def test_evaluation_needs_no_key_and_treats_images_one_by_one(name):
    model, variables, images = narrow(name)
    evaluate = jax.jit(lambda images: model.apply(variables, images, train=False))
    together, alone = evaluate(images), evaluate(images[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-6)


def test_plain_cnn_draws_other_masks_for_other_keys():
    model, variables, images = narrow('PlainCNN')

    @jax.jit
    def logits(seed):
        key = jax.random.key(seed)
        return model.apply(
            variables, images, train=True, rngs={'dropout': key}, mutable=['batch_stats']
        )[0]

    np.testing.assert_array_equal(logits(1), logits(1))
    assert np.abs(logits(1) - logits(2)).max() > 1e-4


@pytest.mark.parametrize('schedule', ['constant', 'linear'])
def test_the_linear_schedule_starts_without_dropblock(schedule):
    model, variables, images = narrow('PlainCNN', dropout=0.0, dropblock_schedule=schedule)

    @jax.jit
    def logits(seed):
        return model.apply(
            variables,
            images,
            train=True,
            progress=jnp.float32(0.0),
            rngs={'dropout': jax.random.key(seed)},
            mutable=['batch_stats'],
        )[0]

    assert np.array_equal(logits(1), logits(2)) == (schedule == 'linear')


def test_multiply_adds_of_small_vgg_by_formula():
    pairs = [(3, 32, 32), (32, 32, 32), (32, 64, 16), (64, 64, 16), (64, 128, 8), (128, 128, 8)]
    expected = sum(9 * i * o * side**2 for i, o, side in pairs) + 128 * 4 * 4 * 10
    assert summary.multiply_adds(models.create('SmallVGG', 10), IMAGE) == expected == 38_653_952


@pytest.mark.parametrize(('name', 'count'), [('SENet', 78_546_720), ('InceptionNet', 84_576_768)])
def test_multiply_adds_stay_within_200_million(name, count):
    assert summary.multiply_adds(models.create(name, 10), IMAGE) == count <= 200_000_000


def test_multiply_adds_of_a_grouped_convolution():
    class Grouped(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return Conv(4, groups=2)(images)

    assert summary.multiply_adds(Grouped(), (8, 8, 6)) == 8 * 8 * 4 * 9 * 3


def test_the_table_counts_parameters_statistics_and_flops():
    text = table(models.create('PlainCNN', 10))
    total = next(line for line in text.splitlines() if 'total' in line)
    assert total.split() == ['total', 'PlainCNN', '10', '2,784,250', '1,984', '83,024,960']
    assert 'Conv_0' in text


@pytest.mark.parametrize(('memory', 'fits'), [(22_274_000, True), (22_273_999, False)])
def test_parameters_whose_gradients_do_not_fit_the_memory_are_refused(monkeypatch, memory, fits):
    model = models.create('PlainCNN', 10)  # 2,784,250 parameters of four bytes, twice
    variables, _ = summary.trace(model, IMAGE)
    monkeypatch.setattr(summary.machine, 'memory', lambda: memory)
    if fits:
        summary.require_memory(model, variables)
    else:
        with pytest.raises(UserError, match=r'2,784,250 parameters of PlainCNN .* smaller'):
            summary.require_memory(model, variables)


def test_the_table_puts_blocks_before_their_layers():
    text = table(models.create('SENet', 10, **NARROW['SENet']))
    order = [text.index(name) for name in ('stem', 'stage1_block1', 'conv1', 'squeeze', 'head')]
    assert order == sorted(order)


def test_lists_count_as_tuples():
    assert models.create('SENet', 10, **NARROW['SENet']).widths == (8, 8)


def test_no_dropblock_at_all_is_possible():
    assert models.create('PlainCNN', 10, dropblock_sizes=[]).dropblock_sizes == ()


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('SEnet', {}, "model.name='SEnet' is not valid: did you mean 'SENet'"),
        (
            '',
            {},
            'known: BaseNet, ComplexNet, DenseHead, EfficientNetB0, EfficientNetLite0, ',
        ),
        ('SENet', {'width': [8]}, "no option 'width': did you mean 'widths'"),
        ('SENet', {'classes': 5}, "no option 'classes'"),
        ('SENet', {'widths': [8, -8, 8, 8]}, 'whole number above 0'),
        ('SENet', {'widths': 8}, 'must be a list'),
        ('SENet', {'widths': []}, 'at least one entry'),
        ('SENet', {'widths': [8, 8]}, 'as many entries'),
        ('SENet', {'reduction': 0}, 'whole number above 0'),
        ('SENet', {'reduction': '8'}, 'must be a number'),
        ('SENet', {'reduction': 2.5}, 'whole number'),
        ('SENet', {'zero_init': 1}, 'True or False'),
        ('PlainCNN', {'dropblock_gamma': 'publishd'}, "did you mean 'published'"),
        ('PlainCNN', {'dropblock_schedule': 'zzz'}, 'known: constant, linear'),
        ('PlainCNN', {'dropblock_rate': 1.0}, 'at least 0 and below 1'),
        ('PlainCNN', {'dropout': -0.1}, 'at least 0 and below 1'),
        ('PlainCNN', {'dropout': float('nan')}, 'must be a number'),
        ('PlainCNN', {'dropout': True}, 'must be a number'),
        ('PlainCNN', {'kernels': [3]}, 'as many entries'),
        ('ImprovedNet', {'batch_norm': 'befor'}, "did you mean 'before'"),
        ('ComplexNet', {'convs': [2, 2]}, 'as many entries'),
        ('ResNet50', {'blocks': [3, 4]}, 'as many entries'),
        ('EfficientNetB0', {'strides': [1]}, 'as many entries'),
        ('EfficientNetB0', {'drop_path': 1.0}, 'at least 0 and below 1'),
        ('EfficientNetLite0', {'activation': 'relu'}, "did you mean 'relu6'"),
        ('EfficientNetLite0', {'convs': [0]}, 'entries are each a whole number above 0'),
        ('ResNet50', {'hidden': [8, 2.5]}, 'entries are each a whole number above 0'),
        ('ResNet50', {'hidden': [8], 'hidden_dropout': 1.0}, 'at least 0 and below 1'),
        ('ResNet50', {'last_stage': 5}, 'must be at most 4'),
        ('EfficientNetB0', {'last_stage': 8}, 'must be at most 7'),
        ('ResNet50', {'convs_dropout': 0.2}, 'must be 0 without config.model.convs'),
        ('ComplexNet', {'dropouts': [0.3, 0.4, 0.4, 0.4, 1.0]}, 'at least 0 and below 1'),
        ('PlainCNN', {'dropblock_sizes': [1] * 6}, 'at most as many entries'),
        ('InceptionNet', {'widths': [24, 32]}, 'multiples of 16'),
    ],
)
def test_refused_options(name, options, message):
    with pytest.raises(UserError) as error:
        models.check(name, options)
    assert message in str(error.value)


@pytest.mark.parametrize('name', models.MODELS)
def test_defaults_and_narrow_variants_pass_the_check(name):
    models.check(name, {})
    models.check(name, NARROW[name])


@pytest.mark.parametrize('name', models.MODELS)
def test_logits_are_the_head_s_dense_layer_on_the_features(name):
    model, variables, images = narrow(name)
    features = model.apply(variables, images, train=False, method='features')
    head = variables['params'][head_name(model)]
    logits = model.apply(variables, images, train=False)
    np.testing.assert_allclose(
        features @ head['kernel'] + head['bias'][None], logits, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize('name', models.MODELS)
def test_only_the_head_depends_on_the_number_of_classes(name):
    model, variables, _ = narrow(name)
    other = model.clone(classes=5)
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    others = jax.eval_shape(lambda x: other.init(KEY, x, train=False), images)
    assert jax.tree.structure(variables) == jax.tree.structure(others)
    differing = {
        path[:2]
        for (path, here), there in zip(
            jax.tree_util.tree_leaves_with_path(variables), jax.tree.leaves(others), strict=True
        )
        if here.shape != there.shape
    }
    assert [tuple(key.key for key in path) for path in differing] == [('params', head_name(model))]


@pytest.mark.parametrize(
    ('name', 'head'),
    [('SmallVGG', 'Dense_0'), ('PlainCNN', 'Dense_1'), ('SimpleNet', 'Dense_2'), ('SENet', 'head')],
)
def test_heads_keep_the_names_that_checkpoints_have(name, head):
    assert head_name(models.create(name, 10)) == head


class Unchecked(ImageModel):
    """A model whose options are known by their defaults alone."""

    width: int = 4
    scale: float = 2.0
    depths: tuple[int, ...] = ()
    mode: Literal['a', 'b'] = 'a'

    def setup(self):
        self.head = Dense(self.classes)

    @nn.compact
    def features(self, images, *, train, progress=1.0):
        return global_avg_pool(Conv(self.width)(images)) * self.scale


def test_a_model_needs_no_own_check(monkeypatch):
    monkeypatch.setitem(models.MODELS, 'Unchecked', Unchecked)
    assert models.create('Unchecked', 3, width=2, scale=7.5, depths=[1], mode='b').scale == 7.5
    for options in ({'width': 0}, {'scale': 'x'}, {'depths': 3}, {'mode': 'c'}):
        with pytest.raises(UserError, match=f'config.model.{next(iter(options))}='):
            models.check('Unchecked', options)
