"""Initial weights from other runs and files: matching, and errors."""

import pathlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training import loop, weights
from cifar_jax.training import plan as plans

SMOKE = f'{pathlib.Path(__file__).parents[2]}/configs/small_vgg.py:smoke'
OVERRIDES = (
    '--config.train.length=2 steps',
    '--config.data.fraction=0.2',
    '--config.model.widths=(4,)',
    '--config.mesh.devices=1',
)
VARIABLES = {'params': {'Dense_0': {'kernel': np.ones((2, 3), np.float32)}}}


class Silent:
    """Follows a run and says nothing."""

    stop = False

    def started(self, step, history):
        pass

    def wants(self, step):
        return False

    def stepped(self, step):
        pass

    def epoch_ended(self, line, variables):
        pass


def plan(*overrides):
    config = configs.load(SMOKE, [*OVERRIDES, *overrides])
    data = pipeline.prepare(config.data)
    return plans.make(config, data)


def initial_weights(folder, *overrides):
    """Trains, and returns the weights that the run began with."""
    folder.mkdir()
    loop.run(plan(*overrides), folder, Silent())
    return {name: value.tobytes() for name, value in np.load(folder / weights.FILE).items()}


@pytest.mark.slow
def test_runs_of_other_seeds_begin_with_identical_weights_on_request(tmp_path):
    first = initial_weights(tmp_path / 'first')
    other = initial_weights(tmp_path / 'other', '--config.seed=1')
    copied = initial_weights(
        tmp_path / 'copied', '--config.seed=1', f'--config.init_from={tmp_path}/first'
    )
    assert copied == first != other


def matched(source, model, **options):
    return weights.match(weights.Source('there', source), model, heads=['head'], **options)


def arrays(**shapes):
    """Returns arrays by name: params__stem__kernel=(3, 4) is one called 'params/stem/kernel'."""
    rng = np.random.default_rng(len(shapes))
    return {
        name.replace('__', '/'): rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def tree(source):
    """Returns the same arrays as nested dictionaries, as a model has them."""
    return traverse_util.unflatten_dict(source, sep='/')


THERE = arrays(params__stem__kernel=(3, 4), params__head__kernel=(4, 7), params__head__bias=(7,))


def test_saved_weights_are_read_bit_for_bit(tmp_path):
    weights.save(tmp_path / weights.FILE, VARIABLES)
    for path in (tmp_path, tmp_path / weights.FILE):
        read = weights.read(str(path)).arrays
        np.testing.assert_array_equal(
            read['params/Dense_0/kernel'], VARIABLES['params']['Dense_0']['kernel']
        )


def test_a_path_may_end_with_a_checkpoint(tmp_path):
    assert weights.parts('runs/a:chosen') == (pathlib.Path('runs/a'), 'chosen')
    assert weights.parts('runs/a:b') == (pathlib.Path('runs/a:b'), 'initial')
    assert weights.parts('C:\\runs') == (pathlib.Path('C:\\runs'), 'initial')


def test_a_misspelt_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="'chosn' is not a checkpoint of"):
        weights.read(f'{tmp_path}:chosn')


def test_missing_weights_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r'^config\.init_from=.*there is no .*initial\.npz'):
        weights.read(str(tmp_path))


@pytest.mark.parametrize('content', [b'', b'no weights', None])
def test_damaged_weights_are_one_sentence(tmp_path, content):
    file = tmp_path / weights.FILE
    weights.save(file, VARIABLES)
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UserError, match=r'^config\.init_from: .* is damaged'):
        weights.read(str(file))


def test_pickled_weights_are_never_executed(tmp_path):
    np.savez(tmp_path / 'own.npz', kernel=np.array([{}], dtype=object))
    with pytest.raises(UserError, match='is damaged'):
        weights.read(str(tmp_path / 'own.npz'))


def test_equal_names_and_shapes_are_loaded():
    loaded = matched(THERE, tree(THERE))
    assert loaded.account == ['3 loaded: params/head/bias, params/head/kernel, params/stem/kernel']
    drawn = jax.tree.map(np.zeros_like, tree(THERE))
    filled = weights.named(weights.fill(loaded.arrays, drawn))
    assert all(np.array_equal(filled[name], THERE[name]) for name in THERE)


