"""The order of the images and the batches of an evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_jax.data import batches, records
from cifar_jax.data.arrays import Arrays
from cifar_jax.training import parallel


def test_an_epoch_visits_every_image_once():
    order = batches.epoch_order(0, 3, 101)
    assert order.dtype == jnp.int32
    assert np.array_equal(np.sort(order), np.arange(101))


def test_the_order_follows_from_seed_and_epoch():
    orders = [batches.epoch_order(seed, epoch, 50) for seed in (0, 1) for epoch in (0, 1)]
    assert np.array_equal(orders[0], batches.epoch_order(0, 0, 50))
    assert len({np.asarray(order).tobytes() for order in orders}) == 4


def test_a_traced_epoch_gives_the_same_order():
    traced = jax.jit(lambda epoch: batches.epoch_order(7, epoch, 40))(jnp.int32(5))
    assert np.array_equal(traced, batches.epoch_order(7, 5, 40))


def test_the_order_is_the_documented_permutation_of_the_seed_and_the_epoch():
    key = jax.random.fold_in(jax.random.key(2), 5)
    expected = jax.random.permutation(key, 50)
    assert np.array_equal(batches.epoch_order(2, 5, 50), expected)


def test_the_order_is_the_same_with_double_precision_on():
    expected = batches.epoch_order(2, 4, 30)
    with jax.enable_x64(True):
        order = batches.epoch_order(2, 4, 30)
    assert order.dtype == jnp.int32
    assert np.array_equal(order, expected)


def test_gather_takes_images_with_their_labels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 4, 4, 3), np.uint8)
    labels = np.arange(20, dtype=np.int32)
    rows = np.array([3, 19, 3, 0], np.int32)
    taken, marks = jax.jit(batches.gather)(images, labels, rows)
    assert np.array_equal(taken, images[rows])
    assert np.array_equal(marks, rows)


def test_gather_clips_indices_to_the_data_set():
    images = jnp.arange(4, dtype=jnp.uint8)[:, None, None, None]
    taken, marks = batches.gather(images, jnp.arange(4), jnp.array([7, 2]))
    assert np.asarray(taken).ravel().tolist() == np.asarray(marks).tolist() == [3, 2]


@pytest.fixture(scope='module')
def resident():
    """Twenty images, each filled with its label, in batches of six."""
    labels = np.arange(20, dtype=np.int32)
    images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (20, 4, 4, 3))
    return batches.Resident(Arrays(images, labels), 20, 6)


def indices_of(resident, seed, epoch, first=0):
    """The indices of each batch of an epoch, whose images and labels must be those."""
    indices = []
    for position, feed in enumerate(resident.epoch(seed, epoch, first), first):
        batch = jax.jit(resident.batch)(feed, jnp.int32(position))
        assert np.array_equal(batch.labels, batch.indices)
        assert np.array_equal(batch.images[:, 2, 1, 0], batch.indices)
        indices.append(batch.indices)
    return np.array(indices)


def test_the_batches_of_an_epoch_are_its_order_without_an_incomplete_one(resident):
    order = np.array(batches.epoch_order(5, 2, 20))
    assert np.array_equal(indices_of(resident, 5, 2), order[:18].reshape(3, 6))


def test_an_epoch_can_begin_at_any_of_its_batches(resident):
    assert np.array_equal(indices_of(resident, 5, 2, first=2), indices_of(resident, 5, 2)[2:])


def test_an_epoch_begins_with_its_first_batch(resident):
    assert len(list(resident.epoch(5, 2))) == 3


def test_the_feed_of_an_epoch_is_on_all_devices():
    everywhere = parallel.replicated(parallel.make_mesh(4, 4))
    arrays = Arrays(np.zeros((8, 2, 2, 3), np.uint8), np.zeros(8, np.int32))
    feed = next(batches.Resident(arrays, 2, 4, everywhere).epoch(0, 0))
    assert {leaf.sharding for leaf in feed} == {everywhere}


def test_a_training_set_knows_its_size_image_shape_and_classes(resident):
    assert isinstance(resident, batches.TrainingSet)
    assert (resident.size, resident.image_shape, resident.classes) == (20, (4, 4, 3), 20)


@pytest.fixture(scope='module')
def streamed(tmp_path_factory, resident):
    """The twenty images in a file."""
    images, labels = resident._arrays
    file = tmp_path_factory.mktemp('streamed') / 'images'
    return Arrays(records.write(file, images, images.shape), labels)


@pytest.mark.parametrize('first', [0, 2])
def test_the_batches_of_a_streamed_set_are_those_of_one_in_memory(resident, streamed, first):
    stream = batches.Streamed(streamed, 20, 6)
    assert np.array_equal(indices_of(stream, 5, 2, first), indices_of(resident, 5, 2, first))


def test_a_batch_of_a_streamed_set_is_divided_over_the_devices(streamed):
    mesh = parallel.make_mesh(4, 4)
    stream = batches.Streamed(streamed, 20, 4, parallel.over_batch(mesh))
    feed = next(stream.epoch(1, 0))
    assert {leaf.sharding for leaf in feed} == {parallel.over_batch(mesh)}
    assert np.array_equal(feed.labels, batches.epoch_order(1, 0, 20)[:4])
    assert np.array_equal(feed.images[:, 1, 1, 2], feed.labels)


def test_a_process_reads_only_the_images_of_its_own_devices(streamed, monkeypatch):
    def of_the_second_process(sharding, shape):
        """The last two of four devices."""
        quarter = shape[0] // 4
        return {n: (slice(n * quarter, (n + 1) * quarter, None),) for n in (2, 3)}

    def put(sharding, arrays):
        return arrays

    sharding = parallel.over_batch(parallel.make_mesh(4, 4))
    name = 'addressable_devices_indices_map'
    monkeypatch.setattr(jax.sharding.Sharding, name, of_the_second_process)
    monkeypatch.setattr(jax, 'make_array_from_process_local_data', put)
    feed = next(batches.Streamed(streamed, 20, 8, sharding).epoch(1, 0))
    assert np.array_equal(feed.indices, batches.epoch_order(1, 0, 20)[4:8])
    assert np.array_equal(feed.images[:, 0, 0, 0], feed.labels)


def test_a_streamed_set_knows_its_size_image_shape_and_classes(streamed):
    stream = batches.Streamed(streamed, 20, 6)
    assert isinstance(stream, batches.TrainingSet)
    assert (stream.size, stream.image_shape, stream.classes) == (20, (4, 4, 3), 20)


@pytest.mark.parametrize(
    ('images', 'largest', 'size'),
    [(1, 500, 1), (20, 500, 32), (256, 500, 256), (257, 500, 500), (9999, 500, 500), (3, 2, 2)],
)
def test_few_images_are_evaluated_in_a_batch_of_the_next_power_of_two(images, largest, size):
    assert batches.evaluation_batch_size(images, largest) == size


@settings(deadline=None)
@given(size=st.integers(1, 200), batch=st.integers(1, 64))
def test_evaluation_sees_each_image_exactly_once(size, batch):
    parts = batches.evaluation_batches(size, batch)
    assert all(rows.shape == mask.shape == (batch,) for rows, mask in parts)
    assert all(rows.dtype == np.int32 and rows.max() < size for rows, _ in parts)
    seen = np.concatenate([rows[mask] for rows, mask in parts])
    assert np.array_equal(seen, np.arange(size))


@pytest.mark.parametrize(('size', 'count'), [(10, 2), (11, 3), (4, 1)])
def test_evaluation_takes_no_batch_more_than_it_needs(size, count):
    assert len(batches.evaluation_batches(size, 5)) == count
