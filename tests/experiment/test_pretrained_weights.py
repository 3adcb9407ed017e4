"""Runs that start from weights of other libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cifar_jax import models
from cifar_jax.errors import UserError
from cifar_jax.experiment import first_weights
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.models.image_model import head_names
from cifar_jax.models.pretrained import safetensors_files
from cifar_jax.training import weights
from cifar_jax.training.trainers import trainer_of

OPTIONS = {
    'stem': 4,
    'widths': (4,),
    'blocks': (1,),
    'kernels': (3,),
    'strides': (1,),
    'expansions': (1,),
    'top': 6,
}
# One of the names of PyTorch's package for each tensor of such a network.
MODULES = {
    'stem': '_conv_stem',
    'stem_norm': '_bn0',
    'stage1_block1/depthwise': '_blocks.0._depthwise_conv',
    'stage1_block1/depthwise_norm': '_blocks.0._bn1',
    'stage1_block1/project': '_blocks.0._project_conv',
    'stage1_block1/project_norm': '_blocks.0._bn2',
    'top': '_conv_head',
    'top_norm': '_bn1',
    'head': '_fc',
}
WEIGHTS = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def shapes(classes=3, **options):
    model = models.create('EfficientNetLite0', classes, **OPTIONS, **options)
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def in_pytorch():
    """Weights of the network by our names, and as PyTorch's package has them."""
    rng = np.random.default_rng(0)
    ours, theirs = {}, {}
    for name, leaf in weights.named(shapes()).items():
        ours[name] = rng.normal(size=leaf.shape).astype(np.float32)
        module, weight = name.split('/', 1)[1].rsplit('/', 1)
        axes = (3, 2, 0, 1) if leaf.ndim == 4 else tuple(range(leaf.ndim))[::-1]
        theirs[f'{MODULES[module]}.{WEIGHTS[weight]}'] = ours[name].transpose(axes)
    return ours, theirs


def read(init_from):
    config = get_defaults()
    config.model.update(name='EfficientNetLite0', **OPTIONS)
    model = trainer_of(config.model.name).model(config, 1, jnp.float32)
    return first_weights.read(str(init_from), model)


def match(init_from, classes=3, **options):
    return weights.match(read(init_from), shapes(classes), heads=['head'], **options)


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'weights.safetensors'


def test_every_tensor_of_another_library_is_loaded_by_its_name_and_layout(file):
    ours, theirs = in_pytorch()
    safetensors_files.write(file, theirs)
    loaded = match(file).arrays
    assert loaded.keys() == ours.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_a_head_for_other_classes_is_left_fresh(file):
    safetensors_files.write(file, in_pytorch()[1])
    account = match(file, classes=5).account
    assert account[1] == (
        '2 left fresh: params/head/bias (3 classes there, 5 here), params/head/kernel (3 classes '
        'there, 5 here)'
    )


def test_weights_without_a_head_leave_it_fresh(file):
    body = {name: a for name, a in in_pytorch()[1].items() if not name.startswith('_fc')}
    safetensors_files.write(file, body)
    account = match(file).account
    assert account[1] == (
        '2 left fresh: params/head/bias (absent there), params/head/kernel (absent there)'
    )


def test_layers_that_the_published_network_lacks_are_left_fresh(file):
    safetensors_files.write(file, in_pytorch()[1])
    expected = shapes(hidden=(4,), convs=(5,))
    heads = head_names(models.create('EfficientNetLite0', 3, hidden=(4,), convs=(5,)))
    fresh = weights.match(read(file), expected, heads=heads).account[1]
    assert fresh.partition(': ')[2].split(', ') == [
        *('params/conv1/bias (absent there)', 'params/conv1/kernel (absent there)'),
        'params/head/bias (of other features there)',
        'params/head/kernel (of other features there)',
        *('params/hidden1/bias (absent there)', 'params/hidden1/kernel (absent there)'),
    ]


def test_weights_of_the_end_that_is_cut_off_are_left_out(file):
    safetensors_files.write(file, in_pytorch()[1])
    config = get_defaults()
    config.model.update(name='EfficientNetLite0', **OPTIONS, last_stage=1)
    model = trainer_of('EfficientNetLite0').model(config, 3, jnp.float32)
    source = first_weights.read(str(file), model)
    account = weights.match(source, shapes(last_stage=1), heads=['head']).account
    assert {name.split('/')[1] for name in source.arrays} == {
        *('stem', 'stem_norm', 'stage1_block1')
    }
    assert account[1] == (
        '2 left fresh: params/head/bias (absent there), params/head/kernel (absent there)'
    )


def without(name):
    return lambda arrays: {key: a for key, a in arrays.items() if key != name}


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (without('_bn0.weight'), 'params/stem_norm/scale is absent there and float32[4] here'),
        (without('_fc.bias'), 'params/head/bias is absent there and float32[3] here'),
        (
            lambda arrays: arrays | {'_blocks.1._bn1.bias': np.zeros(2, np.float32)},
            '_blocks.1._bn1.bias is float32[2] there and absent here',
        ),
        (
            lambda arrays: arrays | {'_bn1.bias': np.zeros(2, np.float32)},
            'params/top_norm/bias is float32[2] there and float32[6] here',
        ),
    ],
)
def test_a_missing_surplus_or_wrong_tensor_is_named(file, change, named):
    safetensors_files.write(file, change(in_pytorch()[1]))
    with pytest.raises(UserError, match=r'^config\.init_from: .* is of another network: ') as error:
        match(file)
    assert f': {named}. ' in str(error.value)


def test_layers_of_other_libraries_can_be_skipped_by_their_names(file):
    surplus = {'_blocks.1._bn1.bias': np.zeros(2, np.float32)}
    safetensors_files.write(file, in_pytorch()[1] | surplus)
    assert match(file, skip=('_blocks.1*',)).account[1] == '1 unused: _blocks.1._bn1.bias'


@pytest.mark.parametrize('init_from', ['absent.safetensors', 'absent.h5', 'hf:name'])
def test_missing_weights_are_one_sentence_with_the_key(init_from):
    with pytest.raises(UserError, match=r'^config\.init_from: [^\n]*\.$'):
        read(init_from)
