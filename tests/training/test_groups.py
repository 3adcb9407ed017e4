"""Parameter groups: updates compared with computations by hand, frozen parts, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cifar_jax import models
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training import groups, optimizers
from cifar_jax.training import state as states

STEPS, RATE = 4, 0.1
NARROW = {'widths': (4, 8), 'blocks': (1, 1), 'reduction': 4}


def config_of(*chosen, **values):
    config = get_defaults().optimizer
    config.update({**values, 'groups': chosen})
    return config


def start():
    rng = np.random.default_rng(0)

    def draw():
        return {
            'stem': {'kernel': rng.normal(size=(3, 2)), 'bias': rng.normal(size=2)},
            'head': {'kernel': rng.normal(size=(2, 4)), 'bias': rng.normal(size=4)},
        }

    return draw(), [draw() for _ in range(STEPS)]


def trained(config, first=0, schedule=lambda step: jnp.float32(RATE)):
    """Returns the parameters after the steps from `first` on, by default at a constant rate."""
    optimizer = optimizers.make_optimizer(config, schedule)
    params, gradients = jax.tree.map(jnp.float32, start())
    state = optimizer.init(params)

    @jax.jit
    def advance(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for gradient in gradients[first:]:
        params, state = advance(params, state, gradient)
    return params


def by_hand(rule, clip=lambda gradients: 1.0):
    """Returns the parameters after the same steps; `rule` gives a tensor's own settings."""
    params, gradients = start()
    velocity = jax.tree.map(np.zeros_like, params)
    for step in gradients:
        scale = clip(step)
        for module, tensors in params.items():
            for name, value in tensors.items():
                factor, l2 = rule(f'{module}/{name}')
                gradient = scale * step[module][name] + l2 * value
                velocity[module][name] = 0.9 * velocity[module][name] + gradient
                tensors[name] = value - factor * RATE * (gradient + 0.9 * velocity[module][name])
    return params


def assert_close(params, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), params, expected
    )


def test_each_tensor_has_the_rate_and_the_decay_of_the_first_group_that_matches():
    config = config_of(
        {'pattern': 'head/*', 'rate': 10.0},
        {'pattern': '*/bias', 'rate': 0.5, 'l2': 0.0},
        l2=0.3,
    )
    settings = {'head/kernel': (10.0, 0.3), 'head/bias': (10.0, 0.3), 'stem/bias': (0.5, 0.0)}
    assert_close(trained(config), by_hand(lambda name: settings.get(name, (1.0, 0.3))))


def test_adamw_decays_the_weights_of_each_group_by_its_own_share():
    config = config_of({'pattern': '*/bias', 'weight_decay': 0.0}, name='adamw', weight_decay=0.2)
    without = config_of(name='adamw', weight_decay=0.0)
    everywhere = config_of(name='adamw', weight_decay=0.2)
    params, plain, decayed = trained(config), trained(without), trained(everywhere)
    for module in params:
        np.testing.assert_array_equal(params[module]['bias'], plain[module]['bias'])
        np.testing.assert_array_equal(params[module]['kernel'], decayed[module]['kernel'])
        assert np.any(params[module]['bias'] != decayed[module]['bias'])


def test_frozen_parameters_keep_every_bit_and_are_left_out_of_the_clipped_norm():
    def clip(gradients):
        norm = np.sqrt(sum((value**2).sum() for value in gradients['head'].values()))
        return min(1.0, 0.5 / norm)

    config = config_of({'pattern': 'stem/*', 'frozen': True}, l2=0.3, clip_norm=0.5)
    params = trained(config)
    first = jax.tree.map(jnp.float32, start()[0])
    assert states.sha256(params['stem']) == states.sha256(first['stem'])
    expected = by_hand(lambda name: (1.0, 0.3), clip)
    assert_close(params['head'], expected['head'])


def test_a_group_is_trained_as_if_the_run_began_when_it_unfreezes():
    for name in ('sgd', 'adam'):
        config = config_of({'pattern': 'stem/*', 'frozen_until': '2'}, name=name, l2=0.3)
        params, plain = trained(config), config_of(name=name, l2=0.3)
        late = trained(plain, first=2)
        assert_close(params['stem'], late['stem'])
        assert states.sha256(params['head']) == states.sha256(trained(plain)['head'])


def test_a_frozen_group_is_left_out_of_the_clipped_norm_until_it_unfreezes():
    counted = [0]

    def clip(gradients):
        counted[0] += 1
        modules = gradients if counted[0] > 2 else {'head': gradients['head']}
        squares = [(value**2).sum() for tensors in modules.values() for value in tensors.values()]
        return min(1.0, 0.5 / np.sqrt(sum(squares)))

    config = config_of({'pattern': 'stem/*', 'frozen_until': '2'}, clip_norm=0.5)
    assert_close(trained(config)['head'], by_hand(lambda name: (1.0, 0.0), clip)['head'])


