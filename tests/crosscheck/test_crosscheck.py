"""Comparison of the Flax models with the NumPy reference."""

import json
import logging
import math
import pathlib

import jax
import jax.numpy as jnp
import narrow_models
import numpy as np
import optax
import pytest
from flax import linen as nn

from cifar_jax import gradcheck
from cifar_jax.crosscheck import check as report
from cifar_jax.crosscheck import comparison, differences, networks, variables
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.ops import backend
from cifar_jax.reference import graph as graphs
from cifar_jax.reference.activations import LeakyReLU
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.dense import Dense
from cifar_jax.reference.losses import cross_entropy
from cifar_jax.reference.norm import BatchNorm
from cifar_jax.reference.optimizers import SGD, Adam
from cifar_jax.reference.pool import AvgPool
from cifar_jax.training.optimizers import make_optimizer

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
SMOKE = f'{CONFIGS}/small_vgg.py:smoke'


# Narrow versions of all models are compared below.
@pytest.mark.slow
@pytest.mark.parametrize(
    ('file', 'name'),
    [
        ('small_vgg.py:smoke', 'SmallVGG'),
        ('plain_cnn.py:smoke', 'PlainCNN'),
        ('senet.py:smoke', 'SENet'),
    ],
)
def test_the_model_of_a_config_agrees_with_its_reference(file, name):
    config = configs.load(f'{CONFIGS}/{file}')
    assert config.model.name == name
    result = report.check(config, images=4, with_differences=name == 'SmallVGG')
    assert result['failures'] == []
    assert [row['layer'] for row in result['rows']][-1] == 'loss'
    # The loss of an untrained network is a little above that of a uniform guess.
    assert result['loss'] < 3 * math.log(10)
    errors = [row['differences'] for row in result['rows'] if row['params'] is not None]
    assert all((value is not None) == (name == 'SmallVGG') for value in errors)


BACKBONES = ('ResNet50', 'EfficientNetB0', 'EfficientNetLite0')
SLOW_TO_COMPILE = ('SENet', 'InceptionNet', 'ComplexNet', *BACKBONES)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW_TO_COMPILE else ())
        for name in narrow_models.OPTIONS
    ],
)
def test_every_parameter_statistic_and_mask_of_a_model_is_compared(name):
    recorded = narrow_models.recorded(name)
    rows = {row.layer: row for row in comparison.compare(recorded.pair(), seed=None)}
    for field, collection in (('params', 'params'), ('statistics', 'batch_stats')):
        layers = {layer for layer, row in rows.items() if getattr(row, field) is not None}
        assert layers == variables.by_path(recorded.variables.get(collection, {})).keys()
    dropping = {node.name for node in recorded.graph.nodes if 'Drop' in type(node.layer).__name__}
    assert recorded.flax.masks.keys() == dropping
    reading = {node.name for node in recorded.graph.nodes if type(node.layer) in (Conv, Dense)}
    compared = {row.layer for row in rows.values() if row.inputs is not None}
    assert reading <= {variables.node_name(recorded.graph, layer) for layer in compared}
    assert recorded.failures() == []


@pytest.mark.parametrize(
    ('name', 'node', 'wrong', 'field', 'layer'),
    [
        ('SmallVGG', 'Conv_2', LeakyReLU(0.1), 'output', 'Conv_2, Conv'),
        ('SmallVGG', 'pool_0', AvgPool(2), 'output', 'Conv_2, Conv'),
        ('PlainCNN', 'leaky_relu', LeakyReLU(0.02), 'output', 'Dropout_0, Dropout'),
        ('PlainCNN', 'BatchNorm_1', BatchNorm(0.8), 'statistics', 'BatchNorm_1, BatchNorm'),
        ('PlainCNN', 'BatchNorm_1', BatchNorm(epsilon=1e-6), 'output', 'BatchNorm_1, BatchNorm'),
        (
            'SENet',
            'stage2_block1/pool',
            AvgPool(2, None, ((1, 0), (0, 0))),
            'output',
            'stage2_block1/shortcut, Conv',
        ),
    ],
)
def test_a_wrong_layer_of_the_reference_is_reported_by_name(name, node, wrong, field, layer):
    recorded = narrow_models.recorded(name)
    place = [n.name for n in recorded.graph.nodes].index(node)
    right = recorded.graph.nodes[place]
    recorded.graph.nodes[place] = right._replace(layer=wrong)
    try:
        sentences = [text for text in recorded.failures() if f': {field} differ by ' in text]
    finally:
        recorded.graph.nodes[place] = right
    assert sentences[0].startswith(f'{layer}: ')
    assert recorded.failures() == []


