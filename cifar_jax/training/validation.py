"""Computes exact metrics over all images of a part of the data."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Int, Int32, Num, PyTree

from cifar_jax.data import batches, normalize, records
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.records import Records
from cifar_jax.training import losses, metrics, parallel


class Images(NamedTuple):
    """A part of the data, replicated on all devices."""

    images: Num[Array, 'n height width channels']
    labels: Int32[Array, 'n']


class StoppedError(Exception):
    """The evaluation was asked to stop."""


def on_device(arrays: Arrays, mesh: Mesh) -> Images | Arrays:
    """Puts a part of the data on every device, unless it is streamed."""
    return arrays if isinstance(arrays.images, Records) else _on_device(arrays, mesh)


def _on_device(arrays: Arrays, mesh: Mesh) -> Images:
    return Images(*parallel.replicate(tuple(arrays), mesh))


def _batches(
    data: Images | Arrays, size: int, mesh: Mesh
) -> Iterator[tuple[Images, Int[np.ndarray, 'batch'], Bool[np.ndarray, 'batch']]]:
    """Yields images, the indices of a batch in them, and its mask, until all images were used."""
    rows = batches.evaluation_batches(len(data.labels), size)
    if isinstance(data, Images):
        yield from ((data, indices, mask) for indices, mask in rows)
        return
    read = records.read(data.images, [indices for indices, _ in rows])
    for (indices, mask), images in zip(rows, read, strict=True):
        part = _on_device(Arrays(images, data.labels[indices]), mesh)
        yield part, np.arange(size, dtype=np.int32), mask


def eval_step(
    variables: Mapping[str, PyTree],
    sums: metrics.Sums,
    data: Images,
    indices: Int[Array, 'batch'],
    mask: Bool[Array, 'batch'],
    *,
    model: nn.Module,
    normalizer: normalize.Normalizer,
    dtype: DTypeLike,
    mesh: Mesh,
) -> metrics.Sums:
    """Adds the images of a batch where `mask` is true to the sums, without augmentation."""
    variables = jax.lax.with_sharding_constraint(variables, parallel.replicated(mesh))
    images, labels = batches.gather(*data, indices)
    images, labels = jax.lax.with_sharding_constraint((images, labels), parallel.over_batch(mesh))
    images = normalize.apply(normalizer, normalize.to_unit(images)).astype(dtype)
    logits = model.apply(variables, images, train=False)
    assert isinstance(logits, jax.Array)  # not a pair, since nothing is mutable
    return metrics.add(sums, losses.cross_entropy(logits, labels), logits, labels, mask)


def make_evaluate(
    model: nn.Module,
    normalizer: normalize.Normalizer,
    dtype: DTypeLike,
    mesh: Mesh,
    batch_size: int,
) -> Callable[..., dict[str, float]]:
    """Returns a function (variables, data) -> loss, accuracy and top5 over all images.

    A third argument, if given, is called before each batch: the function raises StoppedError if it
    returns True.

    Args:
      batch_size: the largest, see `batches.evaluation_batch_size`; rounded up to what the devices
        share evenly. It does not change the result beyond the order in which losses are added.
    """
    everywhere = parallel.replicated(mesh)

    def step(variables, sums, data, indices, mask):
        return eval_step(
            variables,
            sums,
            data,
            indices,
            mask,
            model=model,
            normalizer=normalizer,
            dtype=dtype,
            mesh=mesh,
        )

    compiled = jax.jit(
        step, out_shardings=everywhere, compiler_options=parallel.compiler_options(mesh)
    )

    def evaluate(
        variables: Mapping[str, PyTree],
        data: Images | Arrays,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, float]:
        count = len(data.labels)
        size = batches.evaluation_batch_size(count, batch_size)
        size = -(-size // mesh.size) * mesh.size
        with jax.set_mesh(mesh):
            sums = before = parallel.replicate(jax.device_get(metrics.zeros()), mesh)
            for images, indices, mask in _batches(data, size, mesh):
                # At most two batches are computed at a time, so that a request to stop is soon
                # heard.
                jax.block_until_ready(before)
                if stop():
                    raise StoppedError
                before, sums = sums, compiled(variables, sums, images, indices, mask)
        return metrics.mean(sums)

    return evaluate
