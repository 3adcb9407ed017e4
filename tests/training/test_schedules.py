import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training.optimizers import SCHEDULES, check, make_schedule

TOTAL, EPOCH, RATE = 1000, 50, 0.3

VALUES = {
    'constant': {},
    'linear': {'end': 0.1},
    'inverse_time': {'decay': 1e-2},
    'step': {'decay': 0.1, 'at': ('5 epochs', '70%')},
    'exponential': {'decay': 0.9, 'every': '2 epochs'},
    'cosine': {'end': 0.05},
    'one_cycle': {'start': 0.2, 'peak': 0.25, 'end': 0.07},
}


def step_formula(step: int, length: int) -> float:
    position = step + TOTAL - length
    return RATE * 0.1 ** ((position >= 250) + (position >= 700))


def one_cycle_formula(step: int, length: int) -> float:
    rise = round(length / 4)
    if step < rise:
        return RATE * (0.2 + 0.8 * step / rise)
    return RATE * (1 - 0.93 * min(1, (step - rise) / (length - rise)))


# The step counts from the end of the warm-up, `length` is what the warm-up leaves of the run.
FORMULAS: dict[str, Callable[[int, int], float]] = {
    'constant': lambda step, length: RATE,
    'linear': lambda step, length: RATE * (1 - 0.9 * min(1, step / length)),
    'inverse_time': lambda step, length: RATE / (1 + 0.01 * step),
    'step': step_formula,
    'exponential': lambda step, length: RATE * 0.9 ** (step / 100),
    'cosine': lambda step, length: (
        RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1, step / length))))
    ),
    'one_cycle': one_cycle_formula,
}


def schedule_of(name: str, **values: object) -> Callable[[object], jax.Array]:
    config = get_defaults()
    config.schedule.update({'name': name, 'rate': RATE, **VALUES[name], **values})
    check(config)
    return make_schedule(config.schedule, total_steps=TOTAL, steps_per_epoch=EPOCH)


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_schedule_follows_its_formula(name: str) -> None:
    steps = np.arange(TOTAL + 20)
    rates = jax.vmap(schedule_of(name))(steps)
    expected = [FORMULAS[name](int(step), TOTAL) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_warmup_rises_from_zero_and_leaves_the_rest_of_the_run(name: str) -> None:
    warmup = 100
    steps = np.arange(TOTAL + 20)
    rates = jax.vmap(schedule_of(name, warmup='2 epochs'))(steps)
    formula, length = FORMULAS[name], TOTAL - warmup
    expected = [formula(0, length) * step / warmup for step in range(warmup)]
    expected += [formula(int(step) - warmup, length) for step in steps[warmup:]]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_rate_is_a_float32_scalar_for_any_kind_of_step(name: str) -> None:
    schedule = schedule_of(name, warmup='10%')
    for step in (120, jnp.int32(120), np.int64(120)):
        rate = schedule(step)
        assert rate.shape == ()
        assert rate.dtype == jnp.float32
        assert not rate.weak_type


def test_two_drops_in_one_step_both_apply() -> None:
    schedule = schedule_of('step', at=('100 steps', '2 epochs', '500 steps'))
    np.testing.assert_allclose([schedule(99), schedule(100)], [RATE, RATE * 0.01], rtol=1e-6)


def test_a_one_cycle_may_start_at_its_peak_or_end_there() -> None:
    np.testing.assert_allclose(schedule_of('one_cycle', peak=0.0)(0), RATE, rtol=1e-6)
    np.testing.assert_allclose(schedule_of('one_cycle', peak=1.0)(TOTAL), RATE, rtol=1e-6)


def test_a_drop_inside_the_warmup_is_refused() -> None:
    with pytest.raises(UserError, match="'5 epochs', which is before the warm-up of '6 epochs'"):
        schedule_of('step', warmup='6 epochs')


def test_a_warmup_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(UserError, match='1000 steps, and the run has 1000'):
        schedule_of('cosine', warmup='100%')


@pytest.mark.parametrize('key', ['end', 'peak', 'start'])
@pytest.mark.parametrize('value', [0.0, 1.0])
def test_a_fraction_of_a_schedule_may_be_0_or_1(key: str, value: float) -> None:
    config = get_defaults()
    config.schedule.update({'name': 'one_cycle', key: value})
    check(config)


@pytest.mark.parametrize(('name', 'every'), [('step', ''), ('exponential', '1 epochs')])
def test_a_factor_of_1_is_accepted(name: str, every: str) -> None:
    config = get_defaults()
    config.schedule.update({'name': name, 'decay': 1.0, 'every': every, 'at': ('1 epochs',)})
    check(config)


@pytest.mark.parametrize(
    ('name', 'values', 'message'),
    [
        ('cosin', {}, "schedule.name='cosin' is not valid: did you mean 'cosine'"),
        ('constant', {'rate': -0.1}, 'rate=-0.1 must be 0 or more, and finite'),
        ('constant', {'rate': math.nan}, 'rate=nan must be 0 or more'),
        ('constant', {'rate': math.inf}, 'rate=inf must be 0 or more, and finite'),
        ('constant', {'decay': -1.0}, 'decay=-1.0 must be 0 or more'),
        ('constant', {'warmup': 'soon'}, "'soon' is not a duration"),
        ('cosine', {'end': 1.5}, 'end=1.5 must be from 0 to 1'),
        ('one_cycle', {'peak': -0.5}, 'peak=-0.5 must be from 0 to 1'),
        ('one_cycle', {'start': 2.0}, 'start=2.0 must be from 0 to 1'),
        ('inverse_time', {'decay': 0.0}, 'decay=0.0 must be above 0, such as 1e-6'),
        ('step', {'decay': 1.5, 'at': ('1 epochs',)}, 'decay=1.5 must be above 0 and at most 1'),
        ('step', {'decay': 0.1, 'at': ()}, r'at=\(\) must be a list of durations'),
        ('step', {'decay': 0.1, 'at': ('1 epoc',)}, "'1 epoc' is not a duration"),
        ('exponential', {'decay': 0.0, 'every': '1 epochs'}, 'must be above 0 and at most 1'),
        ('exponential', {'decay': 0.9, 'every': ''}, "schedule.every='' must be above 0"),
    ],
)
def test_an_impossible_schedule_is_refused(
    name: str, values: dict[str, object], message: str
) -> None:
    config = get_defaults()
    config.schedule.update({'name': name, **values})
    with pytest.raises(UserError, match=message):
        check(config)


def test_a_drop_where_the_warmup_ends_applies_at_once() -> None:
    schedule = schedule_of('step', warmup='2 epochs', at=('2 epochs',))
    np.testing.assert_allclose(schedule(100), RATE * 0.1, rtol=1e-6)
