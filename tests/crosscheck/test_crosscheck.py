"""Flax models and the NumPy reference side by side, and what tells them apart."""

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
FILES = {
    'SmallVGG': 'small_vgg.py:smoke',
    'PlainCNN': 'plain_cnn.py:smoke',
    'SENet': 'senet.py:smoke',
    'InceptionNet': 'inception.py:smoke',
    'BaseNet': 'cifar100_25.py:base_smoke',
    'ImprovedNet': 'cifar100_25.py:improved_bn_after_ours_smoke',
    'SimpleNet': 'simple_net.py:ours_smoke',
    'ComplexNet': 'complex_net.py:ours_smoke',
}


@pytest.mark.parametrize('name', FILES)
def test_every_model_agrees_with_its_twin(name):
    config = configs.load(f'{CONFIGS}/{FILES[name]}')
    assert config.model.name == name
    result = report.check(config, images=4, with_differences=name == 'SmallVGG')
    assert result['failures'] == []
    assert [row['layer'] for row in result['rows']][-1] == 'loss'
    # That of a start, a little above that of a guess.
    assert result['loss'] < 3 * math.log(10)
    differed = [row['differences'] for row in result['rows'] if row['params'] is not None]
    assert all((value is not None) == (name == 'SmallVGG') for value in differed)


@pytest.mark.parametrize('name', narrow_models.OPTIONS)
def test_no_parameter_statistic_or_mask_of_a_model_is_left_out(name):
    seen = narrow_models.seen(name)
    rows = {row.layer: row for row in comparison.compare(seen.twins(), seed=None)}
    for field, collection in (('params', 'params'), ('statistics', 'batch_stats')):
        found = {layer for layer, row in rows.items() if getattr(row, field) is not None}
        assert found == variables.by_path(seen.variables.get(collection, {})).keys()
    dropping = {node.name for node in seen.graph.nodes if 'Drop' in type(node.layer).__name__}
    assert seen.flax.masks.keys() == dropping
    reading = {node.name for node in seen.graph.nodes if type(node.layer) in (Conv, Dense)}
    own = {row.layer for row in rows.values() if row.inputs is not None}
    assert reading <= {variables.node(seen.graph, layer) for layer in own}
    assert seen.failures() == []


