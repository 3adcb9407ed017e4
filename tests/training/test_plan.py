"""The plan of a run: its lengths, and the variables that it begins with."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
from tiny_training import BATCH, SIZE, config_of

from cifar_jax.errors import UserError
from cifar_jax.training import plan as plans
from cifar_jax.training import precision, weights

NARROW = {'name': 'BaseNet', 'widths': (3,), 'hidden': 6}


@pytest.fixture(scope='module')
def data():
    return tiny_training.data_of()


def plan_of(data, **overrides):
    config = config_of(**overrides)
    config.model.update(NARROW)
    return plans.make(config, data)


@pytest.mark.parametrize(('size', 'per_epoch'), [(BATCH, 1), (2 * BATCH - 1, 1), (2 * BATCH, 2)])
def test_an_epoch_has_the_steps_of_its_complete_batches(size, per_epoch):
    assert plans.lengths(config_of(train__length='3 epochs'), size) == (per_epoch, 3 * per_epoch)


def test_a_batch_of_more_than_the_training_images_is_refused():
    with pytest.raises(UserError, match=f'batch_size={BATCH} is more than the {BATCH - 1} train'):
        plans.lengths(config_of(), BATCH - 1)


def test_a_plan_counts_checkpoints_in_steps(data):
    plan = plan_of(data, train__length='40 steps', checkpoint__every='25%')
    assert (plan.steps_per_epoch, plan.total_steps) == (SIZE // BATCH, 40)
    assert plan.save_every == 10
    assert plan_of(data, checkpoint__every='3 epochs').save_every == 3 * (SIZE // BATCH)


def test_a_plan_has_the_model_of_the_config_with_its_options(data):
    model = plan_of(data).model
    assert (type(model).__name__, model.widths, model.hidden) == ('BaseNet', (3,), 6)
    assert model.classes == tiny_training.CLASSES


def test_a_plan_computes_in_the_precision_of_the_processor_and_says_why(data, monkeypatch, caplog):
    monkeypatch.setattr(precision, 'compute_dtype', lambda wanted: (jnp.bfloat16, f'not {wanted}'))
    with caplog.at_level(logging.INFO, 'cifar_jax'):
        plan = plan_of(data)
    assert plan.dtype == plan.model.dtype == jnp.bfloat16
    assert caplog.messages == ['not float32']


@pytest.mark.parametrize('ema', [0.0, 0.5])
def test_an_average_is_kept_where_the_config_has_one(data, ema):
    plan = plan_of(data, ema=ema)
    assert bool(jax.eval_shape(lambda: plans.initial_state(plan)).average) == (ema > 0)


@pytest.fixture(scope='module')
def drawn(data):
    """The variables that seed 0 draws, by name."""
    plan = plan_of(data)
    return weights.named(jax.jit(lambda: plans.initial_state(plan).variables)())


def save(folder, arrays):
    np.savez(folder / 'own.npz', **arrays)
    return str(folder / 'own.npz')


def test_without_init_from_no_weights_are_loaded(data):
    assert plans.match(plan_of(data)) is None
    assert plans.loaded_variables(plan_of(data)) is None


def test_a_run_begins_with_the_weights_of_init_from(data, drawn, tmp_path, caplog):
    saved = {name: np.asarray(value) + 1 for name, value in drawn.items()}
    plan = plan_of(data, init_from=save(tmp_path, saved))
    with caplog.at_level(logging.INFO, 'cifar_jax'):
        loaded = weights.named(plans.loaded_variables(plan))
    assert loaded.keys() == saved.keys()
    assert all(np.array_equal(loaded[name], saved[name]) for name in saved)
    (message,) = caplog.messages
    assert message.startswith(f'config.init_from: {len(saved)} loaded: params/')


def test_weights_that_init_from_lacks_are_drawn_from_the_seed(data, drawn, tmp_path):
    saved = {name: np.asarray(value) + 1 for name, value in drawn.items() if 'Dense_1' not in name}
    plan = plan_of(data, init_from=save(tmp_path, saved), init_skip=('params/Dense_1/*',))
    loaded = weights.named(plans.loaded_variables(plan))
    assert loaded.keys() == drawn.keys()
    for name in drawn:
        np.testing.assert_array_equal(loaded[name], saved.get(name, drawn[name]))


def test_renamed_weights_are_loaded(data, drawn, tmp_path):
    saved = {f'model/{name}': np.asarray(value) for name, value in drawn.items()}
    plan = plan_of(data, init_from=save(tmp_path, saved), init_rename=(('model/', ''),))
    assert weights.named(plans.loaded_variables(plan)).keys() == drawn.keys()


def test_a_group_that_matches_no_parameter_is_refused_by_the_plan(data):
    with pytest.raises(UserError, match=r"groups\[0\] matches nothing with 'stme\*'"):
        plan_of(data, optimizer__groups=({'pattern': 'stme*'},))


def test_a_run_begins_with_the_variables_that_are_given(data, drawn):
    plan = plan_of(data)
    given = weights.fill({name: value + 1 for name, value in drawn.items()}, plans.shapes(plan))
    state = jax.jit(lambda variables: plans.initial_state(plan, variables))(given)
    started = weights.named(dict(state.variables))
    assert all(np.array_equal(started[name], drawn[name] + 1) for name in drawn)