def test_the_error_of_another_shape_is_infinite():
    assert comparison.error(np.ones((2, 3)), np.ones((3, 2))) == math.inf


def test_the_error_of_a_missing_parameter_is_infinite():
    assert comparison.errors(
        {'kernel': np.ones(2)}, {'kernel': np.ones(2), 'bias': np.ones(2)}
    ) == (math.inf)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_an_error_that_is_not_finite_is_a_failure(value):
    row = comparison.Row('head', 'Dense', None, value, None, None, None)
    assert comparison.failures([row]) == [
        f'head, Dense: params differ by {value}, above {comparison.TOLERANCE:.0e}'
    ]


def test_errors_are_relative_to_the_largest_value_or_the_floor():
    assert comparison.error(np.array([1.0, 4.5]), np.array([1.0, 4.0])) == 0.125
    assert comparison.error(np.array([1.0, 4.5]), np.array([1.0, 4.0]), floor=8.0) == 0.0625


def test_parameters_without_a_node_raise_an_error():
    graph = narrow_models.graph('SmallVGG')
    with pytest.raises(KeyError, match='Conv_9 has no node in the reference'):
        variables.to_reference(graph, {'Conv_9': {'kernel': np.ones(2)}})


def _squares(arrays):
    return float(sum((array**2).sum() for array in arrays.values()))


def _differences(loss, gradient):
    point = {'kernel': np.array([1.0, -2.0, 3.0]), 'bias': np.array([0.5])}
    gradients = {name: gradient(array) for name, array in point.items()}
    return differences.error(loss, point, gradients, np.random.default_rng(0), 1e-6)


def test_differences_confirm_a_gradient():
    assert _differences(_squares, lambda w: 2 * w) < 1e-9


def test_differences_refute_a_wrong_gradient():
    assert _differences(_squares, lambda w: 2.001 * w) > 1e-4


def test_directions_across_a_kink_are_drawn_again():
    def kinked(arrays):
        # The kink is a third of a step away, on one side of the bias.
        crossed = arrays['bias'][0] > 0.5 + differences.STEP / 3
        return _squares(arrays) + (arrays['bias'][0] - 0.5 if crossed else 0.0)

    assert _differences(kinked, lambda w: 2 * w) < 1e-9


def test_directions_across_a_kink_at_the_point_itself_are_drawn_again():
    def cornered(arrays):
        # Half of the directions have an end in the corner, where all step sizes give one slope.
        corner = min(arrays['bias'][0] - 0.5, arrays['kernel'][0] - 1.0)
        return _squares(arrays) + max(corner, 0.0)

    assert _differences(cornered, lambda w: 2 * w) < 1e-9


def test_directions_shrink_until_one_lies_between_kinks():
    def walled(arrays):
        beyond = abs(arrays['bias'][0] - 0.5) - differences.STEP / 100
        return _squares(arrays) + max(beyond, 0.0)

    assert _differences(walled, lambda w: 2 * w) < 1e-8


def test_differences_are_nan_where_all_directions_cross_a_kink():
    def root(arrays):
        return math.sqrt(max(arrays['bias'][0] - 0.5, 0.0))

    assert math.isnan(_differences(root, np.zeros_like))


def test_only_constant_arrays_are_perturbed():
    # Noise of the same size on every kernel gave PlainCNN logits of 10,000, which left no digits
    # for the differences.
    kernel = np.random.default_rng(1).normal(size=(3, 4))
    perturbed = comparison.perturb_constants(
        {'params': {'kernel': kernel, 'bias': np.zeros(4)}}, seed=0
    )
    np.testing.assert_array_equal(perturbed['params']['kernel'], kernel)
    assert (perturbed['params']['bias'] > 0).all()


def test_a_model_without_a_reference_is_one_sentence():
    with pytest.raises(UserError, match=r'^Dense has no NumPy reference: [^.]+\.py\.$'):
        networks.graph_of(nn.Dense(3), (8, 8, 1))


def test_a_model_that_resizes_images_is_compared_from_the_resized_ones():
    sizes = ['--config.model.input_size=9', '--config.model.widths=(3,)']
    result = report.check(configs.load(SMOKE, sizes), images=2, with_differences=False)
    assert result['failures'] == []


@pytest.mark.parametrize('images', [1, 10**6])
def test_an_impossible_batch_size_is_one_sentence(images):
    with pytest.raises(
        UserError, match=f'^--images={images}: choose from 2 to the size of the training set.$'
    ):
        report.check(configs.load(SMOKE), images=images)


