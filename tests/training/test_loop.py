"""A run is a function of its config alone: not of devices, and not of interruptions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training import loop, parallel, validation
from cifar_jax.training import state as states


class Silent:
    """Watches nothing, and asks to stop after a given step."""

    def __init__(self, stop_after=None):
        self.stop_after, self.stop, self.lines = stop_after, False, []

    def started(self, step, history):
        self.lines = list(history)

    def wants(self, step):
        return True

    def stepped(self, step):
        self.stop = self.stop_after == step

    def epoch_ended(self, line, variables):
        self.lines.append(line)


def tiny_config(**train):
    """PlainCNN on a fifth of the digits, with dropout, DropBlock, augmentation and an average."""
    config = get_defaults()
    config.data.source = 'digits'
    config.data.fraction = 0.2
    config.data.augment = (dict(name='translate', pixels=2), dict(name='cutout', size=6))
    config.model.name = 'PlainCNN'
    config.model.widths = (4, 8)
    config.model.kernels = (5, 3)
    config.model.dropblock_sizes = (8, 3)
    config.model.hidden = 16
    config.schedule.rate = 0.02
    config.ema = 0.9
    config.optimizer.clip_norm = 1.0
    config.loss.label_smoothing = 0.1
    config.train.batch_size = 16
    config.train.length = '2 epochs'
    config.train.update(train)
    return config


@pytest.fixture(scope='module')
def data():
    return pipeline.prepare(tiny_config().data)


def run(config, data, folder, devices=1, watcher=None):
    mesh = parallel.make_mesh(devices, config.train.batch_size)
    return loop.run(loop.plan(config, data), data, mesh, folder, watcher or Silent())


def without_times(lines):
    return [
        {k: v for k, v in line.items() if k not in ('seconds', 'images_per_second')}
        for line in lines
    ]


@pytest.fixture(scope='module')
def unbroken(data, tmp_path_factory):
    return run(tiny_config(), data, tmp_path_factory.mktemp('unbroken'))


@pytest.mark.parametrize('step', [3, 14])
def test_a_stopped_run_goes_on_to_the_same_bits(step, data, tmp_path, unbroken):
    assert run(tiny_config(), data, tmp_path, watcher=Silent(step)).chosen is None
    resumed = run(tiny_config(), data, tmp_path)
    assert states.sha256(resumed.state) == states.sha256(unbroken.state)
    assert without_times(resumed.history) == without_times(unbroken.history)


def test_the_seed_decides_the_weights(data, tmp_path, unbroken):
    config = tiny_config()
    config.seed = 1
    other = run(config, data, tmp_path)
    assert states.sha256(other.state.variables) != states.sha256(unbroken.state.variables)


@pytest.fixture(scope='module')
def twenty_steps(data):
    """The weights after twenty steps with dropout and DropBlock, by number of devices."""
    config = tiny_config(length='20 steps')
    plan = loop.plan(config, data)
    found = {}
    for devices in (1, 2, 4):
        mesh = parallel.make_mesh(devices, config.train.batch_size)
        program = loop.programs(plan, mesh, len(data.train.labels))
        with jax.set_mesh(mesh):
            state, images = program.init(), validation.on_device(data.train, mesh)
            for step in range(20):
                state = program.step(state, images, program.order(step // plan.steps_per_epoch))
        found[devices] = states.to_host(state)
    return found


@pytest.mark.parametrize('devices', [2, 4])
def test_twenty_steps_do_not_depend_on_the_number_of_devices(devices, twenty_steps):
    """Beyond the order of sums: 1e-4 of each tensor's largest value."""
    one, many = twenty_steps[1], twenty_steps[devices]
    assert int(many.sums.correct) == int(one.sums.correct)
    largest = max(float(np.abs(a).max()) for a in jax.tree.leaves(one.variables))
    for a, b in zip(jax.tree.leaves(many.variables), jax.tree.leaves(one.variables), strict=True):
        # A bias before batch norm has no gradient but noise, hence the absolute part.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(np.abs(b).max(), 1e-2 * largest))


