"""Extended runs: detection of what depends on the length of a run."""

import jax.numpy as jnp
import pytest
import tiny_training

from cifar_jax.training import extension


@pytest.fixture(scope='module')
def data():
    return tiny_training.data_of()


def spanning(data, model, before='2 epochs', length='6 epochs', **overrides):
    config = tiny_training.config_of(train__length=length, **overrides)
    plan = tiny_training.plan_of(config, data)._replace(model=model)
    return extension.spanning(plan, before, (6, 6, 3))


class Steady(tiny_training.Net):
    """Does not look at the progress of the run."""

    def __call__(self, images, *, train, progress=1.0):
        return super().__call__(images, train=train)


@pytest.mark.parametrize(
    'schedule',
    [
        {},
        {'name': 'step', 'at': ('3 epochs',), 'decay': 0.1},
        {'name': 'exponential', 'every': '1 epochs', 'decay': 0.5},
        {'name': 'inverse_time', 'decay': 0.1},
        {'warmup': '3 steps'},
    ],
)
def test_a_schedule_in_steps_and_epochs_does_not_span_the_run(schedule, data):
    overrides = {f'schedule__{key}': value for key, value in schedule.items()}
    assert spanning(data, Steady(), **overrides) == []


@pytest.mark.parametrize(
    'schedule',
    [
        {'name': 'linear'},
        {'name': 'cosine'},
        {'name': 'one_cycle'},
        {'warmup': '10%'},
        {'name': 'step', 'at': ('50%',), 'decay': 0.1},
    ],
)
def test_a_schedule_that_follows_the_length_spans_the_run(schedule, data):
    overrides = {f'schedule__{key}': value for key, value in schedule.items()}
    name = schedule.get('name', 'constant')
    assert spanning(data, Steady(), **overrides) == [f"the schedule '{name}'"]


@pytest.mark.parametrize(
    ('until', 'parts'), [('1 epochs', []), ('50%', ["the unfreezing of '*/bias'"])]
)
def test_a_group_that_unfreezes_with_the_length_spans_the_run(until, parts, data):
    plan = tiny_training.plan_of(tiny_training.config_of(train__length='6 epochs'), data)
    plan.config.optimizer.groups = ({'pattern': '*/bias', 'frozen_until': until},)
    assert extension.spanning(plan._replace(model=Steady()), '2 epochs', (6, 6, 3)) == parts


def test_a_model_that_follows_the_progress_of_the_run_spans_it(data):
    assert spanning(data, tiny_training.Net(jnp.float32)) == ['the dropping of PlainCNN']


class DropsInTraining(tiny_training.Net):
    """Looks at the progress of the run in training alone."""

    def __call__(self, images, *, train, progress=1.0):
        return super().__call__(images, train=train, progress=progress if train else 1.0)


def test_a_model_that_follows_the_progress_in_training_alone_spans_the_run(data):
    assert spanning(data, DropsInTraining()) == ['the dropping of PlainCNN']