@pytest.fixture
def command(capsys):
    """Returns a function that runs gradcheck, for its status and output; restores logging."""
    logger = logging.getLogger('cifar_jax')
    before = logger.handlers, logger.level, logger.propagate

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            gradcheck.main(arguments)
        return exit_info.value.code, *capsys.readouterr()

    yield run
    logger.handlers, logger.level, logger.propagate = before


def test_the_command_prints_a_table_and_succeeds(command):
    code, out, err = command('--config', SMOKE, '--no-differences')
    assert (code, err) == (0, '')
    for word in ('Flax compared with NumPy in float64, 4 images', 'Conv_5', 'Dense_0', 'largest'):
        assert word in ' '.join(out.split())


@pytest.mark.slow
def test_the_command_prints_rows_as_json(command):
    code, out, _ = command('--config', SMOKE, '--no-differences', '--images=2', '--json')
    result = json.loads(out.splitlines()[-1])
    assert (code, result['images'], result['failures']) == (0, 2, [])
    layers = [f'Conv_{place}' for place in range(6)] + ['Dense_0', 'loss']
    assert [row['layer'] for row in result['rows']] == layers
    assert result['rows'][0]['kind'] == 'Conv'
    assert 0 <= result['rows'][0]['params'] < result['tolerance']


def test_the_command_names_the_layer_whose_backward_pass_is_broken(command, monkeypatch):
    right = Dense.backward

    def wrong(self, values, saved, dy):
        inputs, gradients = right(self, values, saved, dy)
        return inputs, gradients | {'kernel': gradients['kernel'] * 1.001}

    monkeypatch.setattr(Dense, 'backward', wrong)
    code, _, err = command('--config', SMOKE, '--no-differences')
    assert code == 1
    assert err == 'cifar_jax: Dense_0, Dense: params differ by 1.0e-03, above 1e-09\n'


def test_an_unknown_model_is_one_sentence(command):
    code, _, err = command('--config', SMOKE, '--config.model.name=SmallVG')
    assert code == 1
    assert err == "cifar_jax: config.model.name='SmallVG' is not valid: did you mean 'SmallVGG'?\n"


RATE, STEPS = 0.02, 20


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'optimizer'), [('PlainCNN', 'sgd'), ('SENet', 'adam')])
def test_twenty_steps_of_training_agree(name, optimizer):
    config = get_defaults().optimizer
    config.update(name=optimizer, l2=1e-3)
    numpy_optimizer = SGD(config.momentum, nesterov=True, l2=config.l2)
    if optimizer == 'adam':
        numpy_optimizer = Adam(config.b1, config.b2, config.eps, config.l2)
    assert config.nesterov
    with jax.enable_x64(True), backend.use('xla'):
        graph, run = narrow_models.graph(name), narrow_models.stepper(name)
        flax_optimizer = make_optimizer(config, lambda step: jnp.asarray(RATE, jnp.float64))
        start = narrow_models.variables(narrow_models.create(name))
        flax, moving = start['params'], start['batch_stats']
        flax_state, update = flax_optimizer.init(flax), jax.jit(flax_optimizer.update)
        params, statistics = (variables.to_reference(graph, tree) for tree in (flax, moving))
        state = numpy_optimizer.init(params)
        for number in range(STEPS):
            images, labels = narrow_models.batch(number)
            observed = run(
                {'params': flax, 'batch_stats': moving}, images, labels, jax.random.key(number)
            )
            updates, flax_state = update(observed.params, flax_state, flax)
            flax, moving = optax.apply_updates(flax, updates), observed.statistics
            passed = graphs.forward(
                graph,
                params,
                statistics,
                np.asarray(images),
                train=True,
                masks={path: np.asarray(mask) for path, mask in observed.masks.items()},
            )
            logits = passed.outputs[graph.last]
            _, gradient = cross_entropy(logits, np.asarray(labels), narrow_models.SMOOTHING)
            gradients = graphs.backward(graph, params, statistics, passed, gradient)
            params, state = numpy_optimizer.update(params, gradients.params, state, RATE)
            statistics = passed.statistics
    trees = [(params, flax), (statistics, moving)]
    before = variables.to_reference(graph, start['params'])
    for numpy_tree, tree in trees:
        for node, arrays in variables.to_reference(graph, tree).items():
            assert comparison.errors(numpy_tree[node], arrays) < 1e-8, node
    assert all(
        not np.allclose(params[node]['kernel'], arrays['kernel'], 1e-4)
        for node, arrays in before.items()
        if 'kernel' in arrays
    )