def test_a_head_for_another_number_of_classes_is_left_fresh():
    model = {**THERE, **arrays(params__head__kernel=(4, 2), params__head__bias=(2,))}
    loaded = matched(THERE, tree(model))
    assert loaded.account == [
        '1 loaded: params/stem/kernel',
        '2 left fresh: params/head/bias (7 classes there, 2 here), '
        'params/head/kernel (7 classes there, 2 here)',
    ]
    filled = weights.named(weights.fill(loaded.arrays, tree(model)))
    np.testing.assert_array_equal(filled['params/stem/kernel'], THERE['params/stem/kernel'])
    np.testing.assert_array_equal(filled['params/head/kernel'], model['params/head/kernel'])


def test_what_does_not_match_is_refused_by_name():
    other = arrays(params__stem__kernel=(3, 5), params__extra=(2,), params__head__bias=(7,))
    with pytest.raises(UserError) as error:
        matched(THERE, tree(other))
    assert str(error.value) == (
        'config.init_from: there is of another network: params/extra is absent there and '
        'float32[2] here; params/head/kernel is float32[4, 7] there and absent here; '
        'params/stem/kernel is float32[3, 4] there and float32[3, 5] here. Rename them with '
        'config.init_rename, or skip them with config.init_skip.'
    )


def test_a_head_that_the_source_has_not_is_left_fresh():
    body = {name: array for name, array in THERE.items() if 'head' not in name}
    assert matched(body, tree(THERE)).account == [
        '1 loaded: params/stem/kernel',
        '2 left fresh: params/head/bias (absent there), params/head/kernel (absent there)',
    ]


def test_a_head_that_differs_in_more_than_its_classes_is_refused():
    model = {**THERE, **arrays(params__head__kernel=(5, 2))}
    with pytest.raises(UserError, match=r'params/head/kernel is float32\[4, 7\] there'):
        matched(THERE, tree(model))


def test_another_dtype_is_refused():
    half = {**THERE, 'params/head/bias': THERE['params/head/bias'].astype(np.float16)}
    with pytest.raises(UserError, match=r'params/head/bias is float16\[7\] there and float32'):
        matched(half, tree(THERE))


def test_a_long_list_of_differences_is_cut():
    many = arrays(**{f'params__layer{number}': (2,) for number in range(9)})
    with pytest.raises(UserError, match=r'layer4 is .*, and 4 more\. Rename them'):
        matched(many, {})


def test_five_differences_are_all_shown():
    five = arrays(**{f'params__layer{number}': (2,) for number in range(5)})
    with pytest.raises(UserError, match=r'layer4 is float32\[2\] there and absent here\. Rename'):
        matched(five, {})


def test_skipped_tensors_are_left_fresh_here_and_unused_there():
    model = tree({'params/stem/kernel': THERE['params/stem/kernel'], **arrays(params__own__a=(1,))})
    loaded = matched(THERE, model, skip=('params/head/*', 'params/own/*'))
    assert loaded.account == [
        '1 loaded: params/stem/kernel',
        '1 left fresh: params/own/a',
        '2 unused: params/head/bias, params/head/kernel',
    ]


def test_renamed_tensors_are_loaded_under_the_name_of_the_first_prefix_that_fits():
    foreign = {f'model/{name}': array for name, array in THERE.items()}
    rename = (('model/params/stem/', 'params/first/'), ('model/', ''), ('model/params', 'no'))
    model = tree({name.replace('stem', 'first'): array for name, array in THERE.items()})
    loaded = matched(foreign, model, rename=rename)
    assert loaded.account[0].startswith('3 renamed: model/params/stem/kernel -> params/first/k')
    np.testing.assert_array_equal(loaded.arrays['params/first/kernel'], THERE['params/stem/kernel'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'skip': ('params/haed/*',)},
            r"init_skip: 'params/haed/\*' matches nothing: did you mean",
        ),
        ({'rename': (('model/', ''),)}, "init_rename: no tensor of there begins with 'model/'"),
        ({'rename': (('params/head/bias', 'params/head/kernel'),)}, 'would both be params/head/k'),
    ],
)
def test_a_pattern_or_prefix_without_effect_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        matched(THERE, tree(THERE), **options)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'init_from': '~nobody_of_this_name/run'}, 'init_from=.* a known home folder'),
        ({'init_skip': ('head',)}, r"init_skip=\('head',\) must be \(\) without init_from"),
        ({'init_skip': (3,), 'init_from': 'a'}, 'init_skip=.* must be a list of patterns'),
        ({'init_rename': ('ab',), 'init_from': 'a'}, 'init_rename=.* must be a list of pairs'),
        ({'init_rename': (('a', 1),), 'init_from': 'a'}, 'init_rename=.* must be a list of pairs'),
    ],
)
def test_impossible_values_are_refused(values, message):
    config = get_defaults()
    config.update(values)
    with pytest.raises(UserError, match=message):
        weights.check(config)
