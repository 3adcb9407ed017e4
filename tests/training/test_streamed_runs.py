"""Runs on images that are streamed from files: the same bits as in memory."""

import jax
import numpy as np
import pytest
from tiny_training import STEPS, Watcher, config_of, data_of, plan_of

from cifar_jax.data import records
from cifar_jax.data.arrays import Arrays
from cifar_jax.errors import UserError
from cifar_jax.training import loop, numpy_trainer


@pytest.fixture(scope='module')
def streamed(tmp_path_factory):
    """The data of a tiny run in files."""
    folder, data = tmp_path_factory.mktemp('streamed'), data_of()
    parts = {
        part: Arrays(records.write(folder / part, images, images.shape), labels)
        for part in ('train', 'validation')
        for images, labels in [getattr(data, part)]
    }
    return data._replace(**parts)


def trained(data, folder, stop_after=None, **overrides):
    """The state after a run, its lines without times, and where it began."""
    watcher = Watcher(stop_after)
    state = loop.run(plan_of(config_of(**overrides), data), folder, watcher).state
    lines = [{k: v for k, v in line.items() if 'second' not in k} for line in watcher.lines]
    return jax.tree.map(np.asarray, state), lines, watcher.began


@pytest.fixture(scope='module')
def in_memory(tmp_path_factory):
    return trained(data_of(), tmp_path_factory.mktemp('run'))


def assert_same(run, expected):
    jax.tree.map(np.testing.assert_array_equal, run[0], expected[0])
    assert run[1] == expected[1]


def test_a_streamed_run_has_the_bits_of_one_in_memory(streamed, in_memory, tmp_path):
    assert_same(trained(streamed, tmp_path), in_memory)


def test_a_streamed_run_that_was_stopped_resumes_to_the_same_bits(streamed, in_memory, tmp_path):
    for stop in (3, STEPS - 2, None):
        run = trained(streamed, tmp_path, stop)
    assert run[2] == STEPS - 2
    assert_same(run, in_memory)


def test_a_run_may_be_streamed_from_some_step_on(streamed, in_memory, tmp_path):
    trained(data_of(), tmp_path, 3)
    assert_same(trained(streamed, tmp_path), in_memory)


def test_a_buffer_of_one_batch_is_enough(streamed, in_memory, tmp_path):
    train = streamed.train._replace(images=streamed.train.images.with_buffer(1))
    assert_same(trained(streamed._replace(train=train), tmp_path), in_memory)


def test_a_streamed_run_on_four_devices_is_that_in_memory(streamed, tmp_path):
    runs = [
        trained(data, tmp_path / name, mesh__devices=4, train__length='3 steps')
        for name, data in (('memory', data_of()), ('files', streamed))
    ]
    assert_same(*runs)


def test_numpy_trains_on_images_in_memory_which_is_one_sentence(streamed):
    with pytest.raises(UserError, match=r'in memory: raise config\.data\.memory_gb'):
        numpy_trainer.plan(config_of(), streamed)
