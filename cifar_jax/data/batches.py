"""The batches of an epoch: pure functions of the seed, the epoch and the step."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, Num

from cifar_jax.data import records
from cifar_jax.data.arrays import Arrays


class Batch(NamedTuple):
    """Images as stored, their labels, and their indices in the training set."""

    images: Num[Array, 'batch h w c']
    labels: Int32[Array, ' batch']
    indices: Int32[Array, ' batch']


@runtime_checkable
class TrainingSet(Protocol):
    """The labelled images that a run trains on, in batches of one size.

    The batches of an epoch are a function of the seed and the epoch, so that a run can be resumed
    at any step without the state of an iterator. They reach the compiled step in two parts: `epoch`
    yields what the step is called with, its feed, and `batch` turns the feed into a batch inside
    the step. A set that fits into the memory of the devices is its own feed, and its batches are
    gathered inside the step; one that is streamed, or of which each host holds a part, feeds a
    global `Batch` that it prepared on the host.
    """

    @property
    def size(self) -> int:
        """The number of images."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""

    @property
    def classes(self) -> int:
        """The number of classes."""

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[Any]:
        """Yields the feeds of an epoch from batch `first` on; an incomplete last batch is dropped.

        A feed is a tree of arrays, of the same shapes and dtypes in every step.
        """
        ...

    def batch(self, feed: Any, position: Int[Array, '']) -> Batch:
        """Returns the batch at a position in its epoch; a pure function that is compiled."""
        ...


class Feed(NamedTuple):
    """The feed of a `Resident` set: all images and labels, and the order of the epoch."""

    images: Num[Array, 'size h w c']
    labels: Int32[Array, ' size']
    order: Int32[Array, ' size']


class Resident:
    """A training set that is replicated on all devices; each step gathers its batch from it.

    Args:
      arrays: the images; they are copied to the devices when the first epoch begins.
      classes: the number of classes.
      batch_size: images in a batch.
      sharding: replicates an array over the devices of the run; None takes the default device.
    """

    def __init__(
        self,
        arrays: Arrays,
        classes: int,
        batch_size: int,
        sharding: jax.sharding.Sharding | None = None,
    ) -> None:
        self.size = len(arrays.labels)
        self.image_shape = arrays.images.shape[1:]
        self.classes = classes
        self._arrays, self._batch_size, self._sharding = arrays, batch_size, sharding

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[Feed]:
        """Yields the same feed for each batch of an epoch, from `first` on."""
        feed = Feed(*self._on_devices, self._order(seed, epoch))
        for _ in range(first, self.size // self._batch_size):
            yield feed

    def batch(self, feed: Feed, position: Int[Array, '']) -> Batch:
        """Gathers the batch at a position in the epoch's order."""
        start = position * self._batch_size
        indices = jax.lax.dynamic_slice_in_dim(feed.order, start, self._batch_size)
        return Batch(*gather(feed.images, feed.labels, indices), indices)

    @functools.cached_property
    def _on_devices(self) -> tuple[Array, Array]:
        return _to_devices(tuple(self._arrays), self._sharding)

    @functools.cached_property
    def _order(self) -> Any:
        return _compiled_order(self.size, self._sharding)


class Streamed:
    """A training set whose images are read from files while the run trains.

    Its batches are those of a `Resident` set. The next ones are read on the host during a step, at
    most as many bytes as the images' buffer holds, and a batch is copied to the devices as soon as
    the step before it has been started.

    Args:
      arrays: the images, of which each process reads the rows of its own devices.
      classes: the number of classes.
      batch_size: images in a batch.
      sharding: divides a batch over the devices of the run; None takes the default device.
    """

    def __init__(
        self,
        arrays: Arrays,
        classes: int,
        batch_size: int,
        sharding: jax.sharding.NamedSharding | None = None,
    ) -> None:
        self.size = len(arrays.labels)
        self.image_shape = arrays.images.shape[1:]
        self.classes = classes
        self._arrays, self._batch_size, self._sharding = arrays, batch_size, sharding

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch, from `first` on."""
        steps = self.size // self._batch_size
        order = np.asarray(self._order(seed, epoch))[: steps * self._batch_size]
        rows = order.reshape(steps, self._batch_size)[first:, self._own_part]
        for indices, images in zip(rows, records.read(self._arrays.images, rows), strict=True):
            batch = images, self._arrays.labels[indices], indices
            yield Batch(*_to_devices(batch, self._sharding))

    def batch(self, feed: Batch, position: Int[Array, '']) -> Batch:
        """Returns the feed, which is the batch already."""
        return feed

    @functools.cached_property
    def _own_part(self) -> slice:
        """The rows of a batch that are on the devices of this process, which are neighbours."""
        if self._sharding is None:
            return slice(None)
        rows = self._sharding.addressable_devices_indices_map((self._batch_size,)).values()
        parts = [row[0].indices(self._batch_size) for row in rows if row]
        return slice(min(part[0] for part in parts), max(part[1] for part in parts))

    @functools.cached_property
    def _order(self) -> Any:
        sharding = self._sharding
        everywhere = sharding and jax.sharding.NamedSharding(
            sharding.mesh, jax.sharding.PartitionSpec()
        )
        return _compiled_order(self.size, everywhere)


def _to_devices(arrays: tuple[Any, ...], sharding: jax.sharding.Sharding | None) -> Any:
    """Copies this process's part of arrays to its devices, by default to the default one."""
    if sharding is None:
        return jax.device_put(arrays)
    return jax.make_array_from_process_local_data(sharding, arrays)


def _compiled_order(size: int, sharding: jax.sharding.Sharding | None) -> Any:
    """Returns `epoch_order` as a compiled function of the seed and the epoch."""

    def order(seed: int, epoch: Int[Array, '']) -> Int32[Array, ' size']:
        return epoch_order(seed, epoch, size)

    return jax.jit(order, static_argnums=0, out_shardings=sharding)


def epoch_order(seed: int, epoch: int | Int[Array, ''], size: int) -> Int32[Array, ' size']:
    """Returns the order in which an epoch visits the training set, a permutation of 0..size-1.

    It is `permutation(fold_in(key(seed), epoch))`; `epoch` may be traced.
    """
    key = jax.random.fold_in(jax.random.key(seed), epoch)
    return jax.random.permutation(key, size).astype(jnp.int32)


def gather(
    images: Num[Array, 'size h w c'],
    labels: Int32[Array, ' size'],
    indices: Int32[Array, ' batch'],
) -> tuple[Num[Array, 'batch h w c'], Int32[Array, ' batch']]:
    """Returns the images and labels at `indices`, which are clipped to the data set."""
    return (
        jnp.take(images, indices, axis=0, mode='clip'),
        jnp.take(labels, indices, axis=0, mode='clip'),
    )


def evaluation_batch_size(images: int, largest: int) -> int:
    """Returns the batch size for evaluation: the next power of two, at most `largest`.

    Powers of two keep the number of compiled sizes small.
    """
    return min(largest, 1 << (images - 1).bit_length())


def evaluation_batches(
    size: int, batch: int
) -> list[tuple[Int32[np.ndarray, ' batch'], Bool[np.ndarray, ' batch']]]:
    """Returns (indices, mask) of every batch: each image once, in order.

    All batches have the same size: the last one is padded with the last image, masked by False.
    """
    starts = np.arange(0, size, batch, dtype=np.int32)
    rows = starts[:, None] + np.arange(batch, dtype=np.int32)
    return [(np.minimum(row, np.int32(size - 1)), row < size) for row in rows]
