"""Evaluation of parts of the data of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cifar_jax.data import batches
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.normalize import Normalizer
from cifar_jax.training import parallel, validation


class Linear(nn.Module):
    """Has other logits in training."""

    @nn.compact
    def __call__(self, x, *, train):
        logits = nn.Dense(5)(x.reshape(len(x), -1))
        return -logits if train else logits


@pytest.mark.parametrize('devices', [1, 4])
def test_a_small_part_is_evaluated_in_a_small_batch_with_the_same_result(devices, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = Arrays(
        rng.integers(0, 256, (18, 4, 4, 3), np.uint8), np.arange(18, dtype=np.int32) % 5
    )
    normalizer = Normalizer(np.zeros((1, 1, 3), np.float32), np.ones((1, 1, 3), np.float32))
    model, mesh = Linear(), parallel.make_mesh(devices, 4)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)
    sizes = []
    unpatched = batches.evaluation_batches
    monkeypatch.setattr(
        batches, 'evaluation_batches', lambda n, size: sizes.append(size) or unpatched(n, size)
    )
    results = [
        validation.make_evaluate(model, normalizer, jnp.float32, mesh, size)(
            variables, validation.on_device(arrays, mesh)
        )
        for size in (500, 4)
    ]
    assert sizes == [32, 4]
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    logits = model.apply(variables, arrays.images / np.float32(255), train=False)
    accuracy = np.mean(np.argmax(logits, axis=-1) == arrays.labels)
    assert results[0]['accuracy'] == pytest.approx(accuracy)
