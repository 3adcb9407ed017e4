"""The reference as a library: networks from lists, training and saving with NumPy only."""

import ast
import contextlib
import json
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cifar_jax.reference
from cifar_jax.reference import network as networks
from cifar_jax.reference.network import Network
from cifar_jax.reference.optimizers import SGD, Adam
from cifar_jax.reference.progress import Progress
from cifar_jax.reference.specs import SpecError

RELU = ('activation', {'activation': 'relu'})
END = [
    ('reshape', {'output_shape': 'flatten'}),
    ('dense', {'neurons': 10}),
    ('activation', {'activation': 'softmax'}),
]
# The two networks of S0.
ONE_BLOCK = [
    ('conv', {'kernel_size': 3, 'depth': 3, 'stride': 1, 'padding': 'valid'}),
    ('maxpool', {'kernel_size': 2}),
    RELU,
    *END,
]
TWO_BLOCKS = [
    *ONE_BLOCK[:3],
    ('conv', {'kernel_size': 2, 'depth': 3}),
    ('maxpool', {'kernel_size': 2}),
    RELU,
    *END,
]
# Has everything that resuming could break: statistics, masks, and optimizer state.
SMALL = [
    ('conv', {'kernel_size': 3, 'depth': 4, 'padding': 'same'}),
    ('batchnorm',),
    RELU,
    ('dropblock', {'rate': 0.2, 'size': 2}),
    ('avgpool',),
    ('reshape',),
    ('dropout', {'rate': 0.3}),
    ('dense', {'neurons': 2}),
]