def test_the_rate_of_a_group_that_unfreezes_is_that_of_the_run():
    config = config_of({'pattern': 'stem/*', 'frozen_until': '2'}, momentum=0.0)
    rates = jnp.float32([1, 2, 3, 5])
    params = trained(config, schedule=lambda step: rates[step])
    first, gradients = jax.tree.map(jnp.float32, start())
    expected = jax.tree.map(lambda p, a, b: p - 3 * a - 5 * b, first, *gradients[2:])
    assert_close(params['stem'], expected['stem'])


def test_a_group_that_never_unfreezes_in_the_run_is_refused():
    config = config_of({'pattern': 'stem/*', 'frozen_until': '4'})
    groups.require_starts(config.groups, int, 5)
    with pytest.raises(UserError, match=r"frozen_until is '4', 4 steps, and the run has 4: short"):
        groups.require_starts(config.groups, int, 4)


def test_a_group_that_changes_nothing_changes_no_bit():
    for name in ('sgd', 'adam', 'adamw'):
        plain, grouped = config_of(name=name), config_of({'pattern': 'stem*'}, name=name)
        assert states.sha256(trained(plain)) == states.sha256(trained(grouped))


@pytest.fixture(scope='module')
def senet():
    model = models.create('SENet', 3, **NARROW)
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    return model, jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(images), images


def test_frozen_statistics_are_used_in_training_and_do_not_move(senet):
    model, variables, images = senet
    chosen = ({'pattern': 'stem*', 'frozen': True, 'frozen_statistics': True},)

    @jax.jit
    def step(variables, images):
        with groups.frozen_statistics(chosen):
            return model.apply(
                variables,
                images,
                train=True,
                mutable=['batch_stats', 'intermediates'],
                capture_intermediates=lambda module, _: module.name in ('stem', 'stem_norm'),
            )[1]

    updated = step(variables, images)
    before, after = variables['batch_stats'], updated['batch_stats']
    moved = {name: states.sha256(before[name]) != states.sha256(after[name]) for name in before}
    assert moved.pop('stem_norm') is False
    assert all(moved.values())
    assert moved
    seen = updated['intermediates']
    (mapped,), (normed,) = seen['stem']['__call__'], seen['stem_norm']['__call__']
    # Moving statistics start at mean 0 and variance 1.
    np.testing.assert_allclose(normed, mapped / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-6)


def test_without_frozen_statistics_the_context_changes_nothing():
    with groups.frozen_statistics([{'pattern': 'stem*', 'frozen': True}]):
        pass


def test_the_table_shows_the_size_of_each_group(senet):
    _, variables, _ = senet
    chosen = ({'pattern': 'stem/kernel', 'frozen': True}, {'pattern': '*/bias', 'rate': 0.5})
    lines = [line.split() for line in groups.table(chosen, variables).splitlines()]
    sizes = {line[0]: line[-2:] for line in lines if line}
    params = variables['params']
    biases = [
        leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == 'bias'
    ]
    everything = jax.tree.leaves(params)
    stem, bias = 3 * 3 * 3 * 4, sum(leaf.size for leaf in biases)
    rest = sum(leaf.size for leaf in everything) - stem - bias
    assert sizes['stem/kernel'] == ['1', f'{stem:,}']
    assert sizes['*/bias'] == [f'{len(biases)}', f'{bias:,}']
    assert sizes['all'] == [f'{len(everything) - len(biases) - 1}', f'{rest:,}']


@pytest.mark.parametrize(
    ('chosen', 'message'),
    [
        ([{'pattern': 'stme*'}], r"groups\[0\] matches nothing with 'stme\*'; similar names: stem"),
        ([{'pattern': 'Stem*'}], 'matches nothing'),
        (
            [{'pattern': '*/kernel'}, {'pattern': 'stem/kernel'}],
            r"groups\[1\] has no effect: all that 'stem/kernel' matches, such as stem/kernel, bel",
        ),
        ([{'pattern': 'stem_norm/mean'}], 'matches nothing'),
        (
            [{'pattern': 'head/*', 'frozen_statistics': True}],
            r'no statistics of batch norm: this model has stage1_block1/norm1/mean and others\.',
        ),
        (
            [{'pattern': 's*', 'frozen': True}, {'pattern': 'head*', 'frozen': True}],
            'freezes every parameter',
        ),
    ],
)
def test_a_group_without_effect_on_the_model_is_refused(senet, chosen, message):
    with pytest.raises(UserError, match=message):
        groups.require_matches(chosen, senet[1])


def test_the_table_has_headings_and_a_line_for_each_group(senet):
    chosen = ({'pattern': 'stage1_block1/*', 'rate': 0.5, 'l2': 0.001, 'frozen_statistics': True},)
    rows = [line.rstrip() for line in groups.table(chosen, senet[1]).splitlines()]
    lines = [row.split() for row in rows]
    assert ['Parameter', 'groups'] in lines
    assert ['pattern', 'settings', 'tensors', 'parameters'] in lines
    settings = ['rate=0.5,', 'l2=0.001,', 'frozen_statistics=True']
    assert [line[:-2] for line in lines if line[:1] == ['stage1_block1/*']] == [
        ['stage1_block1/*', *settings]
    ]
    ends = {len(row) for row in rows if row.endswith(('parameters', *'0123456789'))}
    assert len(ends) == 1, 'numbers are aligned at the right'