@pytest.mark.parametrize(
    ('name', 'node', 'wrong', 'what', 'layer'),
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
def test_a_twin_with_a_wrong_layer_is_reported_by_name(name, node, wrong, what, layer):
    seen = narrow_models.seen(name)
    place = [n.name for n in seen.graph.nodes].index(node)
    right = seen.graph.nodes[place]
    seen.graph.nodes[place] = right._replace(layer=wrong)
    try:
        found = [sentence for sentence in seen.failures() if f': {what} differ by ' in sentence]
    finally:
        seen.graph.nodes[place] = right
    assert found[0].startswith(f'{layer}: ')
    assert seen.failures() == []


def test_a_layer_of_another_shape_is_infinitely_wrong():
    assert comparison.error(np.ones((2, 3)), np.ones((3, 2))) == math.inf


def test_a_layer_that_lacks_a_parameter_is_infinitely_wrong():
    assert comparison.errors(
        {'kernel': np.ones(2)}, {'kernel': np.ones(2), 'bias': np.ones(2)}
    ) == (math.inf)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_an_error_that_is_no_number_is_a_failure(value):
    row = comparison.Row('head', 'Dense', None, value, None, None, None)
    assert comparison.failures([row]) == [
        f'head, Dense: params differ by {value}, above {comparison.TOLERANCE:.0e}'
    ]


def test_errors_are_of_the_largest_value_or_the_floor():
    assert comparison.error(np.array([1.0, 4.5]), np.array([1.0, 4.0])) == 0.125
    assert comparison.error(np.array([1.0, 4.5]), np.array([1.0, 4.0]), floor=8.0) == 0.0625


def test_parameters_without_a_node_are_an_error():
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
        # The kink is a third of a step away on one side of the bias.
        across = arrays['bias'][0] > 0.5 + differences.STEP / 3
        return _squares(arrays) + (arrays['bias'][0] - 0.5 if across else 0.0)

    assert _differences(kinked, lambda w: 2 * w) < 1e-9


def test_directions_across_a_kink_at_the_point_itself_are_drawn_again():
    def cornered(arrays):
        # Half of the directions have an end in the corner, and there every step gives the same.
        corner = min(arrays['bias'][0] - 0.5, arrays['kernel'][0] - 1.0)
        return _squares(arrays) + max(corner, 0.0)

    assert _differences(cornered, lambda w: 2 * w) < 1e-9


def test_directions_shrink_until_one_lies_between_kinks():
    def walled(arrays):
        beyond = abs(arrays['bias'][0] - 0.5) - differences.STEP / 100
        return _squares(arrays) + max(beyond, 0.0)

    assert _differences(walled, lambda w: 2 * w) < 1e-8


def test_differences_are_no_number_where_all_directions_cross_a_kink():
    def root(arrays):
        return math.sqrt(max(arrays['bias'][0] - 0.5, 0.0))

    assert math.isnan(_differences(root, np.zeros_like))


def test_only_constant_arrays_are_moved_off_their_start():
    # Noise of one size on every kernel gave PlainCNN logits of 10,000, and differences without
    # digits.
    kernel = np.random.default_rng(1).normal(size=(3, 4))
    moved = comparison.scattered({'params': {'kernel': kernel, 'bias': np.zeros(4)}}, seed=0)
    np.testing.assert_array_equal(moved['params']['kernel'], kernel)
    assert (moved['params']['bias'] > 0).all()


def test_a_model_without_a_twin_is_one_sentence():
    with pytest.raises(UserError, match=r'^Dense has no twin in the reference: [^.]+\.py\.$'):
        networks.graph_of(nn.Dense(3), (8, 8, 1))


@pytest.mark.parametrize('images', [1, 10**6])
def test_an_impossible_batch_is_one_sentence(images):
    with pytest.raises(UserError, match=f'^--images={images}: from 2, .*the training set.$'):
        report.check(configs.load(SMOKE), images=images)


@pytest.fixture
def command(capsys):
    """Runs gradcheck and returns its status, and what it printed; logging stays as it was."""
    logger = logging.getLogger('cifar_jax')
    before = logger.handlers, logger.level, logger.propagate

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            gradcheck.main(arguments)
        return ended.value.code, *capsys.readouterr()

    yield run
    logger.handlers, logger.level, logger.propagate = before


def test_the_command_shows_a_table_and_ends_well(command):
    code, out, err = command('--config', SMOKE, '--no-differences')
    assert (code, err) == (0, '')
    for word in ('Flax against NumPy in float64, 4 images', 'Conv_5', 'Dense_0', 'largest'):
        assert word in ' '.join(out.split())


def test_the_command_ends_with_rows_in_json(command):
    code, out, _ = command('--config', SMOKE, '--no-differences', '--images=2', '--json')
    found = json.loads(out.splitlines()[-1])
    assert (code, found['images'], found['failures']) == (0, 2, [])
    layers = [f'Conv_{place}' for place in range(6)] + ['Dense_0', 'loss']
    assert [row['layer'] for row in found['rows']] == layers
    assert found['rows'][0]['kind'] == 'Conv'
    assert 0 <= found['rows'][0]['params'] < found['tolerance']


def test_the_command_names_the_layer_whose_backward_pass_is_broken(command, monkeypatch):
    right = Dense.backward

    def wrong(self, values, saved, dy):
        inputs, gradients = right(self, values, saved, dy)
        return inputs, gradients | {'kernel': gradients['kernel'] * 1.001}

    monkeypatch.setattr(Dense, 'backward', wrong)
    code, _, err = command('--config', SMOKE, '--no-differences')
    assert code == 1
    assert err == 'cifar_jax: Dense_0, Dense: params differ by 1.0e-03, above 1e-09\n'


def test_the_command_answers_an_unknown_model_with_one_sentence(command):
    code, _, err = command('--config', SMOKE, '--config.model.name=SmallVG')
    assert code == 1
    assert err == "cifar_jax: config.model.name='SmallVG' is not valid: did you mean 'SmallVGG'?\n"


RATE, STEPS = 0.02, 20


@pytest.mark.parametrize('optimizer', ['sgd', 'adam'])
@pytest.mark.parametrize('name', ['PlainCNN', 'SENet'])
def test_twenty_steps_of_training_stay_together(name, optimizer):
    config = get_defaults().optimizer
    config.update(name=optimizer, l2=1e-3)
    own = SGD(config.momentum, nesterov=True, l2=config.l2)
    if optimizer == 'adam':
        own = Adam(config.b1, config.b2, config.eps, config.l2)
    assert config.nesterov
    with jax.enable_x64(True), backend.use('xla'):
        graph, run = narrow_models.graph(name), narrow_models.stepper(name)
        twin = make_optimizer(config, lambda step: jnp.asarray(RATE, jnp.float64))
        start = narrow_models.variables(narrow_models.create(name))
        flax, moving = start['params'], start['batch_stats']
        flax_state, update = twin.init(flax), jax.jit(twin.update)
        params, statistics = (variables.to_reference(graph, tree) for tree in (flax, moving))
        state = own.init(params)
        for number in range(STEPS):
            images, labels = narrow_models.batch(number)
            seen = run(
                {'params': flax, 'batch_stats': moving}, images, labels, jax.random.key(number)
            )
            updates, flax_state = update(seen.params, flax_state, flax)
            flax, moving = optax.apply_updates(flax, updates), seen.statistics
            done = graphs.forward(
                graph,
                params,
                statistics,
                np.asarray(images),
                train=True,
                masks={path: np.asarray(mask) for path, mask in seen.masks.items()},
            )
            logits = done.outputs[graph.last]
            _, gradient = cross_entropy(logits, np.asarray(labels), narrow_models.SMOOTHING)
            found = graphs.backward(graph, params, statistics, done, gradient)
            params, state = own.update(params, found.params, state, RATE)
            statistics = done.statistics
    moved = [(params, flax), (statistics, moving)]
    before = variables.to_reference(graph, start['params'])
    for own_tree, tree in moved:
        for node, arrays in variables.to_reference(graph, tree).items():
            assert comparison.errors(own_tree[node], arrays) < 1e-8, node
    assert all(
        not np.allclose(params[node]['kernel'], arrays['kernel'], 1e-4)
        for node, arrays in before.items()
        if 'kernel' in arrays
    )