def separable(count, seed=0):
    """Returns images that are brighter on the left (class 0) or on the right (class 1)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.normal(0, 0.3, (count, 6, 6, 1))
    images[labels == 0, :, :3] += 1
    images[labels == 1, :, 3:] += 1
    return images.astype(np.float32), labels


def small(**options):
    return Network(SMALL, (6, 6, 1), show=False, **options)


def all_arrays(network):
    """Returns all arrays of a network, by name."""
    return {
        f'{part}/{node}/{key}': array
        for part, tree in {
            'params': network.params,
            'statistics': network.statistics,
            **network.optimizer_state,
        }.items()
        for node, arrays in tree.items()
        for key, array in arrays.items()
    }


def assert_same_bits(one, other):
    assert all_arrays(one).keys() == all_arrays(other).keys()
    for name, array in all_arrays(one).items():
        np.testing.assert_array_equal(array, all_arrays(other)[name], err_msg=name)


@pytest.mark.parametrize(('layers', 'count'), [(ONE_BLOCK, 6844), (TWO_BLOCKS, 1603)])
def test_parameters_of_the_networks_of_s0(layers, count):
    assert Network(layers, (32, 32, 3), show=False).parameters == count


def test_a_final_softmax_is_part_of_the_loss_and_predict_gives_probabilities():
    images, _ = separable(5)
    layers = [('reshape',), ('dense', {'neurons': 3})]
    without = Network(layers, (6, 6, 1), show=False)
    ended = Network([*layers, END[-1]], (6, 6, 1), show=False)
    np.testing.assert_array_equal(ended.logits(images), without.logits(images))
    np.testing.assert_allclose(ended.predict(images).sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(ended.predict(images), jax.nn.softmax(ended.logits(images)), 1e-5)


@pytest.mark.parametrize(
    ('layers', 'message'),
    [
        ([('convolution', {})], "Layer 1: there is no 'convolution'; known: conv, maxpool"),
        ([('dense', {'neurons': 3, 'bias': 1})], "Layer 1, dense: no option 'bias'; known: neuron"),
        ([('reshape',), ('dense', {})], 'Layer 2, dense: neurons is missing.'),
        ([('activation', {'activation': 'rely'})], "Layer 1, activation: no activation 'rely'; kn"),
        (['dense'], "Layer 1 is 'dense'; it looks like ('dense', {'neurons': 10})."),
        ([('dense', {'neurons': 3})], 'Layer 1-dense, .*(6, 6, 1): flatten .*input is (6, 6, 1)'),
        (
            [('conv', {'depth': 2}), ('conv', {'depth': 2, 'kernel_size': 5})],
            'Layer 2-conv, .*(5, 5) does not fit into (4, 4) .*(its input is (4, 4, 2)).',
        ),
        (
            [('conv', {'depth': 4}), ('conv', {'depth': 3, 'groups': 2})],
            'Layer 2-conv, .*4 channels and 3 features cannot be split into 2 groups',
        ),
        ([('conv', {'depth': 2, 'stride': 0})], 'Layer 1-conv, .*at least 1, not (3, 3) and (0, 0'),
        ([('maxpool', {'stride': 0})], 'Layer 1-maxpool, .*at least 1, not (2, 2) and (0, 0)'),
        ([('conv', {'depth': 0})], 'Layer 1-conv, .*at least 1 feature'),
        ([('reshape',), ('dense', {'neurons': -1})], 'Layer 2-dense, .*at least 1 feature'),
        ([('reshape', {'output_shape': [5]})], 'Layer 1-reshape, .*(6, 6, 1) cannot become (5,)'),
        ([('conv', {'depth': 2, 'padding': 'full'})], "Layer 1-conv, .*not 'full'"),
        ([('conv', {'depth': 'many'})], "Layer 1, conv with {.*'depth': 'many'.*}: "),
        ([('maxpool',)], 'network ends with (3, 3, 1); it must end with one value per class.'),
        ([], 'network ends with (6, 6, 1); it must end with one value per class.'),
    ],
)
def test_invalid_layers_are_named_with_their_shapes(layers, message):
    pattern = '.*'.join(map(re.escape, message.split('.*')))
    with pytest.raises(SpecError, match=pattern):
        Network(layers, (6, 6, 1), show=False)


@pytest.mark.parametrize('batch_size', [1, 8])
def test_fit_learns_separable_classes(batch_size):
    layers = [('conv', {'depth': 3}), RELU, ('reshape',), ('dense', {'neurons': 2})]
    network = Network(layers, (6, 6, 1), learning_rate=0.05, show=False)
    history = network.fit(*separable(64), epochs=4, batch_size=batch_size)
    assert history[-1]['train_loss'] < 0.5 * history[0]['train_loss']
    assert network.evaluate(*separable(50, seed=1))['accuracy'] == 1


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match='batch_size is 9; choose 1 to 8 images'):
        small().fit(*separable(8), batch_size=9)


def test_lines_count_epochs_and_steps_and_leave_out_the_incomplete_batch():
    lines = small().fit(*separable(20), epochs=2, batch_size=8)
    assert [(line['epoch'], line['step']) for line in lines] == [(1, 2), (2, 4)]


@pytest.fixture
def scripted(monkeypatch):
    """A network with given validation losses, and its weights at each evaluation."""

    def make(losses):
        network, snapshots = small(), []
        remaining = iter(losses)

        def evaluate(images, labels):
            snapshots.append((network.params, network.statistics))
            return {'loss': next(remaining), 'accuracy': 0.5, 'top5': 1.0}

        monkeypatch.setattr(network, 'evaluate', evaluate)
        return network, snapshots

    return make


def test_early_stopping_restores_the_epoch_with_the_lowest_validation_loss(scripted):
    network, snapshots = scripted([0.9, 0.5, 0.7, 0.5, 0.1])
    data = separable(16)
    history = network.fit(*data, epochs=5, batch_size=4, validation=data, patience=2)
    assert [line['val_loss'] for line in history] == [0.9, 0.5, 0.7, 0.5]
    assert (network.params, network.statistics) == snapshots[1]


def test_the_best_epoch_is_restored_where_patience_lasts_to_the_end(scripted):
    network, snapshots = scripted([0.9, 0.5, 0.7])
    data = separable(16)
    assert len(network.fit(*data, epochs=3, batch_size=4, validation=data, patience=9)) == 3
    assert (network.params, network.statistics) == snapshots[1]


def test_without_patience_the_last_epoch_stays(scripted):
    network, snapshots = scripted([0.1, 0.5, 0.7])
    data = separable(16)
    assert len(network.fit(*data, epochs=3, batch_size=4, validation=data)) == 3
    assert (network.params, network.statistics) == snapshots[2]


def test_evaluation_in_batches_gives_the_metrics_of_all_images(monkeypatch):
    images, labels = separable(20)
    network = Network([('reshape',), ('dense', {'neurons': 7})], (6, 6, 1), show=False)
    whole = network.evaluate(images, labels)
    monkeypatch.setattr(networks, '_EVALUATION_BATCH', 3)
    assert network.evaluate(images, labels) == pytest.approx(whole)
    p = np.asarray(jax.nn.softmax(network.logits(images)))
    label_p = p[np.arange(20), labels]
    assert whole['loss'] == pytest.approx(-np.log(label_p).mean(), rel=1e-5)
    assert whole['accuracy'] == pytest.approx((p.argmax(1) == labels).mean())
    assert whole['top5'] == pytest.approx(((p > label_p[:, None]).sum(1) < 5).mean())


def test_a_loss_that_is_not_finite_raises_an_error_with_its_step():
    network = small(learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r'the loss of step \d is not finite'):
        network.fit(*separable(32), batch_size=8)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_a_network_keeps_its_dtype(dtype):
    network = small(dtype=dtype, optimizer=Adam())
    network.fit(*separable(16), epochs=1, batch_size=8)
    kinds = {array.dtype for name, array in all_arrays(network).items() if 'steps' not in name}
    assert kinds == {np.dtype(dtype)}
    assert network.logits(separable(2)[0]).dtype == dtype


def test_the_same_seed_gives_the_same_bits():
    one, other = small(seed=3), small(seed=3)
    for network in (one, other):
        network.fit(*separable(32), epochs=2, batch_size=8)
    assert_same_bits(one, other)


def test_another_seed_gives_other_weights():
    assert not np.array_equal(
        small(seed=3).params['1-conv']['kernel'], small().params['1-conv']['kernel']
    )


@pytest.mark.parametrize('optimizer', [SGD(0.9, nesterov=True), SGD(), Adam(l2=1e-3)], ids=str)
def test_training_resumes_from_a_file_with_the_same_bits(optimizer, tmp_path):
    data, path = separable(32), tmp_path / 'network.npz'
    uninterrupted = small(optimizer=optimizer, learning_rate=0.01)
    lines = uninterrupted.fit(*data, epochs=4, batch_size=8)
    stopped = small(optimizer=optimizer, learning_rate=0.01)
    stopped.fit(*data, epochs=2, batch_size=8)
    stopped.save(path)
    resumed = small(optimizer=optimizer, learning_rate=0.01).load(path)
    more = resumed.fit(*data, epochs=2, batch_size=8)
    assert_same_bits(resumed, uninterrupted)
    assert [line['train_loss'] for line in more] == [line['train_loss'] for line in lines[2:]]
    assert [line['epoch'] for line in more] == [3, 4]


def test_save_writes_one_file_without_adding_an_extension(tmp_path):
    small().save(tmp_path / 'weights')
    assert [path.name for path in tmp_path.iterdir()] == ['weights']


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / 'network.npz'
    small().save(path)
    return path


def _npz(**changes):
    """Returns a function that replaces some of the arrays in a saved file."""

    def damage(path):
        with np.load(path) as file:
            arrays = {**file, **changes}
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})

    return damage


def _one_array(path):
    with path.open('wb') as file:
        np.save(file, np.ones(3))


def _text(text):
    return np.array(json.dumps(text))


@pytest.mark.parametrize(
    'damage',
    [
        pytest.param(lambda path: path.write_bytes(b''), id='empty'),
        pytest.param(lambda path: path.write_text('not an archive'), id='text'),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-200]), id='cut'),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:200]), id='cut short'),
        pytest.param(_one_array, id='one array'),
        pytest.param(_npz(about=None), id='no metadata'),
        pytest.param(_npz(about=np.array('{')), id='not JSON'),
        pytest.param(_npz(about=_text([])), id='a list'),
        pytest.param(_npz(about=_text({'epoch': 1})), id='no layers'),
        pytest.param(_npz(about=_text({'layers': SMALL})), id='no epoch'),
        pytest.param(_npz(extra=np.array([{}], object)), id='pickled objects'),
    ],
)
def test_a_damaged_file_raises_a_value_error_that_names_it(saved, damage):
    damage(saved)
    with pytest.raises(ValueError, match=f'{saved} is damaged, or does not hold a network'):
        small().load(saved)


def test_pickled_objects_are_never_read(saved):
    class Bomb:
        def __reduce__(self):
            return exec, ('raise SystemExit("a pickle was run")',)

    _npz(extra=np.array([Bomb()], object))(saved)
    with pytest.raises(ValueError, match='allow_pickle=False'):
        small().load(saved)


def test_a_changed_byte_raises_a_value_error_or_changes_nothing(saved):
    before, content = small(), saved.read_bytes()
    harmless = 0
    for place in range(0, len(content), 7):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with contextlib.suppress(ValueError):
            assert_same_bits(small().load(saved), before)
            harmless += 1
    assert harmless < len(content) / 7 / 4


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (Network(SMALL[1:], (6, 6, 1), show=False), 'holds a network with other layers'),
        (Network(SMALL, (8, 6, 1), show=False), 'holds no such params of 8-dense as this network'),
        (small(dtype=np.float64), 'holds no such params of 1-conv as this network'),
        (small(optimizer=Adam()), 'holds no such mean of 1-conv as this network'),
    ],
)
def test_the_file_of_another_network_raises_a_value_error_with_the_difference(
    saved, other, message
):
    with pytest.raises(ValueError, match=f'{saved} {message}'):
        other.load(saved)


def test_a_failed_load_leaves_the_network_unchanged(saved):
    other, same = small(optimizer=Adam(), seed=2), small(optimizer=Adam(), seed=2)
    with pytest.raises(ValueError, match='holds no such'):
        other.load(saved)
    assert_same_bits(other, same)


def test_a_missing_file_raises_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        small().load(tmp_path / 'nothing.npz')


@pytest.fixture
def terminal(capsys, monkeypatch):
    """Makes standard error a terminal; returns capsys, to read what is written to it."""
    # Patch the class: pytest uses one object during setup and another during the test.
    monkeypatch.setattr(type(sys.stderr), 'isatty', lambda self: True)
    return capsys


def test_progress_shows_a_bar_on_a_terminal(terminal):
    progress = Progress('epoch 1', 4)
    progress(4)
    text = terminal.readouterr().err
    assert re.fullmatch(r'\repoch 1 \[#{20}\] 4/4  [\d,.]+ it/s  0 s left \n', text)


def test_progress_shows_nothing_without_a_terminal(capsys):
    Progress('epoch 1', 1)(1)
    assert capsys.readouterr() == ('', '')


def test_progress_shows_nothing_where_show_is_false(terminal):
    Progress('epoch 1', 1, show=False)(1)
    assert terminal.readouterr() == ('', '')


def test_building_and_training_show_bars_on_a_terminal_and_a_line_per_epoch(terminal):
    data = separable(8)
    network = Network(SMALL, (6, 6, 1), name='mine')
    network.fit(*data, epochs=1, batch_size=4, validation=data)
    line, bars = terminal.readouterr()
    for label in ('building mine [####', 'epoch 1 [####', 'evaluating [####'):
        assert label in bars
    number = r'[\d,.]+'
    assert re.fullmatch(
        rf'epoch   1  loss {number}  validation loss {number} accuracy {number}%'
        rf'  {number} images/s\n',
        line,
    )


def _tree(rng):
    return {
        'conv': {'kernel': rng.normal(size=(3, 2)), 'bias': rng.normal(size=2)},
        'dense': {'kernel': rng.normal(size=4)},
    }


RATES = 0.1 * (1 + np.arange(20) % 3)


@pytest.mark.parametrize('l2', [0.0, 0.05])
@pytest.mark.parametrize(
    ('optimizer', 'optax_optimizer'),
    [
        (SGD, lambda rate: optax.sgd(rate)),
        (lambda l2: SGD(0.9, l2=l2), lambda rate: optax.sgd(rate, 0.9)),
        (lambda l2: SGD(0.9, nesterov=True, l2=l2), lambda rate: optax.sgd(rate, 0.9, True)),
        (lambda l2: Adam(l2=l2), lambda rate: optax.adam(rate)),
        (lambda l2: Adam(0.5, 0.8, 1e-3, l2), lambda rate: optax.adam(rate, 0.5, 0.8, 1e-3)),
    ],
    ids=['sgd', 'momentum', 'nesterov', 'adam', 'adam with other betas'],
)
def test_twenty_steps_of_an_optimizer_equal_those_of_optax(optimizer, optax_optimizer, l2):
    rng = np.random.default_rng(0)
    params, gradients = _tree(rng), [_tree(rng) for _ in RATES]
    ours = optimizer(l2=l2)
    state = ours.init(params)
    with jax.enable_x64(True), jax.numpy_dtype_promotion('standard'):
        rates = jnp.asarray(RATES)
        optimizer = optax.chain(
            optax.add_decayed_weights(l2), optax_optimizer(lambda step: rates[step])
        )
        expected = jax.tree.map(jnp.asarray, params)
        expected_state = optimizer.init(expected)

        @jax.jit
        def advance(params, state, gradient):
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        for rate, gradient in zip(RATES, gradients, strict=True):
            params, state = ours.update(params, gradient, state, rate)
            expected, expected_state = advance(expected, expected_state, gradient)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), params, expected)


def test_an_optimizer_changes_nothing_in_place():
    rng = np.random.default_rng(0)
    params, gradient = _tree(rng), _tree(rng)
    for optimizer in (SGD(0.9, nesterov=True, l2=0.1), Adam(l2=0.1)):
        state = optimizer.init(params)
        before = jax.tree.map(np.copy, (params, gradient, state))
        optimizer.update(params, gradient, state, 0.1)
        jax.tree.map(np.testing.assert_array_equal, (params, gradient, state), before)


FILES = sorted(pathlib.Path(cifar_jax.reference.__file__).parent.glob('**/*.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_the_reference_imports_only_numpy_and_the_standard_library(path):
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.append(node.module)
    for name in names:
        root = name.split('.')[0]
        allowed = root == 'numpy' or root in sys.stdlib_module_names
        assert allowed or f'{name}.'.startswith('cifar_jax.reference.'), name
