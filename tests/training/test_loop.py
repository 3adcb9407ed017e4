"""A run is a function of its config, not of devices or interruptions."""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
from tiny_training import EPOCHS, SIZE, STEPS, Watcher, config_of, plan_of

from cifar_jax.data import batches, pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training import checkpoints, loop, weights
from cifar_jax.training import plan as plans
from cifar_jax.training import state as states
from cifar_jax.training import step as steps

PER_EPOCH = STEPS // EPOCHS


@pytest.fixture(scope='module')
def data():
    return tiny_training.data_of()


def run(data, folder, watcher=None, **overrides):
    return loop.run(plan_of(config_of(ema=0.9, **overrides), data), folder, watcher or Watcher())


def without_times(lines):
    return [
        {k: v for k, v in line.items() if k not in ('seconds', 'images_per_second')}
        for line in lines
    ]


@pytest.fixture(scope='module')
def unbroken(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp('unbroken'))


def assert_same_run(one, other):
    assert states.sha256(one.state) == states.sha256(other.state)
    assert without_times(one.history) == without_times(other.history)


@pytest.mark.parametrize('step', [3, PER_EPOCH, PER_EPOCH + 2])
def test_a_stopped_run_resumes_to_the_same_bits(step, data, tmp_path, unbroken):
    assert run(data, tmp_path, Watcher(stop_after=step)).chosen is None
    watcher = Watcher()
    assert_same_run(run(data, tmp_path, watcher), unbroken)
    assert watcher.began == step


class StopsInValidation(Watcher):
    """Is asked to stop when a given number of batches of the first validation have been started."""

    batches_left = 0

    @property
    def stop(self):
        self.batches_left -= self.validating
        return self.batches_left < 0

    @stop.setter
    def stop(self, value):
        self.validating = False

    def stepped(self, step):
        self.validating = step == PER_EPOCH


@pytest.mark.parametrize('batches_before', [0, 2])
def test_a_run_stopped_in_its_validation_resumes_with_it_to_the_same_bits(
    batches_before, data, tmp_path, unbroken
):
    stopping = StopsInValidation()
    stopping.batches_left = batches_before + 1  # the loop asks after the step, too
    stopped = run(data, tmp_path, stopping, eval_batch_size=4)
    assert stopped.chosen is None
    assert int(stopped.state.step) == PER_EPOCH
    assert stopped.history == stopping.lines == []
    watcher = Watcher()
    resumed = run(data, tmp_path, watcher, eval_batch_size=4)
    assert states.sha256(resumed.state) == states.sha256(unbroken.state)
    assert watcher.began == PER_EPOCH
    for line, expected in zip(watcher.lines, unbroken.history, strict=True):
        assert line['step'] == expected['step']
        # The order of sums differs, since the batches do.
        assert line['val_loss'] == pytest.approx(expected['val_loss'], rel=1e-6)


def test_a_killed_run_resumes_at_its_latest_checkpoint_to_the_same_bits(data, tmp_path, unbroken):
    class Killed(Watcher):
        def stepped(self, step):
            if step == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, Killed(), checkpoint__every='3 steps')
    watcher = Watcher()
    assert_same_run(run(data, tmp_path, watcher), unbroken)
    assert watcher.began == 6
    assert [line['step'] for line in watcher.lines] == [PER_EPOCH, STEPS]


def test_a_finished_run_goes_no_further(data, tmp_path, unbroken):
    run(data, tmp_path)
    watcher = Watcher()
    assert_same_run(run(data, tmp_path, watcher), unbroken)
    assert watcher.began == STEPS


def test_a_finished_run_that_ended_within_an_epoch_goes_no_further(data, tmp_path):
    first = run(data, tmp_path, train__length='7 steps')
    again = run(data, tmp_path, train__length='7 steps')
    assert_same_run(again, first)
    assert again.chosen == first.chosen


def test_the_weights_at_the_start_are_kept(data, tmp_path):
    plan = plan_of(config_of(train__length='1 steps'), data)
    loop.run(plan, tmp_path, Watcher())
    drawn = jax.jit(lambda: plans.initial_state(plan).variables)()
    kept = weights.read(str(tmp_path)).arrays
    assert kept.keys() == weights.named(drawn).keys()
    for name, array in weights.named(drawn).items():
        np.testing.assert_array_equal(kept[name], array)


def test_the_speed_of_an_epoch_is_that_of_its_training_and_its_seconds_are_all(
    data, tmp_path, monkeypatch
):
    """The clock is read at the start of an epoch, after its training, and after its validation."""
    clock = types.SimpleNamespace(perf_counter=itertools.count(0.0, 3.0).__next__)
    monkeypatch.setattr(loop, 'time', clock)
    for line in run(data, tmp_path).history:
        assert line['images_per_second'] == pytest.approx(PER_EPOCH * tiny_training.BATCH / 3)
        assert line['seconds'] == 6