def test_the_loss_on_a_fixed_batch_is_driven_to_nearly_zero(data, tmp_path):
    config = tiny_config(length='150 steps', batch_size=32)
    config.model.dropblock_rate = 0.0
    config.model.dropout = 0.0
    config.data.augment = ()
    config.loss.label_smoothing = 0.0
    config.optimizer.name = 'adam'
    config.ema = 0.0
    config.checkpoint.every = '150 steps'
    fixed = data.train._replace(images=data.train.images[:32], labels=data.train.labels[:32])
    result = run(config, data._replace(train=fixed, validation=None), tmp_path)
    assert result.history[0]['train_loss'] > 1
    assert result.history[-1]['train_loss'] < 0.02


def test_the_average_holds_weights_and_batch_statistics(unbroken):
    state = unbroken.state
    assert jax.tree.structure(state.average) == jax.tree.structure(state.variables)
    assert states.evaluated(state) is state.average
    assert 'batch_stats' in state.average


def test_the_average_follows_its_formula():
    old, new = {'w': jnp.array([1.0, 2.0])}, {'w': jnp.array([3.0, 5.0])}
    early = states.update_average(old, new, jnp.int32(2), 0.999)['w']
    late = states.update_average(old, new, jnp.int32(10**6), 0.9)['w']
    np.testing.assert_allclose(early, 3 / 12 * old['w'] + 9 / 12 * new['w'], rtol=1e-6)
    np.testing.assert_allclose(late, 0.9 * old['w'] + 0.1 * new['w'], rtol=1e-6)


def test_masked_evaluation_equals_a_loop_over_single_images(data):
    config = tiny_config()
    plan = loop.plan(config, data)
    mesh = parallel.make_mesh(2, 16)
    variables = loop.initial_state(plan).variables
    part = data.test._replace(images=data.test.images[:23], labels=data.test.labels[:23])
    evaluate = validation.make_evaluate(plan.model, plan.normalizer, plan.dtype, mesh, 7)
    found = evaluate(variables, validation.on_device(part, mesh))

    single = jax.jit(lambda image: plan.model.apply(variables, image[None], train=False)[0])
    mean, std, _ = plan.normalizer
    logits = np.array([single((image / np.float32(255) - mean) / std) for image in part.images])
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(23), part.labels]
    assert found['loss'] == pytest.approx(losses.mean(), rel=1e-5)
    assert found['accuracy'] == (logits.argmax(1) == part.labels).mean()
    assert found['top5'] == sklearn_metrics.top_k_accuracy_score(
        part.labels, logits, k=5, labels=range(10)
    )


def test_early_stopping_reports_the_best_weights(data, tmp_path):
    config = tiny_config(length='12 epochs', patience=1, monitor='loss')
    config.schedule.rate = 0.5
    result = run(config, data, tmp_path)
    losses = [line['val_loss'] for line in result.history]
    assert len(losses) < 12
    assert result.chosen['val_loss'] == min(losses)
    assert int(result.state.step) == result.chosen['step']


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(data, tmp_path):
    config = tiny_config()
    config.schedule.rate = 1e30
    config.optimizer.clip_norm = 0.0
    with pytest.raises(UserError, match=r'loss of step \d+ is not finite: lower config.schedule'):
        run(config, data, tmp_path)


def test_a_batch_larger_than_the_data_is_refused(data):
    with pytest.raises(UserError, match='batch_size=5000 is more than the'):
        loop.plan(tiny_config(batch_size=5000), data)


def test_devices_that_cannot_share_the_batch_are_refused():
    with pytest.raises(UserError, match='cannot be shared evenly by 4 devices'):
        parallel.make_mesh(4, 18)


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(UserError, match='use at most 4'):
        parallel.make_mesh(8, 16)


@pytest.mark.parametrize('monitor', ['accuracy', 'loss'])
def test_a_run_without_validation_reports_its_last_weights(monitor, data, tmp_path):
    config = tiny_config(monitor=monitor, length='3 steps')
    result = run(config, data._replace(validation=None), tmp_path)
    assert result.chosen is result.history[-1]
    assert 'val_loss' not in result.chosen