def test_the_table_has_no_colours_which_a_log_would_keep(senet, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    assert '\x1b' not in groups.table(({'pattern': 'stem*'},), senet[1])


def test_a_group_freezes_nothing_unless_it_says_so(senet):
    chosen = [{'pattern': '*', 'rate': 0.5}]
    groups.require_matches(chosen, senet[1])
    assert all(jax.tree.leaves(groups.trained(chosen, senet[1]['params'])))
    assert not groups.statistics_are_frozen(chosen)('stem_norm')


def test_the_table_fits_into_100_columns(senet):
    table = groups.table(({'pattern': 'stage1_block1/conv' + '?' * 100, 'rate': 0.5},), senet[1])
    assert max(map(len, table.splitlines())) == 100


def test_a_model_without_batch_norm_has_no_statistics_to_freeze(senet):
    params = {'params': senet[1]['params']}
    with pytest.raises(UserError, match='no statistics of batch norm: this model has none'):
        groups.require_matches([{'pattern': 'head/*', 'frozen_statistics': True}], params)


def test_a_pattern_that_matches_nothing_is_answered_with_three_similar_names(senet):
    with pytest.raises(UserError) as error:
        groups.require_matches([{'pattern': 'stem_nrm/scale'}], senet[1])
    names = str(error.value).rpartition('similar names: ')[2].removesuffix('.').split(', ')
    assert names[0] == 'stem_norm/scale'
    assert len(names) == 3


def test_a_batch_norm_s_statistics_can_be_a_group_of_their_own(senet):
    chosen = [{'pattern': 'stem_norm/mean', 'frozen_statistics': True}]
    groups.require_matches(chosen, senet[1])
    assert groups.statistics_are_frozen(chosen)('stem_norm')
    assert not groups.statistics_are_frozen(chosen)('stage1_block1/norm1')


@pytest.mark.parametrize(
    ('group', 'message'),
    [
        ('stem*', r"groups\[0\]='stem\*' must be a dict, such as"),
        ({'patern': '*'}, r"groups\[0\] has no key 'patern': did you mean 'pattern'\?"),
        ({'rate': 0.1}, r'pattern=None must be a text'),
        ({'pattern': ''}, r"pattern='' must be a text"),
        ({'pattern': 3}, r'pattern=3 must be a text'),
        ({'pattern': '*', 'rate': 0}, 'rate=0 must be a number above 0; frozen=True trains noth'),
        ({'pattern': '*', 'rate': float('nan')}, 'must be a number above 0'),
        ({'pattern': '*', 'rate': float('inf')}, 'rate=inf must be a number above 0'),
        ({'pattern': '*', 'rate': True}, 'rate=True must be a number above 0'),
        ({'pattern': '*', 'rate': 'fast'}, "rate='fast' must be a number above 0"),
        ({'pattern': '*', 'l2': float('inf')}, 'l2=inf must be a number of 0 or more'),
        ({'pattern': '*', 'l2': -1.0}, 'l2=-1.0 must be a number of 0 or more'),
        ({'pattern': '*', 'frozen': 1}, 'frozen=1 must be True or False'),
        ({'pattern': '*', 'weight_decay': 0.0}, 'no effect with sgd: set l2 instead'),
        ({'pattern': '*', 'frozen': True, 'rate': 0.1}, 'frozen, and so rate has no effect'),
        ({'pattern': '*', 'frozen': True, 'frozen_until': '5%'}, 'so frozen_until has no effect'),
        (
            {'pattern': '*', 'frozen_until': 'soon'},
            r"\[0\]\.frozen_until: 'soon' is not a duration",
        ),
        ({'pattern': '*', 'frozen_until': 0}, 'frozen_until=0 must be above 0'),
    ],
)
def test_an_impossible_group_is_refused(group, message):
    config = get_defaults()
    config.optimizer.groups = (group,)
    with pytest.raises(UserError, match=message):
        optimizers.check(config)


@pytest.mark.parametrize(
    'group',
    [
        {'pattern': 'stem*', 'rate': 0.1},
        {'pattern': 'stem*', 'rate': 3, 'l2': 0.0, 'frozen': False},
        {'pattern': 'stem*', 'frozen': True},
        {'pattern': 'stem*', 'frozen': True, 'frozen_statistics': True},
        {'pattern': 'stem*', 'l2': 1e-4, 'frozen_statistics': False},
        {'pattern': 'stem*', 'rate': 0.1, 'frozen_until': '2 epochs'},
    ],
)
def test_a_possible_group_is_accepted(group):
    groups.check((group,), 'sgd')


def test_l2_in_a_group_of_adamw_is_refused():
    with pytest.raises(UserError, match='l2 has no effect with adamw: set weight_decay instead'):
        groups.check(({'pattern': '*', 'l2': 0.1},), 'adamw')