def test_a_run_may_end_within_an_epoch(data, tmp_path):
    result = run(data, tmp_path, train__length='7 steps')
    assert int(result.state.step) == 7
    assert [line['epoch'] for line in result.history] == [1, 2]
    assert result.chosen['step'] == 7


def test_an_epoch_before_the_next_checkpoint_is_due_is_not_saved_but_the_end_is(data, tmp_path):
    run(data._replace(validation=None), tmp_path, checkpoint__every='40 epochs')
    with checkpoints.manager(tmp_path / loop.CHECKPOINTS, read_only=True) as manager:
        assert list(manager.all_steps()) == [STEPS]


class FromHost:
    """A training set whose batches are gathered on the host, as those of a stream would be."""

    def __init__(self, arrays):
        self.arrays, self.size, self.classes = arrays, SIZE, tiny_training.CLASSES
        self.image_shape = arrays.images.shape[1:]

    def epoch(self, seed, epoch, first=0):
        order = np.array(batches.epoch_order(seed, epoch, SIZE))
        for position in range(first, SIZE // tiny_training.BATCH):
            indices = order[position * tiny_training.BATCH :][: tiny_training.BATCH]
            images, labels = (part[indices] for part in self.arrays)
            yield batches.Batch(jnp.asarray(images), jnp.asarray(labels), jnp.asarray(indices))

    def batch(self, feed, position):
        return feed


def test_batches_from_the_host_train_to_the_weights_of_those_gathered_on_the_device(
    data, tmp_path, unbroken
):
    plan = plan_of(config_of(ema=0.9), data)._replace(training=FromHost(data.train))
    streamed = loop.run(plan, tmp_path, Watcher(stop_after=7))
    assert streamed.chosen is None
    streamed = loop.run(plan, tmp_path, Watcher())
    for a, b in zip(*map(jax.tree.leaves, (streamed.state, unbroken.state)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def weights_after(plan, count):
    program = steps.programs(plan)
    with jax.set_mesh(plan.mesh):
        state, feeds = program.init(), plan.training.epoch(plan.config.seed, 0)
        for _ in range(count):
            state = program.step(state, next(feeds))
    return states.to_host(state)


def assert_close(one, many):
    """Beyond the order of sums, states of several numbers of devices are equal."""
    assert int(many.sums.correct) == int(one.sums.correct)
    largest = max(float(np.abs(a).max()) for a in jax.tree.leaves(one.variables))
    for a, b in zip(jax.tree.leaves(many.variables), jax.tree.leaves(one.variables), strict=True):
        # A bias before batch norm has no gradient but noise, hence the absolute part.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(np.abs(b).max(), 1e-2 * largest))


@pytest.mark.slow
@pytest.mark.parametrize('devices', [2, 4])
def test_the_weights_do_not_depend_on_the_number_of_devices(devices, data):
    one, many = (
        weights_after(plan_of(config_of(mesh__devices=n), data), PER_EPOCH) for n in (1, devices)
    )
    assert_close(one, many)


@pytest.mark.slow
def test_dropblock_batch_norm_and_augmentation_do_not_depend_on_the_number_of_devices():
    config = get_defaults()
    config.data.update(source='digits', fraction=0.2)
    config.data.augment = (dict(name='translate', pixels=2), dict(name='cutout', size=6))
    config.model.update(name='PlainCNN', widths=(4, 8), kernels=(5, 3), dropblock_sizes=(8, 3))
    config.model.hidden = 16
    config.schedule.rate = 0.02
    config.optimizer.clip_norm = 1.0
    config.train.update(batch_size=16, length='20 steps')
    data = pipeline.prepare(config.data)
    results = []
    for devices in (1, 4):
        config.mesh.devices = devices
        results.append(weights_after(plans.make(config, data), 10))
    assert_close(*results)


def test_the_average_holds_weights_and_batch_statistics(unbroken):
    state = unbroken.state
    assert jax.tree.structure(state.average) == jax.tree.structure(state.variables)
    assert states.evaluated(state) is state.average
    assert 'batch_stats' in state.average


def test_early_stopping_reports_the_best_weights_after_patience_epochs(data, tmp_path):
    watcher = Watcher()
    result = run(
        data,
        tmp_path,
        watcher,
        train__length='40 epochs',
        train__patience=3,
        train__monitor='loss',
        checkpoint__every='40 epochs',
    )
    losses = [line['val_loss'] for line in result.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 40
    assert result.chosen is result.history[best]
    assert int(result.state.step) == result.chosen['step']
    reported = states.evaluated(result.state)
    assert states.sha256(reported) == states.sha256(watcher.variables[result.chosen['step']])


def test_no_checkpoint_is_read_before_the_last_one_is_known_to_be_written(
    data, tmp_path, monkeypatch
):
    """Otherwise the best one, which is read, might be blamed for the error."""
    save, errors = checkpoints.save, [OSError('No space left')]

    class FirstIsBest(Watcher):
        def epoch_ended(self, line, variables):
            line['val_loss'] = float(line['epoch'])

    def failing_at_last(manager, state, *rest):
        save(manager, state, *rest)
        if int(state.step) == STEPS:
            wait = manager.wait_until_finished
            monkeypatch.setattr(manager, 'wait_until_finished', lambda: fail_after(wait))

    def fail_after(wait):
        wait()
        if errors:
            raise errors.pop()

    monkeypatch.setattr(checkpoints, 'save', failing_at_last)
    monkeypatch.setattr(checkpoints, 'restore_step', None)
    with pytest.raises(UserError, match=r'^A checkpoint in .* cannot be written \(No space left'):
        run(data, tmp_path, FirstIsBest(), train__select='best', train__monitor='loss')


def test_a_run_without_validation_reports_its_last_weights(data, tmp_path):
    result = run(data._replace(validation=None), tmp_path, train__length='3 steps')
    assert result.chosen is result.history[-1]
    assert 'val_loss' not in result.chosen


def test_the_latest_two_checkpoints_and_the_best_one_are_kept(data, tmp_path):
    result = run(data, tmp_path, train__length='6 epochs', train__monitor='loss')
    best = min(result.history, key=lambda line: line['val_loss'])['step']
    with checkpoints.manager(tmp_path / loop.CHECKPOINTS, read_only=True) as manager:
        assert {*manager.all_steps()} == {best, 5 * PER_EPOCH, 6 * PER_EPOCH}


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(data, tmp_path):
    with pytest.raises(UserError, match=r'loss of step \d+ is not finite: lower config.schedule'):
        run(data, tmp_path, schedule__rate=1e30)


class Uninterested(Watcher):
    """Waits for no step, and records those that it is told of."""

    def __init__(self):
        super().__init__()
        self.told = []

    def wants(self, step):
        return False

    def stepped(self, step):
        self.told.append(step)


def test_a_watcher_is_told_of_checkpoints_and_the_ends_of_epochs_whatever_it_wants(data, tmp_path):
    watcher = Uninterested()
    run(data, tmp_path, watcher, checkpoint__every='3 steps')
    assert watcher.told == [3, PER_EPOCH, 6, 9, STEPS]


def test_the_first_of_several_steps_without_a_finite_loss_is_named(data, tmp_path):
    infinite = data.normalizer._replace(std=np.full((1, 1, 3), 1e-38, np.float32))
    with pytest.raises(UserError, match=r'^The loss of step 0 is not finite'):
        run(data._replace(normalizer=infinite), tmp_path, Uninterested())


def test_a_run_that_is_stopped_saves_no_state_after_a_loss_that_is_not_finite(data, tmp_path):
    class Interrupted(Uninterested):
        """Is asked to stop during a step that nobody waits for."""

        def wants(self, step):
            self.stop = True
            return False

    infinite = data.normalizer._replace(std=np.full((1, 1, 3), 1e-38, np.float32))
    with pytest.raises(UserError, match=r'^The loss of step 0 is not finite'):
        run(data._replace(normalizer=infinite), tmp_path, Interrupted())


def test_weights_that_diverge_in_the_last_update_stop_the_run(data, tmp_path):
    large = data.normalizer._replace(std=np.full((1, 1, 3), 1e-6, np.float32))
    data = data._replace(validation=None, normalizer=large)
    with pytest.raises(UserError, match=r'^After step 1 a weight is not finite: lower config'):
        run(data, tmp_path, schedule__rate=1e38, train__length='1 steps')


class NanWithoutTraining(tiny_training.Net):
    """Diverges at evaluation alone."""

    def __call__(self, images, *, train, progress=1.0):
        logits = super().__call__(images, train=train, progress=progress)
        return logits if train else logits * jnp.nan


def test_a_validation_loss_that_is_not_finite_stops_the_run(data, tmp_path):
    plan = plan_of(config_of(train__length='1 steps'), data)._replace(model=NanWithoutTraining())
    with pytest.raises(UserError, match=r'^After step 1 val_loss is not finite'):
        loop.run(plan, tmp_path, Watcher())


@pytest.mark.parametrize(('first', 'then', 'ends'), [(3, 5, [5]), (7, 10, [5, 10])])
def test_a_run_lengthened_within_an_epoch_has_one_line_for_each_epoch(
    data, tmp_path, first, then, ends
):
    run(data, tmp_path, train__length=f'{first} steps')
    watcher = Watcher()
    result = run(data, tmp_path, watcher, train__length=f'{then} steps')
    assert watcher.began == first
    assert [(line['epoch'], line['step']) for line in watcher.lines] == [*enumerate(ends, 1)]
    assert result.history == watcher.lines
